"""A sample of the lines of a text, which tells what share of another text's lines it contains.

    sketch = LineSketch.of([train_text])
    sketch.compare(text).share      # 0.97

Lines are compared by hashes, without the blanks at both ends; short lines occur in many texts and
do not count. Of a long text only the lines with the smallest hashes are kept (a bottom-k sketch,
Broder 1997), and of another text only lines with such hashes are compared: the share is an
estimate. A text of a few lines may be in the training text with none of them in the sketch: of a
training text of L lines, `MAX_LINES` / L of the lines are compared.

A hash is computed from the length of a line and from eight bytes each at its start, in its middle
and at its end, for all lines at once: lines that agree in these are taken for the same line. So the
sketch of a long text takes a fraction of the time of tokenizing it.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

MIN_LINE_CHARS = 20
MAX_LINES = 1 << 14
MAX_LINE_BYTES = 1 << 20  # a longer line counts as several
LARGEST = 2**64 - 1
_WORD = 8  # bytes that are read at a place of a line
_MULTIPLIERS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_NEWLINE = ord("\n")


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

    @property
    def limit(self) -> int:
        """The largest hash of a line that the sketch would have kept."""
        return LARGEST if len(self.hashes) < MAX_LINES else int(self.hashes[-1])

    @classmethod
    def of(cls, pieces: Iterable[str]) -> "LineSketch":
        """The sketch of a text that comes in pieces of any length."""
        sampler = LineSampler()
        for piece in pieces:
            sampler.add(piece.encode("utf-8", "surrogatepass"))
        return sampler.sketch()

    def merged(self, other: "LineSketch") -> "LineSketch":
        """The sketch of both texts together."""
        return LineSketch(_smallest([self.hashes, other.hashes]))

    def compare(self, text: str) -> Comparison:
        """Compares the different lines of `text`."""
        data = text.encode("utf-8", "surrogatepass")
        hashes = np.unique(_hashes(data, np.uint64(self.limit)))
        # By itself, NumPy 2.0.0 chooses a table, which fails for hashes from 2**63 on.
        return Comparison(len(hashes), int(np.isin(hashes, self.hashes, kind="sort").sum()))


class LineSampler:
    """Makes the sketch of a text that comes in pieces of UTF-8."""

    def __init__(self) -> None:
        self._rest = b""
        self._found = [np.zeros(0, np.uint64)]
        self._limit = np.uint64(LARGEST)

    def add(self, data: bytes) -> None:
        """Adds the next piece; a line may go on in the piece after it."""
        end = data.rfind(b"\n") + 1
        if not end and len(self._rest) < MAX_LINE_BYTES:
            self._rest += data
            return
        self._count(self._rest + data[:end] if self._rest else data[:end])
        self._rest = data[end:]  # all, if a line was too long

    def sketch(self) -> LineSketch:
        """The sketch of all pieces."""
        self._count(self._rest)
        self._rest = b""
        return LineSketch(_smallest(self._found))

    def _count(self, lines: bytes) -> None:
        self._found.append(_hashes(lines, self._limit))
        if sum(map(len, self._found)) >= 2 * MAX_LINES:
            self._found = [_smallest(self._found)]
            self._limit = np.uint64(LineSketch(self._found[0]).limit)


def _hashes(data: bytes, limit: np.uint64) -> np.ndarray:
    """The hashes up to `limit` of the lines in `data`, uint64; in any order."""
    data += b"\n"
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(codes == _NEWLINE)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    counts = ends - starts >= MIN_LINE_CHARS  # a character has at least a byte
    starts, ends = starts[counts], ends[counts]
    # Blanks outside ASCII exist: lines with such ends are stripped one by one.
    first, last = codes[starts], codes[ends - 1]
    is_clean = (first > 0x20) & (first < 0x7F) & (last > 0x20) & (last < 0x7F)
    found = _smaller(data, starts[is_clean], ends[is_clean], limit)
    others = zip(starts[~is_clean].tolist(), ends[~is_clean].tolist(), strict=True)
    stripped = [_stripped(data[begin:end]) for begin, end in others]
    stripped = [line for line in stripped if len(line) >= MIN_LINE_CHARS]
    ends = np.cumsum([len(line) for line in stripped], dtype=np.int64)
    starts = ends - np.array([len(line) for line in stripped], np.int64)
    return np.concatenate([found, _smaller(b"".join(stripped), starts, ends, limit)])


def _stripped(line: bytes) -> bytes:
    return line.decode("utf-8", "surrogatepass").strip().encode("utf-8", "surrogatepass")


def _smaller(data: bytes, starts: np.ndarray, ends: np.ndarray, limit: np.uint64) -> np.ndarray:
    """The hashes up to `limit` of lines of at least `MIN_LINE_CHARS` bytes."""
    if not len(starts):
        return np.zeros(0, np.uint64)
    hashes = _mixed(data, starts, ends)
    kept = hashes <= limit
    if not data.isascii():
        # Of short lines with characters of several bytes, the characters are counted.
        for place in np.flatnonzero(kept & (ends - starts < 4 * MIN_LINE_CHARS)).tolist():
            kept[place] = _num_chars(data[starts[place] : ends[place]]) >= MIN_LINE_CHARS
    return hashes[kept]


def _mixed(data: bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The hash of every line, with the mixing steps of MurmurHash3."""
    codes, positions = np.frombuffer(data, np.uint8), np.arange(_WORD)
    mixed = (ends - starts).astype(np.uint64)
    for first in (starts, (starts + ends - _WORD) // 2, ends - _WORD):
        mixed += codes[first[:, None] + positions].view("<u8")[:, 0]
        for multiplier in _MULTIPLIERS:
            mixed = (mixed ^ (mixed >> np.uint64(33))) * multiplier
    return mixed ^ (mixed >> np.uint64(33))


def _num_chars(line: bytes) -> int:
    return len(line.decode("utf-8", "surrogatepass"))


def _smallest(parts: list[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(parts))[:MAX_LINES]
