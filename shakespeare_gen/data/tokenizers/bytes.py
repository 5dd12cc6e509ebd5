"""One token per byte of UTF-8: any text in any script, without unknown characters.

Byte b has the id b. A character takes one to four tokens, so that losses per token are not
comparable with those of characters; losses per character are. Knows nothing about corpora, windows
or models.

    tokenizer = ByteTokenizer()
    tokenizer.encode("né")                   # array([110, 195, 169])
    tokenizer.decode([110, 195, 169])        # "né"
    tokenizer.decoder().feed([195, 169])     # ["", "é"]
"""

import codecs
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from shakespeare_gen.data import texts
from shakespeare_gen.data.documents import END_CHARACTER
from shakespeare_gen.data.tokenizers.base import Decoder, Tokenizer, unknown_message
from shakespeare_gen.data.tokenizers.counts import TextCounts
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup

NUM_BYTES = 256
# Bytes that no text in UTF-8 contains.
_NEVER = (0xC0, 0xC1, *range(0xF5, 0x100))
_SURROGATES = range(0xD800, 0xE000)


class ByteOptions(OptionGroup):
    """A byte tokenizer has no options."""

    TITLE = "Vocabulary"


class Utf8Decoder(Decoder):
    """Decodes tokens that are parts of UTF-8.

    Invalid sequences become U+FFFD, exactly as in `bytes.decode` of the whole.

    Args:
      token_bytes: the bytes of every id.
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int]) -> list[str]:
        decode, token_bytes = self._decoder.decode, self._token_bytes
        return [decode(token_bytes[i]) for i in ids]

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


@dataclasses.dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
    """One id per byte.

    Attributes:
      has_end: whether the byte of `END_CHARACTER` is the end of a document.
    """

    NAME: ClassVar[str] = "bytes"
    OPTIONS: ClassVar[type[OptionGroup]] = ByteOptions

    has_end: bool = False

    @classmethod
    def from_text(cls, text: str, options: Any) -> Self:
        return cls(has_end=END_CHARACTER in text)

    @classmethod
    def counts(cls, options: Any) -> TextCounts:
        return TextCounts(is_exact=False)

    @classmethod
    def from_counts(cls, counts: TextCounts, options: Any) -> Self:
        return cls(has_end=END_CHARACTER in counts.characters)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        if {key: type(item) for key, item in value.items()} != {"has_end": bool}:
            raise UserError(
                f"tokenizer: expected has_end as a boolean, received {str(value)[:200]}"
            )
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        return {"has_end": self.has_end}

    @property
    def size(self) -> int:
        return NUM_BYTES

    @property
    def start_id(self) -> int:
        """The id of a line end."""
        return ord("\n")

    @property
    def end_id(self) -> int | None:
        return ord(END_CHARACTER) if self.has_end else None

    @property
    def forbidden_ids(self) -> tuple[int, ...]:
        """The bytes that no text in UTF-8 contains."""
        return _NEVER

    @functools.cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes of every id."""
        return tuple(bytes([i]) for i in range(NUM_BYTES))

    def unknown_characters(self, text: str) -> frozenset[str]:
        """The surrogates of `text`, which UTF-8 cannot encode."""
        first = texts.first_surrogate(text)
        if first is None:
            return frozenset()
        return frozenset(c for c in text[first:] if ord(c) in _SURROGATES)

    def encode(self, text: str) -> np.ndarray:
        unknown = self.unknown_characters(text)
        if unknown:
            raise UserError(unknown_message(text, unknown))
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def encode_utf8(self, data: bytes, unknown: str) -> tuple[np.ndarray, int]:
        return np.frombuffer(data, np.uint8), texts.num_chars(data)

    def decoder(self) -> Decoder:
        return Utf8Decoder(self.token_bytes)

    def decode(self, ids: Iterable[int]) -> str:
        found = map(self.token_bytes.__getitem__, np.fromiter(ids, np.int64).tolist())
        return b"".join(found).decode("utf-8", "replace")

    def label(self, token_id: int) -> str:
        r"""Its text; of a part of a character the byte, such as `\xd0`."""
        is_part = 0x80 <= token_id < NUM_BYTES
        return f"\\x{token_id:02x}" if is_part else self.decode([token_id])
