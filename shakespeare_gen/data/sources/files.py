"""Text from a file, a folder or a glob, joined in sorted order.

Each file starts on a new line. In folders and globs, anything but a regular file is skipped. Knows
nothing about the use of the text.
"""

import errno
import glob
import os
import pathlib
import stat
from collections.abc import Iterator

from shakespeare_gen.data import documents, text_files
from shakespeare_gen.data.sources import names
from shakespeare_gen.data.splits import Splits, cut
from shakespeare_gen.errors import UserError
from shakespeare_gen.options.groups import CorpusOptions

FOLDER_SUFFIXES = (".txt", ".md", ".txt.gz", ".md.gz")
MAX_SHOWN = 200  # characters of a path in messages


def load(path: str, options: CorpusOptions) -> Splits:
    """Reads all files that match `path` and splits the joined text.

    Raises:
      UserError: there are no files, one of them cannot be read or decoded, they contain more than
        `text_files.MAX_BYTES`, or they contain no text.
    """
    text = documents.join(_read_all(path, options), options.document_separator)
    if not text or text.isspace():
        raise UserError(f"{_shown(path)}: expected text, received blank characters only")
    return cut(text, options.validation_fraction, options.test_fraction)


def find(path: str) -> list[pathlib.Path]:
    """The files of a file path, a folder (searched recursively) or a glob, sorted.

    Raises:
      UserError: there are no files, or a folder cannot be read.
    """
    place = pathlib.Path(os.path.expanduser(path))
    try:
        found, expected = _candidates(place)
        found = [file for file in found if file == place or stat.S_ISREG(_mode(file))]
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{_shown(path)}: cannot be read: {reason}") from None
    if not found:
        raise UserError(f"{_shown(path)}: expected {expected}, found none")
    return sorted(found)


def _candidates(place: pathlib.Path) -> tuple[list[pathlib.Path], str]:
    """The files that `place` refers to, and what was expected, for messages."""
    mode = _mode(place)
    if stat.S_ISDIR(mode):
        found = [file for file in _files_below(place) if file.name.endswith(FOLDER_SUFFIXES)]
        return found, "files ending in " + ", ".join(FOLDER_SUFFIXES)
    if mode:  # reading rejects anything but a regular file
        return [place], ""
    matches = glob.glob(str(place), recursive=True)
    expected = f"a file, a folder, a glob that matches, or one of {', '.join(names())}"
    return list(map(pathlib.Path, matches)), expected


def _mode(path: pathlib.Path) -> int:
    """Type and permissions of a file; 0 if it does not exist or is a broken link."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return 0
        raise


def _files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """All files below `folder`; unlike `Path.rglob`, fails if a folder cannot be read."""

    def fail(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}")

    for parent, _, files in os.walk(folder, onerror=fail):
        yield from (pathlib.Path(parent, name) for name in files)


def _read_all(path: str, options: CorpusOptions) -> Iterator[str]:
    remaining = text_files.MAX_BYTES
    for file in find(path):
        text = text_files.read(file, options.encoding, options.encoding_errors, remaining)
        remaining -= len(text)
        yield text


def _shown(path: str) -> str:
    return "corpus=" + (path if len(path) <= MAX_SHOWN else path[:MAX_SHOWN] + "…")
