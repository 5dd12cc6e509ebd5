"""Finds repeated text in bounded memory.

Windows of characters are considered equal if their 64-bit hashes are equal. The text is scanned
once, in chunks, for a given set of hashes, so that the memory depends on the size of the set and
not on the text. Knows nothing about models.

Shapes: N characters of a text, W window_chars, Q hashes or positions to look up.
"""

import dataclasses

import numpy as np

from shakespeare_gen.data import texts
from shakespeare_gen.evaluation import copying

NUM_SAMPLED = 20_000  # gives a standard error of a share of at most 0.4 %
NUM_EXTENDED = 500
MAX_BLOCK_CHARS = 1_000_000  # limit of the extension of a block in each direction
MAX_TABLE_BITS = 26

_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))


@dataclasses.dataclass(frozen=True)
class Repeats:
    """Figures of repeated text.

    Attributes:
      share: fraction of the characters within windows that occur earlier in the text.
      longest_chars: length of the longest block that occurs twice.
      longest_position: position of its first occurrence.
      num_sampled: number of characters that the figures are estimated from; 0: they are exact.
    """

    share: float
    longest_chars: int
    longest_position: int
    num_sampled: int = 0


def find(text: str, window_chars: int, max_sorted_chars: int) -> Repeats:
    """Finds repeated text: exactly for up to `max_sorted_chars`, otherwise by an estimate.

    The estimate draws characters at random and looks up every window around each one in the whole
    text. The longest block is then the longest one that contains a drawn character.
    """
    if len(text) <= max(max_sorted_chars, 2 * window_chars):
        return _sorted_repeats(text, window_chars)
    return _sampled_repeats(text, window_chars)


def shared_share(text: str, other: str, window_chars: int) -> float:
    """Fraction of the characters of `text` within windows that occur in `other`."""
    if len(text) < window_chars or len(other) < window_chars:
        return 0.0
    first = first_positions(other, window_hashes(text, window_chars), window_chars)
    return _covered_share(np.flatnonzero(first >= 0), window_chars, len(text))


def window_hashes(text: str, window_chars: int) -> np.ndarray:
    """Hashes of the windows that start at each character, uint64 [N - W + 1]."""
    characters = _mixed(texts.code_points(text).astype(np.uint64) + np.uint64(1))
    return _windows(characters, window_chars)


