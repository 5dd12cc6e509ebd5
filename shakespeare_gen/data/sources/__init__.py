"""Sources of text: one module each, and their registry.

- `tfds`: TensorFlow Datasets;
- `plays`: Shakespeare's plays from a Python package, their verse, and their speeches (`dialogue`);
- `given_names`: names of persons from a Python package;
- `django_messages`: text in many languages from a Python package;
- `stdlib`: Python source code;
- `music`: tunes in ABC notation, made by a grammar;
- `packages`: where the files of a Python package are;
- `files`: the user's files, for every name that is not registered.

A source is selected by `corpus=NAME`, or `corpus=NAME:ARGUMENT` if it takes an argument. To add
one, write a module with a function `load(argument, options) -> Splits` and register it:

    SOURCES["poems"] = Source(poems.load)
    SOURCES["feed"] = Source(feed.load, argument="ADDRESS")
"""

import dataclasses
from collections.abc import Callable

from shakespeare_gen.data.sources import (
    django_messages,
    given_names,
    music,
    plays,
    stdlib,
    tfds,
)
from shakespeare_gen.data.splits import Splits
from shakespeare_gen.options.groups import CorpusOptions

__all__ = ["SOURCES", "Source", "find", "names"]


@dataclasses.dataclass(frozen=True)
class Source:
    """A source of text.

    Attributes:
      load: `(argument, options) -> Splits`. Raises `CorpusUnavailableError` if the text is not on
        this machine and cannot be downloaded, and `UserError` if the request is invalid.
      argument: placeholder of the argument, for messages; "": the source takes none.
    """

    load: Callable[[str, CorpusOptions], Splits]
    argument: str = ""


def _tiny_shakespeare(_: str, options: CorpusOptions) -> Splits:
    return tfds.load("tiny_shakespeare", options, requested="tiny_shakespeare")


SOURCES: dict[str, Source] = {
    "tiny_shakespeare": Source(_tiny_shakespeare),
    "tfds": Source(tfds.load, argument="NAME"),
    "plays": Source(plays.load),
    "verse": Source(plays.load_verse),
    "dialogue": Source(plays.load_dialogue),
    "names": Source(given_names.load),
    "music": Source(music.load),
    "stdlib": Source(stdlib.load, argument="MEGABYTES"),
    "django": Source(django_messages.load, argument="LANGUAGE"),
}


def find(corpus: str) -> tuple[Source, str] | None:
    """The registered source of a corpus name, and its argument; None for files."""
    name, colon, argument = corpus.partition(":")
    source = SOURCES.get(name)
    if source is None or (colon and not source.argument):
        return None
    return source, argument


def names() -> list[str]:
    """The names of the registered sources with their arguments, for messages."""
    return [f"{n}:{s.argument}" if s.argument else n for n, s in SOURCES.items()]
