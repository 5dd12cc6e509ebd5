"""Mirostat 2: keeps the surprise of a text near a target (Basu et al. 2020, arXiv 2007.14966).

Shapes: B batch, V vocabulary.
"""

import numpy as np

from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.generation.sampling.filters import MinP, MostLikely, Typical
from shakespeare_gen.generation.sampling.transform import Transform
from shakespeare_gen.options import option

_REPLACED = (MostLikely, MinP, Typical)
_NATS_PER_BIT = np.float32(np.log(2))


class Mirostat(Transform):
    """Keeps ids whose surprise is at most a limit, which follows the surprise of what was drawn.

    The memory is the limit in bits, float32 [B, 1]; at first 2 tau. The most likely id always
    remains.
    """

    mirostat_tau: float = option(
        0.0, "target mean surprise per token in bits, by mirostat; 0: off", minimum=0, maximum=100
    )
    mirostat_eta: float = option(0.1, "learning rate of mirostat", above=0, maximum=1)

    @property
    def is_neutral(self):
        return self.mirostat_tau == 0

    def check_with(self, options):
        if not self.is_neutral and not all(options[kind].is_neutral for kind in _REPLACED):
            raise UsageError(
                "mirostat_tau: expected none of `top_k`, `top_p`, `min_p` and `typical_p` with "
                "it, because it replaces them"
            )

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        bits = _bits(xp, logits)
        is_kept = (bits <= memory) | (bits <= xp.min(bits, axis=-1, keepdims=True))
        return arrays.keep(xp, is_kept | (values["mirostat_tau"] == 0), logits)

    @staticmethod
    def start(values, recent, vocabulary_size):
        return 2 * values["mirostat_tau"]

    @staticmethod
    def update(xp, values, memory, logits, ids, recent):
        drawn = xp.take_along_axis(_bits(xp, logits), xp.expand_dims(ids, 1), 1)
        return memory - values["mirostat_eta"] * (drawn - values["mirostat_tau"])


def _bits(xp, logits):
    return -arrays.log_softmax(xp, logits) / _NATS_PER_BIT
