"""Counts of a text that comes in pieces, from which a tokenizer builds its vocabulary.

Parts of a text can be counted by different processes, and merged. Memory is bounded: of more than
`MAX_WORDS` different words, the rarest are dropped (lossy counting, Manku and Motwani 2002), and a
word that is left may have occurred up to `num_missed` times more than its count. Knows nothing
about tokenizers.

    counts = TextCounts(with_words=True)
    counts.add("No, no.\\n".encode())
    counts.characters["n"], counts.words[" no"]    # 1, 1
"""

import collections
import heapq
from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np

from shakespeare_gen.data import texts

MAX_WORDS = 1_000_000
_NUM_PAIRS = 1 << 16


class TextCounts:
    """The counts of characters and words.

    Args:
      is_exact: whether characters are counted; otherwise those that occur have a count of 1, which
        takes less time.
      words: cuts a text into words; None: words are not counted.

    Attributes:
      words: the count of each word.
      num_missed: how often a word may have occurred besides its count.
    """

    def __init__(
        self, is_exact: bool = True, words: Callable[[str], Iterable[list[str]]] | None = None
    ) -> None:
        self.words = collections.Counter[str]()
        self.num_missed = 0
        self._is_exact, self._cut = is_exact, words
        self._ascii = np.zeros(256, np.int64)
        self._others = collections.Counter[str]()
        self._known = b""  # the ASCII characters that occurred, if they are not counted

    @property
    def characters(self) -> dict[str, int]:
        """The count of each character, in the order of code points."""
        counts = {chr(i): int(self._ascii[i]) for i in np.flatnonzero(self._ascii)}
        return counts | dict(sorted(self._others.items()))

    def add(self, data: bytes) -> None:
        """Counts a piece, in UTF-8; it ends where a word ends."""
        text = "" if data.isascii() and not self._cut else data.decode()
        if data.isascii():
            self._add_ascii(data)
        else:
            self._add_characters(text)
        if self._cut:
            for pieces in self._cut(text):
                self.words.update(pieces)
            self._drop_rarest()

    def _add_ascii(self, data: bytes) -> None:
        if not self._is_exact:
            new = bytes(set(data.translate(None, self._known)))
            self._known += new
            self._ascii[list(new)] = 1
            return
        even = len(data) // 2 * 2
        # By pairs of characters, which takes a third of the time.
        pairs = np.bincount(np.frombuffer(data[:even], np.uint16), minlength=_NUM_PAIRS)
        table = pairs.reshape(256, 256)
        self._ascii += table.sum(0) + table.sum(1)
        for byte in data[even:]:
            self._ascii[byte] += 1

    def _add_characters(self, text: str) -> None:
        counts = np.bincount(texts.code_points(text))
        if not self._is_exact:
            counts = np.minimum(counts, 1)
        for point in np.flatnonzero(counts).tolist():
            if point < 128:
                self._ascii[point] += counts[point]
            else:
                self._others[chr(point)] += int(counts[point])

    def merge(self, other: "TextCounts") -> None:
        """Adds the counts of another part of the text."""
        self._ascii += other._ascii
        self._others.update(other._others)
        self.words.update(other.words)
        self.num_missed += other.num_missed
        self._drop_rarest()

    def _drop_rarest(self) -> None:
        if len(self.words) > 2 * MAX_WORDS:
            kept = heapq.nlargest(MAX_WORDS, self.words.items(), key=lambda item: item[1])
            self.num_missed += kept[-1][1]
            self.words = collections.Counter(dict(kept))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "characters": self.characters,
            "words": dict(self.words),
            "num_missed": self.num_missed,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        counts = cls()
        for character, count in value["characters"].items():
            if character.isascii():
                counts._ascii[ord(character)] = count
            else:
                counts._others[character] = count
        counts.words.update(value["words"])
        counts.num_missed = value["num_missed"]
        return counts
