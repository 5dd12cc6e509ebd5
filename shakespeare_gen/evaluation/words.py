"""Contexts of words for the next token: the word so far, with the words before it.

A word is a run of letters, in any case; the word so far is empty after other characters. These
contexts are longer than n-grams where words are long, and ignore punctuation: the word models of
context-mixing compressors (Mahoney 2005, PAQ). Counts are smoothed like those of Kneser-Ney
n-grams.

Shapes: N tokens, V vocabulary.
"""

from collections.abc import Iterator

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.evaluation import hashing
from shakespeare_gen.evaluation.adapting_counts import AdaptingCounts, Level
from shakespeare_gen.models import ngram_counts

NUM_WORDS_BEFORE = 2
MAX_WORD_TOKENS = 64  # a longer run of letters counts as equal from there on


def letters(tokenizer: Tokenizer) -> np.ndarray:
    """For each token, a number of the letter that it is, the same for both cases; 0: none. [V]"""
    labels = [tokenizer.label(i).lower() for i in range(tokenizer.size)]
    return np.array([ord(label) if _is_letter(label) else 0 for label in labels])


def _is_letter(label: str) -> bool:
    return len(label) == 1 and (label.isalpha() or label == "'")


def adapting(train_ids: np.ndarray, ids: np.ndarray, letter_of: np.ndarray) -> AdaptingCounts:
    """The counts of the contexts of `ids` after a training text.

    The first level is the token before; the others add the word so far, then one word before it
    after the other.

    Args:
      letter_of: see `letters`.
    """
    history = np.concatenate([train_ids, ids]).astype(np.int64)
    first, size = len(train_ids), len(letter_of)
    numbered = [np.unique(keys, return_inverse=True)[1] for keys in _keys(history, letter_of)]
    counted: list[_Counted] = []
    for keys in reversed(numbered):
        counted.insert(0, _Counted(keys[:first], history[:first], size, counted[:1]))
    levels = [
        Level(keys[first:], known, np.where(keys[first:] < known.num_contexts, keys[first:], -1))
        for keys, known in zip(numbered, counted, strict=True)
    ]
    return AdaptingCounts(np.asarray(ids), levels)


def _keys(history: np.ndarray, letter_of: np.ndarray) -> Iterator[np.ndarray]:
    """A hash of the context of each token, for each level: uint64 [N]."""
    before = np.concatenate([[-1], history[:-1]]).astype(np.int64)
    yield before
    keys = hashing.mixed(before.astype(np.uint64))
    so_far, words = _words(letter_of[history].astype(np.uint64))
    for part in (so_far, *words):
        keys = hashing.mixed(keys ^ part)
        yield keys


def _words(letter: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Hashes of the word before each token so far, and of the complete words before that one.

    Args:
      letter: [N]; 0: not a letter.
    """
    places = np.arange(len(letter))
    last_other = np.maximum.accumulate(np.where(letter == 0, places, -1))
    length = np.concatenate([[0], (places - last_other)[:-1]])  # letters of the word so far
    so_far = np.zeros(len(letter), np.uint64)
    for number in range(1, min(int(length.max(initial=0)), MAX_WORD_TOKENS) + 1):
        here = np.flatnonzero(length == number)
        so_far[here] = hashing.mixed(so_far[here - 1] + letter[here - 1])
    is_end = (letter == 0) & (length > 0)
    ends = np.flatnonzero(is_end)
    num_ended = np.concatenate([[0], np.cumsum(is_end)[:-1]])
    ended = np.concatenate([np.zeros(NUM_WORDS_BEFORE, np.uint64), so_far[ends]])
    return so_far, [ended[num_ended + NUM_WORDS_BEFORE - 1 - n] for n in range(NUM_WORDS_BEFORE)]


class _Counted:
    """The counts of one level in the training text.

    Args:
      keys: [N], the number of the context of each token.
      longer: the counts of the next level, if there is one.
    """

    def __init__(self, keys: np.ndarray, ids: np.ndarray, size: int, longer: list) -> None:
        self._size = size
        self.num_contexts = int(keys.max(initial=-1)) + 1
        events = keys * size + ids
        # An event counts once for each different event of the longer level.
        counted = events[longer[0].first_places] if longer else events
        self._events, counts = np.unique(counted, return_counts=True)
        self._counts = counts
        self.first_places = np.unique(events, return_index=True)[1]
        self._begins = np.searchsorted(self._events, np.arange(self.num_contexts + 1) * size)
        self.discount = float(ngram_counts.discounts(counts)[1])

    def following(self, context: int) -> dict[int, int]:
        """See `adapting_counts.Known`."""
        if context < 0:
            return {}
        found = slice(int(self._begins[context]), int(self._begins[context + 1]))
        tokens = (self._events[found] % self._size).tolist()
        return dict(zip(tokens, self._counts[found].tolist(), strict=True))
