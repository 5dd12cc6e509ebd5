"""A loss over a text with its units, its accuracy and its standard error.

Knows nothing of where the losses come from.
"""

import dataclasses

import numpy as np

from shakespeare_gen import metrics
from shakespeare_gen.evaluation.likelihood import Reading

BLOCK_CHARS = 1000


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
        bits = metrics.bits_per_character(self.nats)
        return {
            "characters": self.num_chars,
            "bytes_per_character": self.bytes_per_character,
            "nats_per_character": self.nats,
            "bits_per_character": bits,
            "bits_per_byte": bits / self.bytes_per_character,
            "perplexity": metrics.perplexity(self.nats),
            "standard_error_nats": self.standard_error,
            "top_1_accuracy": self.top_1,
            "top_5_accuracy": self.top_5,
        }


def score(reading: Reading, text: str) -> Score:
    """The score of a reading of `text`; its bytes are those of UTF-8."""
    hits = reading.candidate_ids == reading.ids[:, None]
    named = hits.shape[1] > 0
    return Score(
        len(reading),
        len(text.encode("utf-8", "surrogatepass")) / len(text),
        float(reading.nats.mean(dtype=np.float64)),
        standard_error(reading.nats),
        float(hits[:, 0].mean()) if named else None,
        float(hits[:, :5].any(1).mean()) if named else None,
    )


def standard_error(nats: np.ndarray) -> float | None:
    """Of the mean of `nats` [N], over blocks; None where there are fewer than two.

    Neighbouring characters are not independent, blocks of 1,000 nearly are. The last, shorter
    block weighs by its characters.
    """
    starts = np.arange(0, len(nats), BLOCK_CHARS)
    if len(starts) < 2:
        return None
    weights = np.diff(np.append(starts, len(nats))) / len(nats)
    means = np.add.reduceat(np.asarray(nats, np.float64), starts) / (weights * len(nats))
    spread = weights**2 @ (means - weights @ means) ** 2
    return float(np.sqrt(spread * len(starts) / (len(starts) - 1)))
