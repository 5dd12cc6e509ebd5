"""How likely a model finds a text, in bits."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Score:
    """The log-probability of every token of a text.

    Attributes:
      pieces: the text of each token.
      log_probabilities: in nats, float32 [N].
    """

    pieces: tuple[str, ...]
    log_probabilities: np.ndarray

    @property
    def num_characters(self) -> int:
        """The length of the text."""
        return sum(map(len, self.pieces))

    @property
    def bits(self) -> np.ndarray:
        """The surprise of each token, float64 [N]."""
        return -self.log_probabilities.astype(np.float64) / math.log(2)

    @property
    def total_bits(self) -> float:
        """The surprise of the text."""
        return float(self.bits.sum())

    @property
    def bits_per_character(self) -> float:
        """The mean surprise; 0 for an empty text."""
        return self.total_bits / max(self.num_characters, 1)
