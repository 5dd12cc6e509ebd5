"""Text from a file, a folder or a glob, in sorted order, and text given as a string.

Each file starts on a new line. Files that are not plain text are skipped in folders and globs, with
a reason. Validation and test are cut from the end of each file, or of the joined text. Knows
nothing about the use of the text.
"""

import collections
import dataclasses
import errno
import glob
import os
import pathlib
import stat
import sys
from collections.abc import Iterator, Sequence

from shakespeare_gen.data import compression, documents, formats, json_lines, text_files, texts
from shakespeare_gen.data.sources import names
from shakespeare_gen.data.splits import SourceFile, Splits, cut, cut_at_lines
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import storage

# In folders; each also with .gz or .zst.
SUFFIXES = (".txt", ".text", ".md", ".markdown", *json_lines.SUFFIXES)
MAX_SHOWN = 200  # characters of a path in messages


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files that a path refers to, sorted: those to read, and those to skip with a reason."""

    read: list[pathlib.Path]
    skipped: dict[pathlib.Path, str]


def load(path: str, options: CorpusOptions) -> Splits:
    """Reads all text files that match `path` and splits their text.

    Raises:
      UserError: there are no text files, one of them cannot be read or decoded, they contain more
        than `text_files.MAX_BYTES`, or they contain no text.
    """
    listing = find(path)
    found = dict(zip(listing.read, _read_all(listing.read, options), strict=True))
    splits = _split([file.text for file in found.values()], options, _shown(path))
    read = (
        SourceFile(str(place), file.num_bytes, len(file.text), file.encoding)
        for place, file in found.items()
    )
    skipped = (SourceFile(str(p), skipped=reason) for p, reason in listing.skipped.items())
    return splits._replace(files=(*read, *skipped))


def from_text(text: str, options: CorpusOptions) -> Splits:
    """Splits a text as if it were read from a file.

    Raises:
      UserError: it is not a string of Unicode characters, or it is blank.
    """
    if not isinstance(text, str):
        raise UsageError(f"text: expected a value of type str, received {type(text).__name__}")
    if (position := texts.first_surrogate(text)) is not None:
        raise UsageError(
            f"text: expected Unicode text, received the surrogate {text[position]!r} at "
            f"character {position}"
        )
    return _split([text_files.normalized(text)], options, "text")


def find(path: str) -> Listing:
    """The files of a file path, a folder (searched recursively) or a glob.

    Raises:
      UserError: there are no text files, or a folder cannot be read.
    """
    place = pathlib.Path(os.path.expanduser(path))
    try:
        mode = _mode(place)
        if mode and not stat.S_ISDIR(mode):  # reading rejects anything but a text file
            return Listing([place], {})
        is_folder = bool(mode)
        found = _files_below(place) if is_folder else glob.iglob(str(place), recursive=True)
        reasons = {file: _reason_to_skip(file, is_folder) for file in map(pathlib.Path, found)}
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UserError(f"{_shown(path)}: cannot be read: {storage.reason(error)}") from None
    read = sorted(file for file, reason in reasons.items() if reason is None)
    skipped = {file: reason for file, reason in sorted(reasons.items()) if reason}
    if not read:
        raise UserError(f"{_shown(path)}: {_nothing_found(is_folder, skipped)}")
    return Listing(read, skipped)


def _reason_to_skip(file: pathlib.Path, in_folder: bool) -> str | None:
    """Why a file of a folder or a glob is not read; None if it is read, "" for a subfolder."""
    mode = _mode(file)
    if stat.S_ISDIR(mode):
        return ""
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if found := formats.by_name(file.name):
        return f"{found.name}; {found.advice}"
    if in_folder and not compression.plain_name(file).endswith(SUFFIXES):
        return "its suffix is not that of a text file"
    return None


def _nothing_found(is_folder: bool, skipped: dict[pathlib.Path, str]) -> str:
    """What was expected and what was found, for messages."""
    if not is_folder and not skipped:
        known = ", ".join(names())
        return f"expected a file, a folder, a glob that matches, or one of {known}, found none"
    expected = f"expected files ending in {', '.join(SUFFIXES)} (or these with .gz or .zst), found "
    kinds = collections.Counter(
        (file.suffix.lower() or "without suffix", reason) for file, reason in skipped.items()
    )
    found = [f"{n} {kind} ({reason})" for (kind, reason), n in kinds.most_common(3)]
    more = f", and {len(kinds) - 3} other kinds" if len(kinds) > 3 else ""
    return expected + (", ".join(found) + more or "none")


def _mode(path: pathlib.Path) -> int:
    """Type and permissions of a file; 0 if it does not exist or is a broken link."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return 0
        raise


