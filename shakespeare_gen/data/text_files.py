"""Reads and decodes one text file.

Only regular files are read, and at most a given number of bytes: a pipe or a device could block the
reader forever, and a small `.gz` may expand to more than fits into memory. A byte order mark is
removed, and line ends become LF. Knows nothing about corpora.
"""

import os
import pathlib
from typing import NamedTuple

from shakespeare_gen.data import compression, formats, text_encodings, texts
from shakespeare_gen.data.text_encodings import AUTO
from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage

MAX_BYTES = 2**31  # 2 GiB of text, after decompression
MAX_NAMED_BYTES = 2**26


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
    """Reads a file; `.gz` and `.zst` files are decompressed.

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
    check_is_plain_text(path, data)
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


def check_is_plain_text(path: pathlib.Path, beginning: bytes | bytearray) -> None:
    """Checks that a file is no document in another format, by its name and its first bytes."""
    if found := formats.by_name(path.name) or formats.by_content(beginning):
        raise _not_plain_text(path, found)


def _not_plain_text(path: pathlib.Path, found: formats.Format) -> UserError:
    return UserError(f"{path}: expected plain text, received {found.name}; {found.advice}")


def _read_bytes(path: pathlib.Path, max_bytes: int, num_bytes_before: int) -> bytearray:
    data = bytearray()
    with storage.open_regular(path, max_bytes, follow_links=True) as file:
        if not os.fstat(file.fileno()).st_size:
            return data  # a read could block: /proc/kmsg is a regular file of size 0
        for chunk in compression.chunks(path, file):
            data += chunk
            if num_bytes_before + len(data) > max_bytes:
                raise too_large(path, max_bytes, num_bytes_before)
    return data


def too_large(path: pathlib.Path, max_bytes: int, num_bytes_before: int) -> UserError:
    """The error for a text that does not fit into memory."""
    where = " in all files" if num_bytes_before else ""
    return UserError(
        f"{path}: expected at most {max_bytes:,} bytes of text{where}, received more; "
        "`prepare` writes such a text as shards to train on"
    )


def _decoded(
    path: pathlib.Path, data: bytearray, encoding: str, encoding_errors: str
) -> tuple[str, str]:
    """The text and its encoding."""
    found = encoding_of(path, data, encoding, encoding_errors)
    try:
        return text_encodings.decode(data, found, encoding_errors), found
    except UnicodeError as error:
        offset = getattr(error, "start", 0)
        raise undecodable(path, offset, encoding, data[offset:], data) from None


def encoding_of(
    path: pathlib.Path, data: bytes | bytearray, encoding: str, encoding_errors: str
) -> str:
    """The encoding of a file; see `read` for the arguments.

    Raises:
      UserError: none is plausible.
    """
    found = text_encodings.detect(data) if encoding == AUTO else encoding
    if found is not None:
        return found
    if encoding_errors == "strict":
        raise UserError(_unrecognized(path, data))
    return "utf-8"


def _unrecognized(path: pathlib.Path, data: bytes | bytearray) -> str:
    kind = "binary data" if b"\0" in data else "bytes in no known encoding"
    return (
        f"{path}: expected plain text, received {kind}; if it is text, give its `encoding`, or "
        "use `encoding_errors=replace`"
    )


def undecodable(
    path: pathlib.Path,
    offset: int,
    encoding: str,
    rest: bytes | bytearray,
    sample: bytes | bytearray,
) -> UserError:
    """The error for a file that is not in `encoding`.

    Args:
      rest: the bytes from `offset` on.
      sample: a part of the file, to find its encoding.
    """
    received = f"0x{rest[0]:02x}" if rest else "the end of the file"
    found = text_encodings.detect(sample)
    advice = f"`encoding={found}` or " if found else ""
    return UserError(
        f"{path}: expected {encoding}, received {received} at byte {offset}; "
        f"try {advice}`encoding_errors=replace`"
    )
