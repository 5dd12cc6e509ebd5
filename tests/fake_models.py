"""Fake models and tokenizers that implement the contracts, in NumPy."""

import dataclasses
import string
from typing import Any, ClassVar

import numpy as np

from shakespeare_gen.data.tokenizers import Decoder, TableDecoder, Tokenizer
from shakespeare_gen.models.language_model import LanguageModel
from shakespeare_gen.options import OptionGroup


@dataclasses.dataclass(frozen=True)
class ChainStep:
    """Logits of the next id, which depend only on the last one; accepts ids of any shape."""

    def __call__(self, weights, ids, state):
        return weights["chain"][np.asarray(ids)], {"count": state["count"] + 1}


class MarkovChain(LanguageModel):
    """A chain with logits [V, V]; its state counts the ids of each row."""

    uses_numpy = True

    def __init__(self, logits: Any) -> None:
        self._weights = {"chain": np.asarray(logits, np.float32)}

    @property
    def vocabulary_size(self) -> int:
        return len(self._weights["chain"])

    @property
    def weights(self) -> dict[str, Any]:
        return self._weights

    def initial_state(self, batch_size: int):
        return {"count": np.zeros((batch_size, 1), np.int32)}

    def read(self, ids, state=None, training=False):
        state = self.initial_state(len(ids)) if state is None else state
        return self._weights["chain"][ids], {"count": state["count"] + ids.shape[1]}

    @property
    def step_function(self) -> ChainStep:
        return ChainStep()

    def step_weights(self):
        return self._weights


def alphabet() -> MarkovChain:
    """After each of 26 letters certainly the next one, and a after z."""
    return MarkovChain(50 * np.roll(np.eye(26), 1, axis=1))


@dataclasses.dataclass(frozen=True)
class FakeTokenizer(Tokenizer):
    """Tokens with fixed texts, the longest one first; `end` may be one of them."""

    NAME: ClassVar[str] = "fake"
    OPTIONS: ClassVar[type[OptionGroup]] = OptionGroup

    tokens: tuple[str, ...]
    end: str = ""

    @classmethod
    def from_text(cls, text, options):
        return cls(tuple(sorted(set(text))))

    @classmethod
    def from_json(cls, value):
        return cls(tuple(value["tokens"]))

    def to_json(self):
        return {"tokens": list(self.tokens)}

    @property
    def size(self):
        return len(self.tokens)

    @property
    def start_id(self):
        return 0

    @property
    def end_id(self):
        return self.tokens.index(self.end) if self.end else None

    def unknown_characters(self, text):
        return frozenset(text) - frozenset("".join(self.tokens))

    def encode(self, text):
        ids = []
        while text:
            token = max((t for t in self.tokens if text.startswith(t)), key=len)
            ids.append(self.tokens.index(token))
            text = text[len(token) :]
        return np.array(ids, np.int32)

    def decoder(self):
        return TableDecoder(self.tokens)


class HexDecoder(Decoder):
    """Two hexadecimal digits are one character."""

    def __init__(self) -> None:
        self._digit = ""

    def feed(self, ids):
        return [self._piece(int(i)) for i in ids]

    def _piece(self, i: int) -> str:
        digits, self._digit = self._digit + f"{i:x}", ""
        if len(digits) == 2:
            return chr(int(digits, 16))
        self._digit = digits
        return ""

    def flush(self):
        digit, self._digit = self._digit, ""
        return "\N{REPLACEMENT CHARACTER}" if digit else ""


@dataclasses.dataclass(frozen=True)
class HexTokenizer(FakeTokenizer):
    """Every character is two tokens, as in a tokenizer of bytes."""

    tokens: tuple[str, ...] = tuple("0123456789abcdef")

    def unknown_characters(self, text):
        return frozenset(c for c in text if ord(c) > 255)

    def encode(self, text):
        return np.array([int(d, 16) for c in text for d in f"{ord(c):02x}"], np.int32)

    def decoder(self):
        return HexDecoder()


# All filters and penalties that can be used together.
EVERY_FILTER = {
    "top_k": 12,
    "top_p": 0.95,
    "min_p": 0.01,
    "typical_p": 0.95,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "no_repeat_ngram": 5,
}
LETTERS = FakeTokenizer(tuple(string.ascii_lowercase))
