"""A loss over a text with its units, its accuracy and its standard error.

Knows nothing of where the losses come from.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shakespeare_gen.models import loss_units

BLOCK_CHARS = 1000


@dataclasses.dataclass(frozen=True)
class Tally:
    """What was said of the characters of a text, in its order [N].

    `nats`: the loss of each; `hits` [N, 2]: whether it was the likeliest, and among the five
    likeliest, None where nothing is known of that; `times`: how often each was predicted, where
    not once. Of a character that was predicted several times the others are means.
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
    """Those of several texts, one after the other, as one."""

    def join(parts: list) -> np.ndarray | None:
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return Tally(
        np.concatenate([tally.nats for tally in tallies]),
        join([tally.hits for tally in tallies]),
        np.concatenate([tally.weights for tally in tallies]),
    )


@dataclasses.dataclass(frozen=True)
class Score:
    """What one model or method reached on one text.

    `standard_error` is that of `nats` over blocks of 1,000 characters: how far another text of
    this kind and length may lie, not how exact the figure is. Where a method gives no
    probabilities of single characters, it and the accuracies are None.
    """

    num_chars: int
    bytes_per_character: float
    nats: float
    standard_error: float | None = None
    top_1: float | None = None
    top_5: float | None = None

    def to_json(self) -> dict:
        """Every figure by its name."""
        bits = loss_units.bits_per_character(self.nats)
        return {
            "characters": self.num_chars,
            "bytes_per_character": self.bytes_per_character,
            "nats_per_character": self.nats,
            "bits_per_character": bits,
            "bits_per_byte": bits / self.bytes_per_character,
            # A compressor may need a hundred bytes for a text of one character.
            "perplexity": loss_units.perplexity(self.nats) if self.nats < 700 else None,
            "standard_error_nats": self.standard_error,
            "top_1_accuracy": self.top_1,
            "top_5_accuracy": self.top_5,
        }


def score(tally: Tally, text: str) -> Score:
    """The score of `text`; its bytes are those of UTF-8."""
    top_1, top_5 = (
        (None, None)
        if tally.hits is None
        else np.average(tally.hits, axis=0, weights=tally.weights).tolist()
    )
    return Score(
        len(tally),
        len(text.encode("utf-8", "surrogatepass")) / len(text),
        float(np.average(np.asarray(tally.nats, np.float64), weights=tally.weights)),
        standard_error(tally),
        top_1,
        top_5,
    )


def standard_error(tally: Tally) -> float | None:
    """Of the mean loss, over blocks; None where there are fewer than two.

    Neighbouring characters are not independent, blocks of 1,000 nearly are. The last, shorter
    block weighs less, as its characters do.
    """
    starts = np.arange(0, len(tally), BLOCK_CHARS)
    if len(starts) < 2:
        return None
    sizes = np.add.reduceat(tally.weights, starts)
    means = np.add.reduceat(tally.nats * tally.weights, starts) / sizes
    weights = sizes / sizes.sum()
    spread = weights**2 @ (means - weights @ means) ** 2
    return float(np.sqrt(spread * len(starts) / (len(starts) - 1)))
