"""A sample of the lines of a text, which tells what share of another text's lines it contains.

    sketch = LineSketch.of([train_text])
    sketch.compare(text).share      # 0.97

Lines are compared by hashes, without the blanks at both ends; short lines occur in many texts and
do not count. Of a long text only the lines with the smallest hashes are kept (a bottom-k sketch,
Broder 1997), and of another text only lines with such hashes are compared: the share is an
estimate.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

MIN_LINE_CHARS = 20
MAX_LINES = 1 << 14


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The number of compared lines of a text, and of those that the sketch contains."""

    num_compared: int
    num_found: int

    @property
    def share(self) -> float:
        """The estimated share of the lines of the text; 0 if it has none that count."""
        return self.num_found / max(self.num_compared, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class LineSketch:
    """Hashes of lines.

    Attributes:
      hashes: uint64 [L], sorted, without repetitions; at most `MAX_LINES`.
    """

    hashes: np.ndarray

    @classmethod
    def of(cls, pieces: Iterable[str]) -> "LineSketch":
        """The sketch of a text that comes in pieces of any length."""
        found = np.zeros(0, np.uint64)
        batch: list[int] = []
        for line in _lines(pieces):
            batch.append(_hash(line))
            if len(batch) == 4 * MAX_LINES:
                found, batch = _smallest([found, np.array(batch, np.uint64)]), []
        return cls(_smallest([found, np.array(batch, np.uint64)]))

    def merged(self, other: "LineSketch") -> "LineSketch":
        """The sketch of both texts together."""
        return LineSketch(_smallest([self.hashes, other.hashes]))

    def compare(self, text: str) -> Comparison:
        """Compares the different lines of `text`."""
        hashes = np.unique(np.array([_hash(line) for line in _lines([text])], np.uint64))
        is_whole = len(self.hashes) < MAX_LINES
        compared = hashes if is_whole else hashes[hashes <= self.hashes[-1]]
        return Comparison(len(compared), int(np.isin(compared, self.hashes).sum()))


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """The lines that count."""
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        yield from filter(_counts, map(str.strip, whole))
    yield from filter(_counts, [rest.strip()])


def _counts(line: str) -> bool:
    return len(line) >= MIN_LINE_CHARS


def _hash(line: str) -> int:
    data = line.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _smallest(parts: list[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(parts))[:MAX_LINES]
