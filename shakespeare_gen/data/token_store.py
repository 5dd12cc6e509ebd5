"""The tokens of a corpus, together with their text.

Losses are summed over tokens and reported per character and per byte, so the text is kept with
its ids. Knows nothing about windows or models.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from absl import logging

from shakespeare_gen.data import texts
from shakespeare_gen.data.corpora import SPLITS, Corpus
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.data.windows import TokenSlices

MAX_NAMED = 40  # left-out characters that the warning names
NUM_STRETCHES = 100  # equally spaced parts of a sample


class Tokens(Protocol):
    """The tokens of a text, and the number of its characters; the text may be elsewhere.

    Attributes:
      ids: token ids, integers [N]; not all of them may be in memory.
    """

    @property
    def ids(self) -> TokenSlices: ...

    @property
    def num_tokens(self) -> int: ...

    @property
    def num_chars(self) -> int: ...


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizedText:
    """A text and its tokens.

    Attributes:
      text: the tokenized text, without the characters that were left out.
      ids: its token ids, integers [N].
    """

    text: str
    ids: np.ndarray

    @classmethod
    def of(cls, text: str, tokenizer: Tokenizer, unknown: str, name: str) -> "TokenizedText":
        """The tokens of `text`; see `Tokenizer.prepare` for `unknown` and `name`."""
        prepared = tokenizer.prepare(text, unknown, name)
        return cls(prepared, tokenizer.encode(prepared))

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    @property
    def num_chars(self) -> int:
        return len(self.text)

    @property
    def num_bytes(self) -> int:
        """Length of the text in UTF-8."""
        return texts.num_bytes(self.text)

    @property
    def tokens_per_character(self) -> float:
        """More than 1 if a character takes several tokens, as in bytes."""
        return self.num_tokens / self.num_chars


def tokenize(
    corpus: Corpus, tokenizer: Tokenizer, splits: Sequence[str] = SPLITS
) -> dict[str, TokenizedText]:
    """Tokenizes splits of a corpus.

    Unknown characters are left out, with one warning per split, unless there is an unknown id.
    The ids of the training text stay in memory and have the smallest unsigned type; the others
    are int32.
    """
    stored = {split: _tokenized(corpus, split, tokenizer) for split in splits}
    if train := stored.get("train"):
        smallest = train.ids.astype(np.min_scalar_type(tokenizer.size - 1))
        stored["train"] = TokenizedText(train.text, smallest)
    return stored


def sample(ids: TokenSlices, max_tokens: int) -> np.ndarray:
    """All tokens of a text, or `NUM_STRETCHES` equally spaced parts of them."""
    if len(ids) <= max_tokens:
        return ids[:]
    size = max(max_tokens // NUM_STRETCHES, 1)
    begins = np.linspace(0, len(ids) - size, NUM_STRETCHES).astype(np.int64).tolist()
    return np.concatenate([ids[begin : begin + size] for begin in begins])


def with_both(found: Mapping[str, float], texts: Mapping[str, TokenizedText]) -> dict[str, float]:
    """Means per character of texts, and with two texts also `both`: that of the two together."""
    if len(texts) != 2:
        return dict(found)
    num_chars = [texts[name].num_chars for name in found]
    return {**found, "both": float(np.average(list(found.values()), weights=num_chars))}


def unknown_policy(tokenizer: Tokenizer) -> str:
    """What happens to unknown characters of a corpus: they are left out, unless there is an id."""
    return "skip" if tokenizer.unknown_id is None else "error"


def _tokenized(corpus: Corpus, split: str, tokenizer: Tokenizer) -> TokenizedText:
    text = getattr(corpus, split)
    found = TokenizedText.of(text, tokenizer, unknown_policy(tokenizer), split)
    if found.num_chars < len(text):
        left_out = "".join(sorted(tokenizer.unknown_characters(text)))
        logging.warning(
            "%d of %d %s characters are outside the vocabulary and left out: %r; "
            "`unknown_id` would replace them with an unknown token",
            len(text) - found.num_chars,
            len(text),
            split,
            left_out[:MAX_NAMED],
        )
    return found
