"""Translated messages of the package `django`, for text that is not English.

The translations are gettext catalogs (`.po`) in about a hundred languages and many scripts, up to
60 kB each. Django itself is not imported.

    load("ru", options)         # Russian
    load("ru,uk,be", options)   # several languages
    load("all", options)        # every language
"""

import ast
import pathlib
import re

from shakespeare_gen.data import documents
from shakespeare_gen.data.sources import packages
from shakespeare_gen.data.splits import Splits, cut_at_lines
from shakespeare_gen.errors import UserError
from shakespeare_gen.options.groups import CorpusOptions

ALL = "all"
MAX_SHOWN = 20  # languages in a message
PATTERNS = ("conf/locale/*/LC_MESSAGES/*.po", "contrib/*/locale/*/LC_MESSAGES/*.po")
# An entry: its comments, the message, and its translations. A string continues on the next lines.
_STRING = r'"(?:[^"\\\n]|\\.)*"(?:\n"(?:[^"\\\n]|\\.)*")*'
_TRANSLATION = re.compile(rf"^msgstr(?:\[\d\])? ({_STRING})", re.MULTILINE)
_HEADER = re.compile(r'^msgid ""\nmsgstr ', re.MULTILINE)


def load(argument: str, options: CorpusOptions) -> Splits:
    """The messages of languages, one a line and each once; the end of each language is held out.

    Args:
      argument: names of languages, separated by commas, or `all`.

    Raises:
      CorpusUnavailableError: the package is not installed.
      UserError: there is no such language.
    """
    by_language: dict[str, list[pathlib.Path]] = {}
    for file in packages.files("django", PATTERNS, "corpora", f"django:{argument}"):
        by_language.setdefault(file.parts[-3], []).append(file)
    cuts = [
        cut_at_lines(
            documents.mark_ends(_text(by_language[language]), options.document_separator),
            options.validation_fraction,
            options.test_fraction,
        )
        for language in _languages(argument, sorted(by_language))
    ]
    return Splits(
        "".join(found.train for found in cuts),
        "".join(found.validation for found in cuts),
        "".join(found.test for found in cuts),
    )


def messages(catalog: str) -> list[str]:
    """The translations in a gettext catalog, without its header and fuzzy ones, on one line each.

    Args:
      catalog: the text of a `.po` file.
    """
    entries = [
        entry
        for entry in catalog.split("\n\n")
        if not _HEADER.search(entry) and "#, fuzzy" not in entry
    ]
    found = [_unquoted(string) for entry in entries for string in _TRANSLATION.findall(entry)]
    return [" ".join(message.split()) for message in found if message.strip()]


def _languages(argument: str, known: list[str]) -> list[str]:
    chosen = known if argument == ALL else argument.split(",")
    if unknown := [name for name in chosen if name not in known]:
        shown = ", ".join(known[:MAX_SHOWN])
        raise UserError(
            f"corpus=django:{argument[:80]}: expected {ALL} or languages of {shown}, … "
            f"({len(known)} in all), received {unknown[0]!r}"
        )
    return chosen


def _text(files: list[pathlib.Path]) -> str:
    every = [message for file in files for message in messages(file.read_text("utf-8"))]
    return "".join(message + "\n" for message in dict.fromkeys(every))


def _unquoted(string: str) -> str:
    return "".join(ast.literal_eval(line) for line in string.splitlines())
