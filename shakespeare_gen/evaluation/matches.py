"""Predicts a token by what followed the longest match of the text before it.

The text is compared with all that was read before, the training text included, as the match models
of context-mixing compressors do (Mahoney 2005, PAQ). How often the token after a match of some
length comes again is learned on the way. The prediction of a token depends only on the preceding
tokens.

Shapes: N tokens, V vocabulary.
"""

import itertools
from collections.abc import Iterator

import numpy as np

MIN_TOKENS, MAX_TOKENS = 5, 32
# Lengths of a match from which on hits are counted apart; no match is a length of 0.
LENGTHS = (1, 6, 8, 11, 16, 24, 32)
NUM_BUCKETS = len(LENGTHS) + 1
_MEMORY = 800  # matches of a bucket after which older ones count half
_MAX_CONFIDENCE = 0.999


class Matches:
    """Iterates over the tokens of a text: for each one, log-probabilities [V] and the bucket of the
    length of its match. Without a match, all tokens have the same probability."""

    def __init__(self, train_ids: np.ndarray, ids: np.ndarray, vocabulary_size: int) -> None:
        self._vocabulary_size, self._first = vocabulary_size, len(train_ids)
        self._history = np.concatenate([train_ids, ids]).astype(np.int32)

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        num_hits, num_matches = np.ones(NUM_BUCKETS), np.full(NUM_BUCKETS, 2.0)
        history = self._history.tolist()
        none = np.full(self._vocabulary_size, -np.log(self._vocabulary_size))
        for place, (source, length) in enumerate(self._matches(), self._first):
            bucket = int(np.searchsorted(LENGTHS, length, "right"))
            if not length:
                yield none, bucket
                continue
            confidence = min(num_hits[bucket] / num_matches[bucket], _MAX_CONFIDENCE)
            others = (1 - confidence) / (self._vocabulary_size - 1)
            predicted = np.full(self._vocabulary_size, np.log(others))
            predicted[history[source]] = np.log(confidence)
            yield predicted, bucket
            num_matches[bucket] += 1
            num_hits[bucket] += history[source] == history[place]
            if num_matches[bucket] > _MEMORY:
                num_matches[bucket] /= 2
                num_hits[bucket] /= 2

    def _matches(self) -> Iterator[tuple[int, int]]:
        """For each token the place after its match, and the length of the match; 0: none."""
        history = self._history
        keys = _window_keys(history)
        last = dict(zip(keys[: self._first].tolist(), itertools.count(), strict=False))
        source, length = 0, 0
        for place in range(self._first, len(history)):
            if length and history[source] == history[place - 1]:
                source, length = source + 1, min(length + 1, MAX_TOKENS)
            else:
                length = 0
            if not length and (found := last.get(int(keys[place]))) is not None:
                source, length = found, _common(history, found, place)
            yield source, length
            last[int(keys[place])] = place


def _window_keys(history: np.ndarray) -> np.ndarray:
    """A number for the `MIN_TOKENS` tokens before each place [N]; -place - 1 at the beginning."""
    keys = -1 - np.arange(len(history), dtype=np.int64)
    if len(history) > MIN_TOKENS:
        windows = np.lib.stride_tricks.sliding_window_view(history[:-1], MIN_TOKENS)
        keys[MIN_TOKENS:] = np.unique(windows, axis=0, return_inverse=True)[1].reshape(-1)
    return keys


def _common(history: np.ndarray, source: int, place: int) -> int:
    """The number of equal tokens before two places, at most `MAX_TOKENS`."""
    size = min(source, MAX_TOKENS)
    differs = history[source - size : source] != history[place - size : place]
    return size if not differs.any() else int(differs[::-1].argmax())
