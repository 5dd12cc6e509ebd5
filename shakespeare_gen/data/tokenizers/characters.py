"""Text to ids and back.

The vocabulary is the sorted unique characters of the training text. Where it
was asked for, one more id (the last) stands for every other character.
Knows nothing of corpora, windows or models.

    vocabulary = Vocabulary.from_text("abba")
    vocabulary.encode("ab")      # array([0, 1])
    vocabulary.decode([0, 1])    # "ab"
"""

import collections
import dataclasses
import functools
import unicodedata
from collections.abc import Iterable

import numpy as np

from shakespeare_gen.errors import UserError

UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"
MAX_CODE_POINTS = 0x110000


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Characters in the order of their ids; `unknown_id` adds one id after them."""

    characters: str
    has_unknown_id: bool = False

    def __post_init__(self) -> None:
        if list(self.characters) != sorted(set(self.characters)) or not self.characters:
            raise UserError("vocabulary: expected sorted unique characters, received others")

    @classmethod
    def from_text(cls, text: str, min_count: int = 1, unknown_id: bool = False) -> "Vocabulary":
        """The characters that stand at least `min_count` times in `text`."""
        counts = collections.Counter(text)
        kept = sorted(c for c, count in counts.items() if count >= min_count)
        if not kept:
            raise UserError(
                f"--min_count: expected at most {max(counts.values(), default=0)}, "
                f"the count of the commonest character, received {min_count}"
            )
        return cls("".join(kept), unknown_id)

    @property
    def size(self) -> int:
        """Number of ids, the unknown id included."""
        return len(self.characters) + self.has_unknown_id

    @property
    def unknown_id(self) -> int | None:
        """The id of every character outside the vocabulary, where there is one."""
        return len(self.characters) if self.has_unknown_id else None

    @property
    def start_id(self) -> int:
        """The id read before a text's first character: a line end, else id 0."""
        return max(self.characters.find("\n"), 0)

    @functools.cached_property
    def _id_of_code_point(self) -> np.ndarray:
        table = np.full(MAX_CODE_POINTS, -1, np.int32)
        table[[ord(c) for c in self.characters]] = np.arange(len(self.characters))
        return table

    def encode(self, text: str) -> np.ndarray:
        """Ids of `text`, int32 [len(text)].

        Raises:
          UserError: a character has no id, and there is no unknown id.
        """
        ids = self._lookup(text)
        if (ids < 0).any():
            raise UserError(_unknown_message(self.unknown_characters(text)))
        return ids

    def encode_known(self, text: str) -> np.ndarray:
        """Ids of `text`, int32 [at most len(text)]; characters without an id are left out."""
        ids = self._lookup(text)
        return ids[ids >= 0]

    def _lookup(self, text: str) -> np.ndarray:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = self._id_of_code_point[points]
        return ids if self.unknown_id is None else np.where(ids < 0, self.unknown_id, ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; the unknown id becomes U+FFFD."""
        table = self.characters + UNKNOWN_CHARACTER * self.has_unknown_id
        return "".join(table[i] for i in ids)

    def unknown_characters(self, text: str) -> dict[str, list[int]]:
        """Characters of `text` outside the vocabulary, each with its positions."""
        found: dict[str, list[int]] = {}
        known = set(self.characters)
        for position, character in enumerate(text):
            if character not in known:
                found.setdefault(character, []).append(position)
        return found

    def to_json(self) -> dict:
        """The fields as JSON values."""
        return {"characters": self.characters, "has_unknown_id": self.has_unknown_id}


def prepare_text(
    text: str, vocabulary: Vocabulary, unknown: str = "error", name: str = "prompt"
) -> str:
    """Makes `text` readable for a model: every character left has an id.

    Args:
      unknown: `error` refuses characters outside the vocabulary, `skip` leaves
        them out, `nearest` takes the nearest known ones and refuses the rest. Where
        the vocabulary has an unknown id, that is read in the place of a refusal.

    Raises:
      UserError: names the characters that stay unknown, and their positions.
    """
    if unknown == "error" and vocabulary.has_unknown_id:
        return text
    missing = vocabulary.unknown_characters(text)
    if unknown == "skip":
        return "".join(c for c in text if c not in missing)
    if unknown == "nearest":
        folded = {c: nearest(c) for c in missing}
        missing = {
            c: positions
            for c, positions in missing.items()
            if vocabulary.unknown_characters(folded[c]) or not folded[c]
        }
        if not missing or vocabulary.has_unknown_id:
            return "".join(c if c in missing else folded.get(c, c) for c in text)
    if missing:
        ways = "--unknown=skip" if unknown == "nearest" else "--unknown=nearest or --unknown=skip"
        raise UserError(f"{name}: {_unknown_message(missing)}; try {ways}")
    return text


# What NFKD leaves alone: quotation marks and dashes, by Unicode category or code point.
_PUNCTUATION = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": "'",
        "‛": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‐": "-",
        "‑": "-",
        "‒": "-",
        "–": "-",
        "—": "--",
        "―": "--",
        "−": "-",
        "ß": "ss",
        "æ": "ae",
        "Æ": "AE",
        "œ": "oe",
        "Œ": "OE",
        "ø": "o",
        "Ø": "O",
        "đ": "d",
        "Đ": "D",
        "ł": "l",
        "Ł": "L",
        "þ": "th",
        "Þ": "Th",
        "\t": " ",
    }
)


def nearest(character: str) -> str:
    """NFKC, then ASCII folding: é to e, ’ to ', ﬁ to fi. Empty where nothing is near."""
    normal = unicodedata.normalize("NFKC", character).translate(_PUNCTUATION)
    letters = unicodedata.normalize("NFKD", normal)
    return "".join(c for c in letters if not unicodedata.combining(c) and c.isascii())


def _unknown_message(missing: dict[str, list[int]]) -> str:
    def describe(character: str, positions: list[int]) -> str:
        places = ", ".join(map(str, positions[:3])) + (", …" if len(positions) > 3 else "")
        return f"{character!r} at {places}"

    shown = "; ".join(describe(c, p) for c, p in list(missing.items())[:10])
    more = f"; and {len(missing) - 10} others" if len(missing) > 10 else ""
    return f"expected characters of the vocabulary, received {shown}{more}"
