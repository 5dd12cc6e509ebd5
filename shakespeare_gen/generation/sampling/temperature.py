"""Temperature: how far the distribution is sharpened or flattened."""

import numpy as np

from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.generation.sampling.transform import Transform
from shakespeare_gen.options import option


class Temperature(Transform):
    """Divides the logits; 0 keeps only the most likely id (ties: lowest id)."""

    is_always_compiled = True

    temperature: float = option(
        0.8, "divides the logits; 0: always the most likely token", minimum=0
    )

    @property
    def is_neutral(self):
        return self.temperature == 1

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        temperature = values["temperature"]
        # The largest is subtracted first, so that a tiny temperature cannot overflow.
        shifted = logits - arrays.largest(xp, logits)
        if xp is np and np.count_nonzero(temperature) == temperature.size:
            return shifted / temperature
        is_greedy = temperature == 0
        scaled = shifted / xp.where(is_greedy, np.float32(1), temperature)
        greedy = arrays.keep(xp, arrays.first_largest(xp, logits), scaled)
        return xp.where(is_greedy, greedy, scaled)