def _files_below(folder: pathlib.Path) -> Iterator[str]:
    """All files below `folder`; unlike `Path.rglob`, fails if a folder cannot be read."""

    def fail(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read: {storage.reason(error)}")

    for parent, _, files in os.walk(folder, onerror=fail):
        yield from (os.path.join(parent, name) for name in files)


def _read_all(
    files: Sequence[pathlib.Path], options: CorpusOptions
) -> Iterator[text_files.TextFile]:
    num_bytes, max_bytes = 0, text_files.MAX_BYTES
    for place in files:
        found = read(place, options, max_bytes, num_bytes)
        num_bytes += found.num_bytes
        yield found


def read(
    place: pathlib.Path,
    options: CorpusOptions,
    max_bytes: int = text_files.MAX_BYTES,
    num_bytes_before: int = 0,
) -> text_files.TextFile:
    """The text of a file; that of JSON lines is their documents, separated as files are.

    See `text_files.read` for arguments and errors.
    """
    if not json_lines.is_json_lines(place):
        return text_files.read(
            place, options.encoding, options.encoding_errors, max_bytes, num_bytes_before
        )
    text = "".join(json_pieces(place, options, max_bytes - num_bytes_before))
    return text_files.TextFile(text, "utf-8", texts.num_bytes(text))


def json_pieces(
    place: pathlib.Path, options: CorpusOptions, max_bytes: int = sys.maxsize
) -> Iterator[str]:
    """The text of JSON lines in pieces: the documents, and what separates them."""
    with storage.open_regular(place, sys.maxsize, follow_links=True) as file:
        chunks = compression.chunks(place, file)
        found = json_lines.documents(chunks, place, options.text_feature)
        num_bytes = 0
        for piece in documents.separated(
            map(text_files.normalized, found), options.document_separator
        ):
            num_bytes += len(piece)
            if num_bytes > max_bytes:
                raise text_files.too_large(place, max_bytes, 0)
            yield piece


def _split(found: list[str], options: CorpusOptions, name: str) -> Splits:
    """Splits the texts of files; a single one is always split by characters."""
    if all(not text or text.isspace() for text in found):
        raise UserError(f"{name}: expected text, received blank characters only")
    separator = options.document_separator
    fractions = options.validation_fraction, options.test_fraction
    if options.split_by == "corpus" or len(found) == 1:
        return cut(documents.join(found, separator), *fractions)
    # Marked first, so that no separator is cut in two.
    cuts = [cut_at_lines(documents.mark_ends(text, separator), *fractions) for text in found]
    return Splits(
        _joined([splits.train for splits in cuts], separator),
        _joined([splits.validation for splits in cuts], separator),
        _joined([splits.test for splits in cuts], separator),
    )


def _joined(parts: list[str], separator: str) -> str:
    """Joins parts of files; a part that ends with a document needs no other separator."""
    return "".join(
        part if part.endswith(documents.END_CHARACTER) else documents.join([part], separator)
        for part in parts
        if part
    )


def _shown(path: str) -> str:
    return "corpus=" + (path if len(path) <= MAX_SHOWN else path[:MAX_SHOWN] + "…")
