r"""Words, punctuation, spaces and line breaks; what is rare is spelled in characters and bytes.

A text is cut into pieces: words, numbers, single punctuation characters, runs of spaces, single
line breaks. A piece of the vocabulary is one token. Any other piece is spelled: one token per
character, and for a character that is not in the vocabulary either, one token per byte of UTF-8. So
every text can be encoded, and `decode(encode(text)) == text`. Ids 0 to 255 are the bytes, which are
also the ASCII characters; the ids from 256 on are other characters and words.

The space before a word, a number or a punctuation character belongs to it, as does the apostrophe
before letters. On tiny_shakespeare, with `min_word_count=2`, that gives 0.312 tokens per character
of training text and 0.371 of validation text; with the space as a token of its own it is 0.454 and
0.504. The vocabulary grows by only 6 %, from 6,907 to 7,313 texts, because few words occur both at
the start of a line and within one. Line breaks are not joined to each other or to punctuation, so
that a prompt can end before or between them.

A text has several encodings (a word, or its letters); losses are those of `encode`, so they are an
upper bound. Knows nothing about corpora, windows or models.

    tokenizer = WordTokenizer((" is",))
    tokenizer.pieces(tokenizer.encode("He is"))     # ["H", "e", " is"]
"""

import collections
import dataclasses
import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from shakespeare_gen.data import texts
from shakespeare_gen.data.documents import END_CHARACTER
from shakespeare_gen.data.tokenizers.base import unknown_message
from shakespeare_gen.data.tokenizers.bytes import NUM_BYTES, ByteTokenizer
from shakespeare_gen.data.tokenizers.characters import VocabularyOptions
from shakespeare_gen.data.tokenizers.counts import TextCounts
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup, option

MAX_SIZE = 2**16
MAX_TOKEN_BYTES = 64  # a tokenizer of `MAX_SIZE` such tokens fits into `tokenizer.json`
CHUNK_CHARS = 1 << 18


class WordOptions(VocabularyOptions):
    """The vocabulary of a word tokenizer."""

    min_word_count: int = option(
        2,
        "with tokens=words: spell words that occur fewer than this many times in the training "
        "text; with 1, the model would see no spelled word in training",
        minimum=1,
    )
    vocabulary_size: int = option(
        20_000,
        "with tokens=words: maximum number of tokens, which are 256 bytes, the characters, and the "
        "most frequent words",
        minimum=NUM_BYTES,
        maximum=MAX_SIZE,
    )


