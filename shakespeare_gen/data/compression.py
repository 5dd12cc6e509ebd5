"""Decompresses `.gz` and `.zst` files as streams of bounded memory.

A file that expands by more than `MAX_RATIO` is refused: it would fill the memory or the disk. Knows
nothing about text.

    with open(path, "rb") as file:
        for chunk in chunks(path, file): ...
"""

import gzip
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from shakespeare_gen.errors import UserError
from shakespeare_gen.system import extras, storage

CHUNK_BYTES = 2**20
# Text compresses by a factor of 3 to 10, repetitive logs by 50; deflate can reach 1,000.
MAX_RATIO = 100
MIN_CHECKED_BYTES = 2**25  # up to 32 MiB, any ratio is harmless
# A block of 4 bytes can expand to 128 KiB, and all that is fed is expanded at once.
ZST_FED_BYTES = 2**12
ZST_WINDOW_BYTES = 2**27  # the default maximum of its tools


def is_packed(path: pathlib.Path) -> bool:
    """Whether a file is compressed, by its suffix."""
    return path.suffix.lower() in _UNPACKERS


def plain_name(path: pathlib.Path) -> str:
    """The name of a file in lower case, without the suffix of a compressed one."""
    return (path.stem if is_packed(path) else path.name).lower()


def chunks(path: pathlib.Path, file: BinaryIO) -> Iterator[bytes]:
    """The content of an open file in chunks, decompressed if its suffix is that of such a file.

    Raises:
      UserError: the file is damaged or truncated, or it expands by more than `MAX_RATIO`.
    """
    size = 0
    try:
        for chunk in _UNPACKERS.get(path.suffix.lower(), _plain)(file):
            size += len(chunk)
            if is_packed(path) and size > max(MIN_CHECKED_BYTES, MAX_RATIO * file.tell()):
                raise UserError(
                    f"{path}: expected a compression ratio of at most {MAX_RATIO}, "
                    f"received {size:,} bytes from {file.tell():,}; decompress the file to use it"
                )
            yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {storage.reason(error)}") from None


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as unpacked:
        while chunk := unpacked.read(CHUNK_BYTES):
            yield chunk


def _zstandard(file: BinaryIO) -> Iterator[bytes]:
    """Decompresses frame by frame: the reader of the package does not report a truncated one."""
    extras.require("zst", ".zst files")
    import zstandard

    def new():
        return zstandard.ZstdDecompressor(max_window_size=ZST_WINDOW_BYTES).decompressobj()

    frame, is_open = new(), False
    while data := file.read(ZST_FED_BYTES):
        while data:
            try:
                chunk = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise OSError(str(error)) from None
            is_open, data = not frame.eof, frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = new()
            if chunk:
                yield chunk
    if is_open:
        raise EOFError("Compressed file ended before the end of a frame was reached")


_UNPACKERS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {".gz": _gzip, ".zst": _zstandard}
