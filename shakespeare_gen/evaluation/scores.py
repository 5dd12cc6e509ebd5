"""The loss on a text with its units, accuracy and standard error.

Losses are summed over tokens and reported per character and per byte, so that models with different
tokenizers are comparable. Knows nothing about the source of the losses.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.models import loss_units

BLOCK_TOKENS = 1000


@dataclasses.dataclass(frozen=True)
class Tally:
    """The losses of the tokens of a text, in order [N].

    Attributes:
      nats: the loss of each token; the mean if it was predicted several times.
      hits: [N, 2], whether the token was the most likely one, and among the five most likely; None
        if unknown.
      times: how often each token was predicted; None: once.
    """

    nats: np.ndarray
    hits: np.ndarray | None = None
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.nats)

    @property
    def weights(self) -> np.ndarray:
        """`times`, or ones."""
        return np.ones(len(self)) if self.times is None else self.times


def joined(tallies: Sequence[Tally]) -> Tally:
    """Concatenates the tallies of several texts."""

    def join(parts: list) -> np.ndarray | None:
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return Tally(
        np.concatenate([tally.nats for tally in tallies]),
        join([tally.hits for tally in tallies]),
        np.concatenate([tally.weights for tally in tallies]),
    )


@dataclasses.dataclass(frozen=True)
class TextSize:
    """The length of a text in three units."""

    num_tokens: int
    num_chars: int
    num_bytes: int

    @classmethod
    def of(cls, texts: Sequence[TokenizedText]) -> "TextSize":
        """The total size of several texts."""
        return cls(
            sum(text.num_tokens for text in texts),
            sum(text.num_chars for text in texts),
            sum(text.num_bytes for text in texts),
        )

    @property
    def tokens_per_character(self) -> float:
        return self.num_tokens / self.num_chars

    @property
    def bytes_per_character(self) -> float:
        return self.num_bytes / self.num_chars


@dataclasses.dataclass(frozen=True)
class Score:
    """The result of one model or method on one text.

    `standard_error` is that of `nats` (per character) over blocks of 1,000 tokens: it describes the
    variation between texts of this kind and length, not the precision of the figure. The standard
    error and the accuracies (over tokens) are None for a method without token probabilities.
    """

    num_tokens: int
    size: TextSize
    nats: float
    standard_error: float | None = None
    top_1: float | None = None
    top_5: float | None = None

    def to_json(self) -> dict:
        """All figures by name."""
        bits = loss_units.bits_per_character(self.nats)
        return {
            "characters": round(self.num_tokens / self.size.tokens_per_character),
            "tokens": self.num_tokens,
            "bytes_per_character": self.size.bytes_per_character,
            "nats_per_character": self.nats,
            "bits_per_character": bits,
            "bits_per_byte": bits / self.size.bytes_per_character,
            # A compressor may need a hundred bytes for a text of one character.
            "perplexity": loss_units.perplexity(self.nats) if self.nats < 700 else None,
            "standard_error_nats": self.standard_error,
            "top_1_accuracy": self.top_1,
            "top_5_accuracy": self.top_5,
        }


def score(tally: Tally, size: TextSize) -> Score:
    """The score per character from a tally and the size of the text."""
    top_1, top_5 = (
        (None, None)
        if tally.hits is None
        else np.average(tally.hits, axis=0, weights=tally.weights).tolist()
    )
    nats_per_token = np.average(np.asarray(tally.nats, np.float64), weights=tally.weights)
    error = standard_error(tally)
    return Score(
        len(tally),
        size,
        float(nats_per_token) * size.tokens_per_character,
        None if error is None else error * size.tokens_per_character,
        top_1,
        top_5,
    )


def standard_error(tally: Tally) -> float | None:
    """The standard error of the mean loss per token, over blocks; None for fewer than two blocks.

    Neighboring tokens are dependent; blocks of 1,000 are nearly independent. Blocks are weighted
    by their number of tokens, because the last one may be shorter.
    """
    starts = np.arange(0, len(tally), BLOCK_TOKENS)
    if len(starts) < 2:
        return None
    sizes = np.add.reduceat(tally.weights, starts)
    means = np.add.reduceat(tally.nats * tally.weights, starts) / sizes
    weights = sizes / sizes.sum()
    spread = weights**2 @ (means - weights @ means) ** 2
    return float(np.sqrt(spread * len(starts) / (len(starts) - 1)))
