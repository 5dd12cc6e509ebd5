"""Filters set the logits of rejected ids to -inf. At least one id remains.

Shapes: B batch, V vocabulary.
"""

import numpy as np

from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.generation.sampling.orders import Order
from shakespeare_gen.generation.sampling.transform import Transform
from shakespeare_gen.options import option

_ALL = np.float32(np.inf)  # no limit


class MostLikely(Transform):
    """Keeps the `top_k` most likely ids (ties: lowest id), then the smallest set of these whose
    probabilities sum to at least `top_p`.

    Top-p, or nucleus sampling: Holtzman et al. 2019, arXiv 1904.09751. Both take the ids in the
    same order, which is most of the work.
    """

    top_k: int = option(0, "sample from the k most likely tokens; 0: all", minimum=0)
    top_p: float = option(
        1.0,
        "sample from the smallest set of most likely tokens whose probabilities sum to at least "
        "this; 1: all",
        above=0,
        maximum=1,
    )

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        k, p = values["top_k"], values["top_p"]
        probabilities, order = arrays.softmax(xp, logits), Order(xp, logits)
        is_kept = order.first(xp.ones_like(logits), xp.where(k == 0, _ALL, k))
        # Top-p takes the probabilities among those that top-k keeps.
        kept = arrays.total(xp, xp.where(is_kept, probabilities, np.float32(0)))
        is_first = order.first(probabilities, xp.where(p >= 1, _ALL, p * kept))
        return arrays.keep(xp, is_kept & is_first, logits)


class MinP(Transform):
    """Keeps ids at least p times as likely as the most likely.

    Nguyen et al. 2024, arXiv 2407.01082.
    """

    min_p: float = option(
        0.0,
        "keep tokens at least this fraction as likely as the most likely one; 0: all",
        minimum=0,
        maximum=1,
    )

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        p = values["min_p"]
        is_off = p == 0
        lowest = xp.log(xp.where(is_off, np.float32(1), p))
        is_likely = logits >= arrays.largest(xp, logits) + lowest
        return arrays.keep(xp, is_likely | is_off, logits)


class Typical(Transform):
    """Keeps the smallest set of ids that reaches p, those whose surprise is closest to the entropy.

    Locally typical sampling, Meister et al. 2022, arXiv 2202.00666.
    """

    typical_p: float = option(
        1.0,
        "sample from the smallest set of tokens with surprise closest to the entropy whose "
        "probabilities sum to at least this; 1: all",
        above=0,
        maximum=1,
    )

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        p = values["typical_p"]
        log_p = arrays.log_softmax(xp, logits)
        probabilities = xp.exp(log_p)
        is_possible = probabilities > 0
        surprise = xp.where(is_possible, -log_p, np.float32(0))
        entropy = xp.sum(probabilities * surprise, axis=-1, keepdims=True)
        distance = xp.where(is_possible, xp.abs(surprise - entropy), np.float32(np.inf))
        is_first = Order(xp, -distance).first(probabilities, xp.where(p >= 1, _ALL, p))
        return arrays.keep(xp, is_first, logits)
