"""One token per character.

The vocabulary consists of the sorted characters of the training text. With the option `unknown_id`
the last id represents all other characters. Knows nothing about corpora, windows or models.

    tokenizer = CharacterTokenizer("ab")
    tokenizer.encode("abba")    # array([0, 1, 1, 0])
    tokenizer.decode([0, 1])    # "ab"
"""

import dataclasses
import functools
from typing import Any, ClassVar, Self

import numpy as np

from shakespeare_gen.data import texts
from shakespeare_gen.data.documents import END_CHARACTER
from shakespeare_gen.data.tokenizers.base import Decoder, TableDecoder, Tokenizer, unknown_message
from shakespeare_gen.data.tokenizers.counts import TextCounts
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup, option

NUM_BYTES = 256
UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"


class VocabularyOptions(OptionGroup):
    """Options of every tokenizer with a vocabulary of characters."""

    TITLE = "Vocabulary"

    min_count: int = option(
        1,
        "leave out characters that occur fewer than this many times in the training text; with "
        "tokens=words, they are spelled in bytes",
        minimum=1,
    )


class CharacterOptions(VocabularyOptions):
    """The vocabulary of a character tokenizer."""

    unknown_id: bool = option(
        False,
        "with tokens=characters: replace characters outside the vocabulary with an unknown token "
        "instead of leaving them out",
    )


@dataclasses.dataclass(frozen=True)
class CharacterTokenizer(Tokenizer):
    """One id per character, in the order of code points.

    Attributes:
      characters: the vocabulary, sorted.
      has_unknown_id: whether an additional id represents all other characters.
    """

    NAME: ClassVar[str] = "characters"
    OPTIONS: ClassVar[type[OptionGroup]] = CharacterOptions

    characters: str
    has_unknown_id: bool = False

    def __post_init__(self) -> None:
        if not self.characters or list(self.characters) != sorted(set(self.characters)):
            raise UserError("characters: expected sorted unique characters, received others")
        if texts.first_surrogate(self.characters) is not None:
            raise UserError("characters: expected Unicode characters, received surrogates")

    @classmethod
    def from_text(cls, text: str, options: CharacterOptions) -> Self:
        return cls._of(texts.character_counts(text), options)

    @classmethod
    def counts(cls, options: CharacterOptions) -> TextCounts:
        return TextCounts(is_exact=options.min_count > 1)

    @classmethod
    def from_counts(cls, counts: TextCounts, options: CharacterOptions) -> Self:
        return cls._of(counts.characters, options)

    @classmethod
    def _of(cls, counts: dict[str, int], options: CharacterOptions) -> Self:
        kept = [c for c, count in counts.items() if count >= options.min_count]
        if not kept:
            raise UserError(
                f"min_count: expected at most {max(counts.values(), default=0)}, "
                f"the count of the most frequent character, received {options.min_count}"
            )
        return cls("".join(kept), options.unknown_id)

    def extended(self, text: str, options: CharacterOptions) -> "CharacterTokenizer":
        every = {*self.characters, *self.from_text(text, options).characters}
        return CharacterTokenizer("".join(sorted(every)), self.has_unknown_id)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        types = {"characters": str, "has_unknown_id": bool}
        if {key: type(item) for key, item in value.items()} != types:
            raise UserError(
                f"tokenizer: expected {', '.join(types)} as a string and a boolean, "
                f"received {str(value)[:200]}"
            )
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        return {"characters": self.characters, "has_unknown_id": self.has_unknown_id}

    @property
    def size(self) -> int:
        return len(self.characters) + self.has_unknown_id

    @property
    def start_id(self) -> int:
        """The id of a line end; 0 if the vocabulary has none."""
        return max(self.characters.find("\n"), 0)

    @property
    def end_id(self) -> int | None:
        found = self.characters.find(END_CHARACTER)
        return None if found < 0 else found

    @property
    def unknown_id(self) -> int | None:
        return len(self.characters) if self.has_unknown_id else None

    @functools.cached_property
    def _id_of_code_point(self) -> np.ndarray:
        missing = -1 if self.unknown_id is None else self.unknown_id
        table = np.full(texts.NUM_CODE_POINTS, missing, np.int32)
        table[[ord(c) for c in self.characters]] = np.arange(len(self.characters))
        return table

    def unknown_characters(self, text: str) -> frozenset[str]:
        return frozenset(text) - frozenset(self.characters)

    def encode(self, text: str) -> np.ndarray:
        ids = np.empty(len(text), np.int32)
        for begin, chunk in texts.chunks(text):
            found = self._id_of_code_point[texts.code_points(chunk)]
            ids[begin : begin + len(found)] = found
        if len(ids) and ids.min() < 0:
            raise UserError(unknown_message(text, self.unknown_characters(text)))
        return ids

    def encode_utf8(self, data: bytes, unknown: str) -> tuple[np.ndarray, int]:
        if unknown != "skip" and self.unknown_id is None:
            return super().encode_utf8(data, unknown)
        if data.isascii() and self.size <= NUM_BYTES:
            ids = np.frombuffer(data.translate(*self._ascii_table), np.uint8)
        else:
            found = self._id_of_code_point[texts.code_points(data.decode())]
            ids = (found if found.min(initial=0) >= 0 else found[found >= 0]).astype(self.dtype)
        return ids, len(ids)

    @functools.cached_property
    def _ascii_table(self) -> tuple[bytes, bytes]:
        """For `bytes.translate`: the id of each ASCII character, and those that are left out."""
        ids = self._id_of_code_point[:NUM_BYTES]
        return np.maximum(ids, 0).astype(np.uint8).tobytes(), bytes(
            np.flatnonzero(ids < 0).tolist()
        )

    def decoder(self) -> Decoder:
        """Decodes the unknown id to U+FFFD."""
        return TableDecoder(self.characters + UNKNOWN_CHARACTER * self.has_unknown_id)