@dataclasses.dataclass(frozen=True)
class WordTokenizer(ByteTokenizer):
    """The ids of `ByteTokenizer`, followed by characters and words.

    Attributes:
      texts: the texts of the ids from 256 on.
    """

    NAME: ClassVar[str] = "words"
    OPTIONS: ClassVar[type[OptionGroup]] = WordOptions

    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.texts) > MAX_SIZE - NUM_BYTES or len(set(self.texts)) < len(self.texts):
            raise UserError(
                f"texts: expected at most {MAX_SIZE - NUM_BYTES} unique texts, received others"
            )
        for text in self.texts:
            if not _is_token(text):
                raise UserError(
                    f"texts: expected characters outside ASCII and words of at most "
                    f"{MAX_TOKEN_BYTES} bytes, received {text[:MAX_TOKEN_BYTES]!r}"
                )

    @classmethod
    def from_text(cls, text: str, options: WordOptions) -> Self:
        words = collections.Counter[str]()
        for pieces in _pieces(text):
            words.update(pieces)
        return cls._of(texts.character_counts(text), words, options)

    @classmethod
    def counts(cls, options: WordOptions) -> TextCounts:
        return TextCounts(words=_pieces)

    @classmethod
    def from_counts(cls, counts: TextCounts, options: WordOptions) -> Self:
        return cls._of(counts.characters, counts.words, options)

    @classmethod
    def _of(
        cls, characters: Mapping[str, int], words: Mapping[str, int], options: WordOptions
    ) -> Self:
        others = {c: n for c, n in characters.items() if not c.isascii()}
        kept = _most_frequent(others, options.min_count)
        kept += _most_frequent({w: n for w, n in words.items() if w[1:]}, options.min_word_count)
        usable = [token for token in kept if _is_token(token)]
        has_end = END_CHARACTER in characters
        return cls(has_end, tuple(usable[: options.vocabulary_size - NUM_BYTES]))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        saved = value.get("texts")
        types = {"has_end": bool, "texts": list}
        is_valid = {key: type(item) for key, item in value.items()} == types
        if not (is_valid and isinstance(saved, list) and all(type(t) is str for t in saved)):
            raise UserError(
                f"tokenizer: expected {', '.join(types)} as a boolean and a list of strings, "
                f"received {str(value)[:200]}"
            )
        return cls(value["has_end"], tuple(saved))

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "texts": list(self.texts)}

    @property
    def size(self) -> int:
        return NUM_BYTES + len(self.texts)

    @functools.cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        return *ByteTokenizer().token_bytes, *(text.encode() for text in self.texts)

    @functools.cached_property
    def _id_of_text(self) -> dict[str, int]:
        ascii_ids = {chr(i): i for i in range(0x80)}
        return {**ascii_ids, **{text: NUM_BYTES + i for i, text in enumerate(self.texts)}}

    def encode(self, text: str) -> np.ndarray:
        unknown = self.unknown_characters(text)
        if unknown:
            raise UserError(unknown_message(text, unknown))
        parts = [np.array(self._chunk_ids(pieces), np.int32) for pieces in _pieces(text)]
        return np.concatenate([np.zeros(0, np.int32), *parts])

    def encode_utf8(self, data: bytes, unknown: str) -> tuple[np.ndarray, int]:
        text = data.decode()
        return self.encode(text).astype(self.dtype), len(text)

    def unfinished(self, text: str) -> str:
        pieces = _pattern().findall(text, text.rfind("\n") + 1)
        last = pieces[-1] if pieces else ""
        is_token = last in self._id_of_text
        return last if len(self.beginning_with(last)) > is_token else ""

    def beginning_with(self, text: str) -> np.ndarray:
        ids = [
            i for i, token in enumerate(self.texts, NUM_BYTES) if text and token.startswith(text)
        ]
        own = [ord(text)] if len(text) == 1 and text.isascii() else []  # not among `texts`
        return np.array(own + ids, np.int32)

    def _chunk_ids(self, pieces: list[str]) -> list[int]:
        find, ids = self._id_of_text.get, list[int]()
        for piece in pieces:
            found = find(piece)
            if found is None:
                ids += self._spelled(piece)
            else:
                ids.append(found)
        return ids

    def _spelled(self, piece: str) -> list[int]:
        """The ids of the characters of a piece, or of their bytes."""
        ids = list[int]()
        for character in piece:
            found = self._id_of_text.get(character)
            ids += character.encode() if found is None else (found,)
        return ids


def _is_token(text: str) -> bool:
    """Whether a text may have an id of its own; ASCII characters are bytes already."""
    if not text or (len(text) == 1 and text.isascii()) or texts.first_surrogate(text) is not None:
        return False
    return len(text.encode()) <= MAX_TOKEN_BYTES


def _most_frequent(counts: dict[str, int], min_count: int) -> list[str]:
    """The texts that occur often enough, the most frequent first, then in the order of code
    points."""
    kept = [text for text, count in counts.items() if count >= min_count]
    return sorted(kept, key=lambda text: (-counts[text], text))


def _pieces(text: str) -> Iterator[list[str]]:
    """The pieces of a text, in chunks that end after a line break, which is a piece of its own."""
    begin, find = 0, _pattern().findall
    while begin < len(text):
        end = text.find("\n", begin + CHUNK_CHARS) + 1 or len(text)
        yield find(text[begin:end])
        begin = end


@functools.cache
def _pattern() -> re.Pattern[str]:
    """A piece; every character belongs to one."""
    # Vowel signs and accents, which are not letters to `re`.
    marks = "".join(
        c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c).startswith("M")
    )
    letter, end = r"[^\W\d_]", re.escape(END_CHARACTER)
    word = rf"[ '’]?{letter}+(?:[{marks}]+{letter}*)*"
    return re.compile(rf"{word}| ?\d+| ?(?:[^\w\s{end}]|_)| +|[\s{end}]")
