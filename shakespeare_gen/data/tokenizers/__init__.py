"""Tokenizers: text to token ids and back.

- `base`: the contract, `Tokenizer` and `Decoder`;
- `characters`: one token per character;
- `bytes`: one token per byte of UTF-8;
- `words`: words, and the spelling of rare ones;
- `counts`: counts of a text in pieces, to build a vocabulary from;
- `folding`: the nearest ASCII text of a character.

To add a tokenizer, write a subclass of `Tokenizer` and register it:

    TOKENIZERS["pairs"] = PairTokenizer

A saved tokenizer is its `to_json` and its name:

    tokenizer = from_text(corpus.train, options)
    to_json(tokenizer)     # {"tokens": "characters", "characters": "\\n !...", ...}
    from_json(to_json(tokenizer)) == tokenizer
"""

from typing import Any

from shakespeare_gen.data.tokenizers.base import Decoder, TableDecoder, Tokenizer
from shakespeare_gen.data.tokenizers.bytes import ByteTokenizer
from shakespeare_gen.data.tokenizers.characters import CharacterOptions, CharacterTokenizer
from shakespeare_gen.data.tokenizers.counts import TextCounts
from shakespeare_gen.data.tokenizers.words import WordOptions, WordTokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup, Options, option

__all__ = [
    "TOKENIZERS",
    "ByteTokenizer",
    "CharacterOptions",
    "CharacterTokenizer",
    "Decoder",
    "TableDecoder",
    "TextCounts",
    "TokenOptions",
    "Tokenizer",
    "WordOptions",
    "WordTokenizer",
    "extended",
    "from_counts",
    "from_json",
    "from_text",
    "groups",
    "new_counts",
    "to_json",
]

TOKENIZERS: dict[str, type[Tokenizer]] = {
    kind.NAME: kind for kind in (CharacterTokenizer, ByteTokenizer, WordTokenizer)
}


class TokenOptions(OptionGroup):
    """What a token is."""

    TITLE = "Vocabulary"

    tokens: str = option(
        "characters",
        "what a token is; words: also punctuation, spaces and line breaks, and rare words are "
        "spelled",
        choices=TOKENIZERS,
    )


def groups() -> tuple[type[OptionGroup], ...]:
    """`TokenOptions` and the options of every tokenizer."""
    return TokenOptions, *dict.fromkeys(kind.OPTIONS for kind in TOKENIZERS.values())


def from_text(text: str, options: Options) -> Tokenizer:
    """Builds the tokenizer chosen by `options` from a training text.

    Raises:
      UserError: the vocabulary would be empty.
    """
    kind = TOKENIZERS[options[TokenOptions].tokens]
    return kind.from_text(text, options[kind.OPTIONS])


def new_counts(options: Options) -> TextCounts:
    """New counts of a text in pieces, for `from_counts`.

    Raises:
      UserError: the tokenizer can only be built from a text as a whole.
    """
    kind = TOKENIZERS[options[TokenOptions].tokens]
    return kind.counts(options[kind.OPTIONS])


def from_counts(found: TextCounts, options: Options) -> Tokenizer:
    """Builds the tokenizer chosen by `options` from the counts of a training text.

    Raises:
      UserError: the vocabulary would be empty.
    """
    kind = TOKENIZERS[options[TokenOptions].tokens]
    return kind.from_counts(found, options[kind.OPTIONS])


def extended(tokenizer: Tokenizer, text: str, options: Options) -> Tokenizer:
    """A tokenizer with the tokens of `tokenizer` that can also encode a training text.

    Raises:
      UserError: there is no such tokenizer.
    """
    return tokenizer.extended(text, options[tokenizer.OPTIONS])


def to_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """A tokenizer as JSON values; `tokens` is its name."""
    return {"tokens": tokenizer.NAME, **tokenizer.to_json()}


def from_json(value: dict[str, Any]) -> Tokenizer:
    """The inverse of `to_json`; without `tokens`, a character tokenizer.

    Raises:
      UserError: `value` is not a saved tokenizer.
    """
    fields = dict(value)
    name = fields.pop("tokens", CharacterTokenizer.NAME)  # absent in run folders of format 1
    if not isinstance(name, str) or name not in TOKENIZERS:
        raise UserError(f"tokens: expected one of {', '.join(TOKENIZERS)}, received {name!r}")
    return TOKENIZERS[name].from_json(fields)
