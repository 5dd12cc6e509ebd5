"""The text of a unit: read, normalized, with marked ends of documents, and cut into splits.

The text is UTF-8, in pieces of about `BLOCK_BYTES`. Knows nothing about tokens.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

from shakespeare_gen.data import documents, text_files, texts
from shakespeare_gen.data.corpora import SPLITS
from shakespeare_gen.data.documents import END_CHARACTER
from shakespeare_gen.data.shards.units import Scope, Unit, boundary
from shakespeare_gen.data.sources import files
from shakespeare_gen.data.splits import cut_at_lines
from shakespeare_gen.errors import UserError
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import storage

BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Cut:
    """Where a unit is in its scope, in characters.

    Attributes:
      first: the position of its first character.
      ends: the ends of train, validation and test in the scope.
    """

    first: int
    ends: tuple[int, int, int]


class Piece(NamedTuple):
    """A piece of text.

    Attributes:
      num_chars: the characters that count for positions in the scope.
    """

    split: str
    data: bytes
    num_chars: int


def read(
    unit: Unit, scope: Scope, options: CorpusOptions, cut: Cut | None = None
) -> Iterator[Piece]:
    """The text of a unit.

    Args:
      cut: where the scope is cut; None: it is not known yet, and all is train.

    Raises:
      UserError: a file cannot be read or decoded, or has changed.
    """
    separator = options.document_separator
    if scope.is_one_of_several and not unit.is_stretch:
        for path in unit.paths:
            yield from _of_file(path, scope, options)
        return
    position, ends = (cut.first, cut.ends) if cut else (0, None)
    for block in blocks(unit, scope, options):
        # One of several texts is marked before it is cut, the text of a whole corpus after it.
        whole = _marked(block, separator) if scope.is_one_of_several else block
        for split, data, end in _cut(whole, position, ends, scope.split):
            num_chars = texts.num_chars(data)
            if not scope.is_one_of_several:
                data = _marked(data, separator)
            elif end:
                data = _ended(data, separator)
            yield Piece(split, data, num_chars)
            position += num_chars


def _of_file(path: str, scope: Scope, options: CorpusOptions) -> Iterator[Piece]:
    """The parts of one of several small files."""
    separator = options.document_separator
    text = files.read(pathlib.Path(path), options).text
    parts = cut_at_lines(documents.mark_ends(text, separator), *scope.fractions)
    for split in SPLITS:
        data = getattr(parts, split).encode()
        if data:
            yield Piece(split, _ended(data, separator), 0)


def _marked(data: bytes, separator: str) -> bytes:
    return data.replace(separator.encode(), END_CHARACTER.encode()) if separator else data


def _ended(data: bytes, separator: str) -> bytes:
    """A part of one of several texts with what joins it to the next one."""
    if data.endswith(END_CHARACTER.encode()):
        return data
    line_end = b"\n" * (not data.endswith(b"\n"))
    return _marked(data + line_end + separator.encode(), separator)


def _cut(
    data: bytes, position: int, ends: tuple[int, int, int] | None, split: str
) -> Iterator[tuple[str, bytes, bool]]:
    """The parts of a block by split, and whether a part is the end of its split."""
    if not data:
        return
    if ends is None or split:
        yield split or SPLITS[0], data, False
        return
    offsets = None if data.isascii() else texts.is_start(data).nonzero()[0]
    size = len(data) if offsets is None else len(offsets)
    begin = 0
    for name, end in zip(SPLITS, ends, strict=True):
        last = min(max(end - position, begin), size)
        if last > begin:
            first, after = begin, last
            if offsets is not None:
                first = int(offsets[begin])
                after = int(offsets[last]) if last < size else len(data)
            yield name, data[first:after], position + last == end
        begin = last


def blocks(unit: Unit, scope: Scope, options: CorpusOptions) -> Iterator[bytes]:
    """The text of a unit with the endings of its files, in blocks that may be marked one by one."""
    separator = options.document_separator if scope.has_endings else ""
    has_endings = scope.has_endings and not scope.is_one_of_several
    if not unit.is_stretch:
        for path in unit.paths:
            text = files.read(pathlib.Path(path), options).text
            yield (text + documents.ending(text, separator) * has_endings).encode()
        return
    last = b""
    for block in _stretch(unit, options.document_separator.encode()):
        if last:
            yield last
        last = block
    if unit.is_last and has_endings:
        last += documents.ending(last[-1:].decode("utf-8", "replace"), separator).encode()
    yield last


def _stretch(unit: Unit, separator: bytes) -> Iterator[bytes]:
    path, position, rest = pathlib.Path(unit.paths[0]), unit.begin, b""
    with storage.open_regular(path, sys.maxsize, follow_links=True) as file:
        file.seek(position)
        while position < unit.end:
            try:
                data = file.read(min(BLOCK_BYTES, unit.end - position))
            except OSError as error:
                raise UserError(f"{path}: cannot be read: {storage.reason(error)}") from None
            if not data:
                raise UserError(f"{path}: expected {unit.end:,} bytes, found {position:,}")
            position += len(data)
            rest += data
            is_end = position == unit.end
            end = len(rest) if is_end else boundary(rest, separator, from_end=True)
            if not end:
                continue
            block, rest = rest[:end], rest[end:]
            start = position - len(rest) - len(block)
            yield block if unit.is_unpacked else _normalized(path, block, start)


def _normalized(path: pathlib.Path, data: bytes, position: int) -> bytes:
    """Checks that a block is UTF-8; makes LF its line end."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            rest = data[error.start :]
            raise text_files.undecodable(
                path, position + error.start, "utf-8", rest, data
            ) from None
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data
