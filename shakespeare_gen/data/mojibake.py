"""Finds UTF-8 that was decoded as another encoding and saved again: `Oliverâ€™s` for `Oliver’s`.

Such text is mended by the round trip `text.encode(codec).decode("utf-8")`. Knows nothing about
files.

    find("Oliverâ€™s")    # Mojibake(num_sequences=1, codec="cp1252", example="â€™", meant="’")
"""

import collections
import re
from typing import NamedTuple

CODECS = ("cp1252", "latin-1")  # in the order in which they are tried

# Lead bytes of UTF-8 with their continuation bytes, decoded as cp1252 or Latin-1.
_CONTINUATION = "".join(map(chr, range(0x80, 0xC0))) + bytes(range(0x80, 0xC0)).decode(
    "cp1252", "ignore"
)
_MISREAD = re.compile(
    rf"(?<![^\x00-\x7f])(?:[\xc2-\xf4][{re.escape(_CONTINUATION)}]+)+(?![^\x00-\x7f])"
)


class Mojibake(NamedTuple):
    """Sequences of UTF-8 that were decoded as another encoding.

    Attributes:
      num_sequences: their number.
      codec: the encoding as which most of them were decoded.
      example, meant: one of them, and the text that it stands for.
    """

    num_sequences: int
    codec: str
    example: str
    meant: str

    def __str__(self) -> str:
        sequences = "sequences" if self.num_sequences > 1 else "sequence"
        return (
            f"{self.num_sequences:,} {sequences} of UTF-8 decoded as {self.codec}, such as "
            f"{self.example!r} for {self.meant!r}"
        )

    @property
    def remedy(self) -> str:
        """The Python expression that mends a text."""
        return f"text.encode('{self.codec}').decode('utf-8')"


def find(text: str) -> Mojibake | None:
    """The misread sequences of a text; None if there are none."""
    if text.isascii():
        return None
    counts: collections.Counter[str] = collections.Counter()
    examples: dict[str, tuple[str, str]] = {}
    for match in _MISREAD.finditer(text):
        codec, meant = _meant(match[0])
        if codec:
            counts[codec] += 1
            examples.setdefault(codec, (match[0], meant))
    if not counts:
        return None
    codec = counts.most_common(1)[0][0]
    return Mojibake(counts.total(), codec, *examples[codec])


def _meant(run: str) -> tuple[str, str]:
    """The encoding as which `run` was decoded and the intended text; empty if it is right."""
    for codec in CODECS:
        try:
            return codec, run.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    return "", ""
