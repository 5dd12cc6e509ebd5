"""Cuts the files of a corpus into units: parts that one process reads in constant memory.

A unit becomes one shard. It is a stretch of a large UTF-8 file, or several small files. Stretches
end where neither a line end, a character, a word nor a separator of documents is cut. Their sizes
grow with the corpus, so that there are at most about `MAX_UNITS` shards to map.

A scope is text that is cut into train, validation and test together: the whole corpus, or one
file.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from shakespeare_gen.data import texts

UNIT_BYTES = 1 << 26
MAX_UNITS = 400  # each shard takes a file descriptor, of which a process often has 1,024
SMALL_BYTES = 1 << 24  # files up to this size are read as a whole
SEARCHED_BYTES = 1 << 20  # after the planned end of a unit, for a place where it may end
CONTEXT_CHARS = 4  # bytes that a character may take
# After a line end; else before a space that starts a word.
_PLACES = (re.compile(rb"\n|\r(?!\n)"), re.compile(rb"[^ ](?= )"))


@dataclasses.dataclass(frozen=True)
class Scope:
    """Text that is cut together.

    Attributes:
      fractions: of validation and test.
      is_one_of_several: its parts are joined with those of other scopes: it is cut at lines.
      has_endings: whether each file of it ends with a line end and the separator of documents.
      split: the split that all of it belongs to; "": it is cut.
    """

    fractions: tuple[float, float]
    is_one_of_several: bool = False
    has_endings: bool = True
    split: str = ""


@dataclasses.dataclass(frozen=True)
class Unit:
    """What one process reads.

    Attributes:
      paths: the files.
      scope: the number of the scope.
      begin, end: of a stretch of a single UTF-8 file, in bytes; an `end` of 0: whole small files,
        each of which is a scope of its own if the scope is one of several.
      is_last: whether the unit is the end of its files.
      is_unpacked: whether the text was normalized when it was unpacked.
    """

    paths: tuple[str, ...]
    scope: int
    begin: int = 0
    end: int = 0
    is_last: bool = True
    is_unpacked: bool = False

    @property
    def is_stretch(self) -> bool:
        return self.end > 0


def unit_bytes(num_bytes: int) -> int:
    """The planned size of the units of a corpus."""
    return max(UNIT_BYTES, num_bytes // MAX_UNITS)


def of_small_files(paths: Sequence[pathlib.Path], scope: int, size: int) -> Iterator[Unit]:
    """Units of about `size` bytes."""
    found: list[str] = []
    num_bytes = 0
    for path in paths:
        found.append(str(path))
        num_bytes += os.path.getsize(path)
        if num_bytes >= size:
            yield Unit(tuple(found), scope)
            found, num_bytes = [], 0
    if found:
        yield Unit(tuple(found), scope)


def of_large_file(
    path: pathlib.Path, scope: int, size: int, separator: str, begin: int = 0
) -> Iterator[Unit]:
    """Units of about `size` bytes.

    Args:
      begin: where the text begins, after a byte order mark.
    """
    last = os.path.getsize(path)
    with path.open("rb") as file:
        while begin < last:
            end = _end(file, begin + size, last, separator.encode())
            yield Unit((str(path),), scope, begin, end, is_last=end == last)
            begin = end


def _end(file, position: int, last: int, separator: bytes) -> int:
    """The first place from `position` on where a unit may end."""
    while position < last:
        file.seek(position)
        data = file.read(SEARCHED_BYTES)
        found = boundary(data, separator, from_end=False)
        if found:
            return position + found
        position += len(data)
    return last


def boundary(data: bytes, separator: bytes, *, from_end: bool) -> int:
    """A place in UTF-8 text where it may be cut; 0 if there is none.

    Args:
      from_end: whether to return the last such place, or the first.
    """
    margin = max(2 * len(separator), CONTEXT_CHARS)  # what follows is needed to decide
    for pattern in _PLACES:
        places: Iterator[int] = (m.end() for m in pattern.finditer(data, 0, len(data) - margin))
        if from_end:
            places = _reversed(data, pattern, len(data) - margin)
        for place in places:
            if place >= margin and not _cuts(data, place, separator):
                return place
    if len(data) > 2 * margin:
        starts = texts.is_start(data[margin:-margin]).nonzero()[0]
        for place in (starts[::-1] if from_end else starts).tolist():
            if not _cuts(data, margin + place, separator):
                return margin + place
    return 0


def _reversed(data: bytes, pattern: re.Pattern[bytes], end: int) -> Iterator[int]:
    """The ends of matches from the last one on, searched in parts that grow."""
    size = 1 << 10
    while end > 0:
        begin = max(end - size, 0)
        yield from [m.end() for m in pattern.finditer(data, begin, end)][::-1]
        end, size = begin, 2 * size


def _cuts(data: bytes, place: int, separator: bytes) -> bool:
    """Whether a place is within a line end or a separator of documents."""
    if data[place - 1 : place + 1] == b"\r\n":
        return True
    if len(separator) < 2:
        return False
    before = data[max(place - 2 * len(separator), 0) : place].replace(b"\r\n", b"\n")
    after = data[place : place + 2 * len(separator)].replace(b"\r\n", b"\n")
    rest = len(separator) - 1
    return separator in before[-rest:] + after[:rest]
