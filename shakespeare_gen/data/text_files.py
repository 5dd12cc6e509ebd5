"""Reads and decodes one text file.

Only regular files are read, and at most a given number of bytes: a pipe or a device could block the
reader forever, and a small `.gz` may expand to more than fits into memory. A byte order mark is
removed, and line ends become LF. Knows nothing about corpora.
"""

import gzip
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from shakespeare_gen.data import formats, text_encodings, texts
from shakespeare_gen.data.text_encodings import AUTO
from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage

MAX_BYTES = 2**31  # 2 GiB of text, after decompression
MAX_NAMED_BYTES = 2**26
# Text compresses by a factor of 3 to 10, repetitive logs by 50; deflate can reach 1,000.
MAX_GZIP_RATIO = 100
MIN_CHECKED_BYTES = 2**25  # up to 32 MiB, any ratio is harmless
CHUNK_BYTES = 2**20


class TextFile(NamedTuple):
    """The text of a file, the encoding it was decoded with, and its size after decompression."""

    text: str
    encoding: str
    num_bytes: int


def read(
    path: str | os.PathLike,
    encoding: str = AUTO,
    encoding_errors: str = "strict",
    max_bytes: int = MAX_BYTES,
    num_bytes_before: int = 0,
) -> TextFile:
    """Reads a file; `.gz` files are decompressed.

    Args:
      encoding: the name of a Python text encoding, or `auto`: see `text_encodings.detect`.
      encoding_errors: "strict", "replace" or "ignore".
      max_bytes: the largest number of bytes to read, after decompression.
      num_bytes_before: the bytes of other files, which count as well.

    Raises:
      UserError: the file cannot be read or decoded, is too large, is a document in another format,
        or is not a regular file.
    """
    path = pathlib.Path(path)
    if found := formats.by_name(path.name):
        raise _not_plain_text(path, found)
    data = _read_bytes(path, max_bytes, num_bytes_before)
    if found := formats.by_content(data):
        raise _not_plain_text(path, found)
    text, encoding = _decoded(path, data, encoding, encoding_errors)
    position = texts.first_surrogate(text)
    if position is not None:
        raise UserError(
            f"{path}: expected Unicode text, received the surrogate {text[position]!r} at "
            f"character {position} after decoding with `encoding={encoding}`"
        )
    return TextFile(normalized(text), encoding, len(data))


def read_named(path: str, label: str, max_bytes: int = MAX_NAMED_BYTES) -> str:
    """The text of a file that a person names to be read as a whole, such as a prompt.

    Args:
      path: `~` is the home folder.
      label: what names the file, for messages.

    Raises:
      UserError: see `read`.
    """
    try:
        return read(os.path.expanduser(path), max_bytes=max_bytes).text
    except UserError as error:
        raise UserError(f"{label}{error}") from None


def normalized(text: str) -> str:
    """`text` without a byte order mark, with LF as line end."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _not_plain_text(path: pathlib.Path, found: formats.Format) -> UserError:
    return UserError(f"{path}: expected plain text, received {found.name}; {found.advice}")


def _read_bytes(path: pathlib.Path, max_bytes: int, num_bytes_before: int) -> bytearray:
    data = bytearray()
    with storage.open_regular(path, max_bytes, follow_links=True) as file:
        if not os.fstat(file.fileno()).st_size:
            return data  # a read could block: /proc/kmsg is a regular file of size 0
        try:
            is_packed = path.suffix.lower() == ".gz"
            for chunk in _unpacked(path, file) if is_packed else _plain(file):
                data += chunk
                if num_bytes_before + len(data) > max_bytes:
                    raise _too_large(path, max_bytes, num_bytes_before)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: cannot be read: {storage.reason(error)}") from None
    return data


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _unpacked(path: pathlib.Path, file: BinaryIO) -> Iterator[bytes]:
    size = 0
    with gzip.GzipFile(fileobj=file) as unpacked:
        while chunk := unpacked.read(CHUNK_BYTES):
            size += len(chunk)
            if size > max(MIN_CHECKED_BYTES, MAX_GZIP_RATIO * file.tell()):
                raise UserError(
                    f"{path}: expected a compression ratio of at most {MAX_GZIP_RATIO}, "
                    f"received {size:,} bytes from {file.tell():,}; decompress the file to use it"
                )
            yield chunk


def _too_large(path: pathlib.Path, max_bytes: int, num_bytes_before: int) -> UserError:
    where = " in all files" if num_bytes_before else ""
    return UserError(f"{path}: expected at most {max_bytes:,} bytes of text{where}, received more")


def _decoded(
    path: pathlib.Path, data: bytearray, encoding: str, encoding_errors: str
) -> tuple[str, str]:
    """The text and its encoding."""
    found = text_encodings.detect(data) if encoding == AUTO else encoding
    if found is None:
        if encoding_errors == "strict":
            raise UserError(_unrecognized(path, data))
        found = "utf-8"
    try:
        return text_encodings.decode(data, found, encoding_errors), found
    except UnicodeError as error:
        raise UserError(_undecodable(path, data, encoding, error)) from None


def _unrecognized(path: pathlib.Path, data: bytearray) -> str:
    kind = "binary data" if b"\0" in data else "bytes in no known encoding"
    return (
        f"{path}: expected plain text, received {kind}; if it is text, give its `encoding`, or "
        "use `encoding_errors=replace`"
    )


def _undecodable(path: pathlib.Path, data: bytearray, encoding: str, error: UnicodeError) -> str:
    offset = getattr(error, "start", 0)
    received = f"0x{data[offset]:02x}" if offset < len(data) else "the end of the file"
    found = text_encodings.detect(data)
    advice = f"`encoding={found}` or " if found else ""
    return (
        f"{path}: expected {encoding}, received {received} at byte {offset}; "
        f"try {advice}`encoding_errors=replace`"
    )
