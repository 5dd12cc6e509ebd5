"""The recipes and search spaces that ship with the package, and the flags that files contain.

    arguments = expanded(["--flagfile=quick", "--epochs=3"])

A recipe is a file of flags. `--flagfile` names a file or, from any folder, a shipped recipe, as
`quick` or as in a clone of the repository, `flags/quick.cfg`; a search space of `tune` is found in
the same way, as `lstm` or `flags/spaces/lstm.json`. Files are read here, with bounds,
instead of by absl, which reads endless files and waits for pipes. Knows no option.
"""

import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import spelling
from shakespeare_gen.system import storage

MAX_BYTES = 1 << 20
MAX_FILES = 100  # of one command line: a file may include others, or itself
SUFFIX = ".cfg"
_FLAG = "flagfile"
# In two words: two arguments, or one line of a file.
_DIRECTIVE = re.compile(rf"--?{_FLAG}(?:[=\s](.*))?", re.DOTALL)
_PACKAGE = pathlib.Path(__file__).parent.parent


class Kind(NamedTuple):
    """A kind of files that ship with the package.

    Attributes:
      option: the option that names one.
      folder: their folder in a clone of the repository.
    """

    noun: str
    option: str
    folder: str
    suffix: str

    def place(self) -> pathlib.Path:
        """The folder of these files: in a wheel, or in a clone of the repository."""
        installed = _PACKAGE / "recipes"
        flags = installed if installed.is_dir() else _PACKAGE.parent / "flags"
        return flags / self.folder.removeprefix("flags").removeprefix("/")


RECIPE = Kind("recipe", _FLAG, "flags", SUFFIX)
SPACE = Kind("search space", "space", "flags/spaces", ".json")


def names(kind: Kind = RECIPE) -> list[str]:
    """The names of the shipped recipes, or of another kind of files."""
    return sorted(path.stem for path in kind.place().glob(f"*{kind.suffix}"))


def find(value: str, kind: Kind = RECIPE) -> pathlib.Path:
    """The file that the option of `kind` names: an existing file, or else a shipped one.

    Raises:
      UsageError: there is neither.
    """
    path = pathlib.Path(os.path.expanduser(value))
    if os.path.lexists(path) and not path.is_dir():
        return path
    known, suffix = names(kind), kind.suffix
    name = value.removeprefix(f"{kind.folder}/").removesuffix(suffix)
    if name not in known:
        meant = spelling.did_you_mean(f"{name}{suffix}", [f"{each}{suffix}" for each in known])
        advice = [*([meant] if meant else []), f"{kind.noun}s: {', '.join(known)}"]
        raise UsageError(
            f"`{kind.option}={value}`: expected a file or a {kind.noun}; {'; '.join(advice)}"
        )
    return kind.place() / f"{name}{suffix}"


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with the lines of its flag files in place of `--flagfile`.

    Raises:
      UsageError: a file is missing, too large, or not UTF-8; or there are too many.
    """
    return list(_Expansion().expanded(arguments))


class _Expansion:
    """The expansion of one command line; counts the files."""

    def __init__(self) -> None:
        self._num_files = 0

    def expanded(self, arguments: Sequence[str]) -> Iterator[str]:
        rest = iter(arguments)
        for argument in rest:
            if match := _DIRECTIVE.fullmatch(argument):
                value = next(rest, "") if match[1] is None else match[1]
                yield from self.expanded(self._lines(value))
                continue
            yield argument
            if argument == "--":  # no flags follow
                yield from rest

    def _lines(self, value: str) -> list[str]:
        """The flags in a file, without blank lines and comments."""
        if not value:
            raise UsageError(f"`{_FLAG}`: expected a file or a recipe, received none")
        self._num_files += 1
        if self._num_files > MAX_FILES:
            raise UsageError(
                f"`{_FLAG}={value}`: expected at most {MAX_FILES} files, received more; "
                "does a file include itself?"
            )
        lines = (line.strip() for line in _read(value).split("\n"))
        return [line for line in lines if line and not line.startswith(("#", "//"))]


def _read(value: str) -> str:
    label = f"`{_FLAG}={value}`"
    try:
        data = storage.read_bytes(find(value), MAX_BYTES, follow_links=True, label=label)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UsageError(
            f"{label}: expected utf-8, received byte 0x{byte:02x} at {error.start}"
        ) from None
    except UserError as error:
        raise UsageError(str(error)) from None
