"""Finds spans of a text that are copied from the training text.

A suffix array (from `pydivsufsort`) sorts the suffixes of both texts, so that the longest match of
a suffix is one of its neighbors. The lengths of these matches give the longest shared span and the
share of novel n-grams for every n.
"""

import dataclasses

import numpy as np

from shakespeare_gen.data import texts

NGRAM_SIZES = (8, 12, 20, 50)


@dataclasses.dataclass(frozen=True)
class Matches:
    """The longest match in the training text for each position of a text [N].

    Attributes:
      lengths: the lengths of the matches, in characters.
      positions: one position of each match in the training text.
    """

    lengths: np.ndarray
    positions: np.ndarray

    def novel_share(self, ngram_size: int) -> float | None:
        """The share of n-grams that do not occur in the training text; None if there are none."""
        lengths = self.lengths[: max(len(self.lengths) - ngram_size + 1, 0)]
        return float((lengths < ngram_size).mean()) if len(lengths) else None

    def longest(self) -> tuple[int, int, int]:
        """The longest shared span: its length, and its positions in the text and in training."""
        if not len(self.lengths):
            return 0, 0, 0
        place = int(self.lengths.argmax())
        return int(self.lengths[place]), place, int(self.positions[place])

    def covered_share(self, num_chars: int) -> float:
        """The share of characters within shared spans of at least `num_chars`."""
        ends = np.where(self.lengths >= num_chars, np.arange(len(self.lengths)) + self.lengths, 0)
        covered = np.maximum.accumulate(ends) > np.arange(len(ends))
        return float(covered.mean()) if len(ends) else 0.0


def find(text: str, training_text: str) -> Matches:
    """The longest match in `training_text` for every position of `text`."""
    if not text or not training_text:
        return Matches(np.zeros(len(text), np.int64), np.zeros(len(text), np.int64))
    joined = joined_ids(training_text, text)
    order, shared = sorted_places(joined)
    num_train = len(training_text)
    is_train = order < num_train
    before = _nearest(order, shared, is_train)
    after = tuple(part[::-1] for part in _nearest(order[::-1], shared[::-1], is_train[::-1], True))
    best = np.where(before[0] >= after[0], before, after)
    lengths, positions = np.zeros((2, len(text)), np.int64)
    places = order[order > num_train] - num_train - 1
    lengths[places], positions[places] = best[:, order > num_train]
    return Matches(lengths, positions)


def joined_ids(first: str, second: str) -> np.ndarray:
    """Both texts as integers, separated by a value that occurs in neither."""
    both = np.concatenate(list(map(texts.code_points, (first, "\0", second))))
    is_used = np.zeros(texts.NUM_CODE_POINTS, bool)
    is_used[both] = True
    ids = np.cumsum(is_used)[both]  # consecutive, from 1 on
    ids[len(first)] = 0
    return ids.astype(np.min_scalar_type(int(ids.max())))


def sorted_places(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions [N] sorted by their suffixes, and the length of the prefix that each suffix
    shares with the next one."""
    import pydivsufsort

    order = pydivsufsort.divsufsort(ids)
    return order, pydivsufsort.kasai(ids, order)


def _nearest(order, shared, is_train, backwards: bool = False):
    """For each position in sorted order, the nearest preceding training position: the length of
    the shared prefix, and the position. `shared[i]` is for i and i + 1, or i - 1 if `backwards`."""
    num = len(order)
    gaps = np.concatenate([[0], shared[1:] if backwards else shared[:-1]])
    lengths, positions = np.zeros((2, num), np.int64)
    length = position = 0
    for i in np.flatnonzero(~is_train):
        if i == 0:
            continue
        previous_is_train = is_train[i - 1]
        length = gaps[i] if previous_is_train else min(length, gaps[i])
        position = order[i - 1] if previous_is_train else position
        lengths[i], positions[i] = length, position
    return lengths, positions
