"""Python source code: the standard library of the running interpreter.

Whole files in a random but fixed order, up to a number of characters; tests, demonstrations and
tables of character encodings are left out. Another version of Python has another text.
"""

import os
import pathlib
import random
import sysconfig
from collections.abc import Iterator

from shakespeare_gen.data import documents
from shakespeare_gen.data.splits import Splits
from shakespeare_gen.errors import CorpusUnavailableError, UsageError
from shakespeare_gen.options.groups import CorpusOptions

SEED = 0
DEFAULT_MEGABYTES = 2
MAX_CHAR_BYTES = 4  # of a character in UTF-8
SKIPPED_FOLDERS = frozenset(
    {
        "test",
        "tests",
        "idle_test",
        "encodings",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "dist-packages",
        "turtledemo",
        "__pycache__",
    }
)


def load(argument: str, options: CorpusOptions) -> Splits:
    """Source files, each followed by the document separator; held-out text is whole files.

    Args:
      argument: maximum size in millions of characters; "": `DEFAULT_MEGABYTES`.

    Raises:
      CorpusUnavailableError: the source code of the standard library is not on this machine.
      UsageError: the argument is not a positive integer.
    """
    files = _texts(_max_chars(argument), options.document_separator)
    if not files:
        raise CorpusUnavailableError(
            "corpus=stdlib: expected the source code of Python's standard library, found none"
        )
    total = sum(map(len, files))
    test = _taken(files, total * options.test_fraction)
    validation = _taken(files, total * options.validation_fraction)
    return Splits("".join(files), validation, test)


def _max_chars(argument: str) -> int:
    if argument and not (argument.isascii() and argument.isdigit() and 0 < int(argument) < 1000):
        raise UsageError(
            f"corpus=stdlib:{argument[:80]}: expected a number of megabytes from 1 to 999"
        )
    return int(argument or DEFAULT_MEGABYTES) * 10**6


def _texts(max_chars: int, separator: str) -> list[str]:
    files = sorted(_files(pathlib.Path(sysconfig.get_path("stdlib"))))
    random.Random(SEED).shuffle(files)
    found: list[str] = []
    remaining = max_chars
    for file in files:
        if file.stat().st_size > MAX_CHAR_BYTES * remaining:
            continue
        text = documents.join([file.read_text("utf-8", "replace")], separator)
        if len(text) <= remaining and text.strip():
            found.append(text)
            remaining -= len(text)
    return found


def _files(root: pathlib.Path) -> Iterator[pathlib.Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        yield from (pathlib.Path(folder, name) for name in names if name.endswith(".py"))


def _taken(files: list[str], num_chars: float) -> str:
    """Removes files of about `num_chars` characters from the end of `files` and joins them."""
    found: list[str] = []
    too_large: list[str] = []  # at the end of the files; without them, nothing would be taken
    while len(files) > 1 and len(files[-1]) / 2 >= num_chars > 0:
        too_large.insert(0, files.pop())
    while len(files) > 1 and sum(map(len, found)) + len(files[-1]) / 2 < num_chars:
        found.append(files.pop())
    files += too_large
    return "".join(found)