def _windows(characters: np.ndarray, window_chars: int) -> np.ndarray:
    """Hashes of windows, combined from those of half the size in log2(W) steps."""
    if window_chars == 1:
        return characters
    half = _windows(characters, window_chars // 2)
    whole = _joined(half, half[window_chars // 2 :])
    return _joined(whole, characters[window_chars - 1 :]) if window_chars % 2 else whole


def first_positions(text: str, hashes: np.ndarray, window_chars: int) -> np.ndarray:
    """Position in `text` of the first window with each hash, int64 [Q]; -1 if there is none."""
    unique, inverse = np.unique(hashes, return_inverse=True)
    first = np.full(len(unique), -1)
    index, pending = _Index(unique), _Pending(unique)
    for begin, chunk in texts.chunks(text, window_chars - 1):
        if len(chunk) < window_chars:
            break
        found = window_hashes(chunk, window_chars)
        positions = pending.candidates(found)
        positions, places = index.look_up(positions, found[positions])
        is_new = first[places] < 0
        new, occurrence = np.unique(places[is_new], return_index=True)
        first[new] = begin + positions[is_new][occurrence]
        pending.remove(unique[new])
    return first[inverse]


class _Index:
    """Sorted hashes [Q], found by their highest bits: ten times faster than a binary search."""

    def __init__(self, hashes: np.ndarray) -> None:
        num_bits = max(len(hashes).bit_length(), 1)
        self._shift = np.uint64(64 - num_bits)
        bounds = np.arange(1 << num_bits, dtype=np.uint64) << self._shift
        self._starts = np.searchsorted(hashes, bounds)
        self._hashes = np.append(hashes, np.uint64(2**64 - 1))  # ends every search

    def look_up(self, positions: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The positions of those `hashes` that are in the index, and their places in [Q]."""
        places = self._starts[hashes >> self._shift]
        less = np.flatnonzero(self._hashes[places] < hashes)
        while len(less):
            places[less] += 1
            less = less[self._hashes[places[less]] < hashes[less]]
        is_here = (self._hashes[places] == hashes) & (places < len(self._hashes) - 1)
        return positions[is_here], places[is_here]


class _Pending:
    """Pending hashes, counted by their lowest bits.

    Most windows of a text are not among them; this table excludes those in one step.
    """

    def __init__(self, hashes: np.ndarray) -> None:
        num_bits = min(max(len(hashes).bit_length() + 4, 10), MAX_TABLE_BITS)
        self._mask = np.uint64((1 << num_bits) - 1)
        self._counts = np.zeros(1 << num_bits, np.uint8)
        self._add(hashes, 1)

    def candidates(self, hashes: np.ndarray) -> np.ndarray:
        """Positions of the hashes that may be pending."""
        return np.flatnonzero(self._counts[hashes & self._mask])

    def remove(self, hashes: np.ndarray) -> None:
        """Removes hashes that have been found."""
        self._add(hashes, 255)  # minus one

    def _add(self, hashes: np.ndarray, count: int) -> None:
        np.add.at(self._counts, hashes & self._mask, np.uint8(count))


def _sorted_repeats(text: str, window_chars: int) -> Repeats:
    order, shared = copying.sorted_places(copying.joined_ids(text, ""))
    # Equal windows are neighbors in sorted order; all except the first in the text are repeats.
    group = np.concatenate([[0], np.cumsum(shared[:-1] < window_chars)])
    first = np.minimum.reduceat(order, np.flatnonzero(np.diff(group, prepend=-1)))
    repeats = np.sort(order[order != first[group]])
    longest = int(shared[:-1].argmax())
    position = int(min(order[longest], order[longest + 1]))
    share = _covered_share(repeats, window_chars, len(text))
    return Repeats(share, int(shared[longest]), position)


def _covered_share(starts: np.ndarray, window_chars: int, num_chars: int) -> float:
    """Fraction of the characters that are covered by windows at `starts` [Q]."""
    changes = np.zeros(num_chars + window_chars, np.int32)
    changes[starts] += 1
    changes[starts + window_chars] -= 1
    return float((np.cumsum(changes[:num_chars], dtype=np.int32) > 0).mean())


def _sampled_repeats(text: str, window_chars: int) -> Repeats:
    rng = np.random.default_rng(0)
    num_starts = len(text) - window_chars + 1
    # The windows around a character start at it and at the `window_chars - 1` before it.
    begins = np.sort(rng.integers(0, num_starts - window_chars + 1, NUM_SAMPLED))
    pieces = "".join(text[begin : begin + 2 * window_chars - 1] for begin in begins)
    hashes = np.append(window_hashes(pieces, window_chars), np.zeros(window_chars - 1, np.uint64))
    hashes = hashes.reshape(NUM_SAMPLED, -1)[:, :window_chars]
    starts = begins[:, None] + np.arange(window_chars)
    first = first_positions(text, hashes.ravel(), window_chars).reshape(starts.shape)
    is_repeat = first < starts
    has_repeat = is_repeat.any(1)
    column = is_repeat.argmax(1)[:, None]
    pairs = np.hstack([np.take_along_axis(a, column, 1) for a in (first, starts)])[has_repeat]
    length, position = _longest_block(text, rng.permutation(pairs)[:NUM_EXTENDED].tolist())
    return Repeats(float(has_repeat.mean()), length, position, NUM_SAMPLED)


def _longest_block(text: str, pairs: list[list[int]]) -> tuple[int, int]:
    """The longest block around pairs of positions with equal text: length, first position."""
    length = position = distance = 0
    for first, again in pairs:
        if again - first == distance and position <= first < position + length:
            continue  # within the longest block so far
        before = _num_equal_before(text, first, again)
        found = before + _num_equal_from(text, first, again)
        if found > length:
            length, position, distance = found, first - before, again - first
    return length, position


def _num_equal_from(text: str, first: int, again: int) -> int:
    """The number of equal characters from both positions on; `first` is less than `again`."""
    return _longest_true(
        lambda n: text[first : first + n] == text[again : again + n], len(text) - again
    )


def _num_equal_before(text: str, first: int, again: int) -> int:
    return _longest_true(lambda n: text[first - n : first] == text[again - n : again], first)


def _longest_true(is_true, maximum: int) -> int:
    """The largest n up to `maximum` and `MAX_BLOCK_CHARS` with `is_true(n)`, by bisection."""
    low, high = 0, 64
    maximum = min(maximum, MAX_BLOCK_CHARS)
    while high < maximum and is_true(high):
        low, high = high, 2 * high
    high = min(high, maximum)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_true(middle) else (low, middle - 1)
    return low


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hashes of windows from those of their two parts."""
    joined = first[: len(second)] * _MULTIPLIERS[0]
    joined += second[: len(joined)]
    joined ^= joined >> np.uint64(31)
    joined *= _MULTIPLIERS[1]
    return joined


def _mixed(x: np.ndarray) -> np.ndarray:
    x = x * _MULTIPLIERS[0]
    x ^= x >> np.uint64(29)
    return x * _MULTIPLIERS[1]
