"""The contract of a tokenizer: text to token ids and back.

A token may span several characters, and a character may take several tokens. Callers must not
assume that an id is a character. Knows nothing about corpora, windows or models.

Shapes: N tokens of a text.
"""

import abc
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from shakespeare_gen.data.tokenizers import folding
from shakespeare_gen.data.tokenizers.counts import TextCounts
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup

MAX_NAMED = 10  # unknown characters that an error message names
MAX_POSITIONS = 3  # positions of each character that it shows


class Decoder(abc.ABC):
    """Converts tokens to text as they arrive.

    However the ids are divided into chunks, all pieces followed by the text of `flush` equal
    `Tokenizer.decode` of all ids.
    """

    @abc.abstractmethod
    def feed(self, ids: Iterable[int]) -> list[str]:
        """The text that each token completes, "" for a token that completes no character."""

    def flush(self) -> str:
        """The replacement of an incomplete character at the end; "" if there is none."""
        return ""


class TableDecoder(Decoder):
    """A decoder for tokens whose text does not depend on their neighbors."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def feed(self, ids: Iterable[int]) -> list[str]:
        return [self._texts[i] for i in ids]


class Tokenizer(abc.ABC):
    """Base class of the tokenizers: immutable values that can be compared and hashed.

    Attributes:
      NAME: the value of the option `tokens`.
      OPTIONS: the option group that `from_text` receives.
    """

    NAME: ClassVar[str]
    OPTIONS: ClassVar[type[OptionGroup]]

    @classmethod
    @abc.abstractmethod
    def from_text(cls, text: str, options: Any) -> Self:
        """Builds the vocabulary from a training text.

        Args:
          options: an object of type `OPTIONS`.

        Raises:
          UserError: the vocabulary would be empty.
        """

    @classmethod
    def counts(cls, options: Any) -> TextCounts:
        """New counts of a text in pieces, for `from_counts`.

        Raises:
          UserError: the vocabulary can only be built from a text as a whole.
        """
        del options
        raise UserError(
            f"tokens: expected tokens whose vocabulary is built from counts, received {cls.NAME}"
        )

    @classmethod
    def from_counts(cls, counts: TextCounts, options: Any) -> Self:
        """Builds the same vocabulary as `from_text` from the counts of the text."""
        raise NotImplementedError

    @classmethod
    @abc.abstractmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
          UserError: `value` is not a result of `to_json`.
        """

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Everything that `from_json` needs, as JSON values."""

    def extended(self, text: str, options: Any) -> "Tokenizer":
        """A tokenizer with the tokens of this one that can also encode a training text.

        Args:
          options: those that `from_text` receives.

        Raises:
          UserError: there is no such tokenizer.
        """
        del options
        if unknown := self.unknown_characters(text):
            raise UserError(unknown_message(text, unknown))
        return self

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of ids, V."""

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type for all ids."""
        return np.min_scalar_type(self.size - 1)

    @property
    @abc.abstractmethod
    def start_id(self) -> int:
        """The token that a model reads before the first token of a text."""

    @property
    def end_id(self) -> int | None:
        """The token at the end of a document; None if there is none."""
        return None

    @property
    def unknown_id(self) -> int | None:
        """The token for text that has no token of its own; None if there is none."""
        return None

    @property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Tokens that are never generated."""
        return () if self.unknown_id is None else (self.unknown_id,)

    @abc.abstractmethod
    def unknown_characters(self, text: str) -> frozenset[str]:
        """The characters of `text` that cannot be encoded without an unknown id."""

    @abc.abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Token ids of `text`, int32 [N].

        Raises:
          UserError: characters are unknown, and there is no unknown id.
        """

    def encode_utf8(self, data: bytes, unknown: str) -> tuple[np.ndarray, int]:
        """Token ids of a text in UTF-8, and the number of characters that they stand for.

        Args:
          unknown: see `prepare`.

        Returns:
          The ids have the type `dtype`.
        """
        text = self.prepare(data.decode(), unknown, "train")
        return self.encode(text).astype(self.dtype), len(text)

    @abc.abstractmethod
    def decoder(self) -> Decoder:
        """A new decoder for a stream of tokens."""

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The text that each token completes; joined, the pieces equal `decode(ids)`."""
        decoder = self.decoder()
        pieces = decoder.feed(ids)
        if pieces:
            pieces[-1] += decoder.flush()
        return pieces

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`."""
        return "".join(self.pieces(ids))

    def unfinished(self, text: str) -> str:
        """The end of `text` that is encoded by itself, but may be the beginning of one token.

        For example " lo", if there is a token " lord"; "" if there is none.
        """
        return ""

    def beginning_with(self, text: str) -> np.ndarray:
        """The tokens that begin with the result of `unfinished`, int32 [any]."""
        return np.zeros(0, np.int32)

    def label(self, token_id: int) -> str:
        """What represents a token by itself, in lists of tokens: its text."""
        return self.decode([token_id])

    def prepare(self, text: str, unknown: str = "error", name: str = "prompt") -> str:
        """Converts `text` to text that `encode` accepts.

        Args:
          unknown: how to handle unknown characters. "error" rejects them, "skip" leaves them out,
            "nearest" replaces them with the nearest known ones and rejects the others. If there
            is an unknown id, no characters are rejected.
          name: the name of the text in error messages.

        Raises:
          UserError: characters are rejected; names them and their positions.
        """
        unknown_characters = self.unknown_characters(text)
        if not unknown_characters:
            return text
        if unknown == "skip":
            return text.translate({ord(c): None for c in unknown_characters})
        replacements = {}
        if unknown == "nearest":
            nearest = {c: folding.nearest(c) for c in unknown_characters}
            replacements = {
                c: s for c, s in nearest.items() if s and not self.unknown_characters(s)
            }
        rejected = unknown_characters - replacements.keys()
        if rejected and self.unknown_id is None:
            ways = "" if unknown == "nearest" else "`unknown=nearest` or "
            raise UserError(f"{name}: {unknown_message(text, rejected)}; try {ways}`unknown=skip`")
        return text.translate({ord(c): s for c, s in replacements.items()})


def unknown_message(text: str, unknown: frozenset[str]) -> str:
    """The error message for unknown characters of `text`, with their first positions."""
    positions: dict[str, list[int]] = {}
    for position, character in enumerate(text):
        if character in unknown and len(positions.setdefault(character, [])) <= MAX_POSITIONS:
            positions[character].append(position)
    named = "; ".join(_with_positions(c, positions[c]) for c in list(positions)[:MAX_NAMED])
    more = f"; and {len(positions) - MAX_NAMED} others" if len(positions) > MAX_NAMED else ""
    return f"expected characters of the vocabulary, received {named}{more}"


def _with_positions(character: str, positions: list[int]) -> str:
    more = ", …" if len(positions) > MAX_POSITIONS else ""
    return f"{character!r} at {', '.join(map(str, positions[:MAX_POSITIONS]))}{more}"
