"""Filters: each sets the ids that it drops to -inf.

A filter sees what the ones before it left. At least one id remains.

Shapes: B batch, V vocabulary.
"""

import numpy as np

from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.generation.sampling.transform import Transform
from shakespeare_gen.options import option


class MostLikely(Transform):
    """Keeps the `top_k` most likely ids, of equals the first, and of these the fewest most likely
    whose probabilities reach `top_p`.

    Top-p, or nucleus sampling: Holtzman et al. 2019, arXiv 1904.09751. Both take the ids in the
    same order, which is most of the work.
    """

    top_k: int = option(0, "sample from the k most likely tokens; 0: all", minimum=0)
    top_p: float = option(
        1.0,
        "sample from the most likely tokens whose probabilities sum to this; 1: all",
        above=0,
        maximum=1,
    )

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        k, p = values["top_k"], values["top_p"]
        order = arrays.Order(xp, logits)
        rank = order.sum_before(xp.ones_like(logits))
        logits = arrays.keep(xp, (rank < k) | (k == 0), logits)
        before = order.sum_before(arrays.softmax(xp, logits))
        return arrays.keep(xp, (before < p) | (p >= 1), logits)


class MinP(Transform):
    """Keeps ids at least p times as likely as the most likely.

    Nguyen et al. 2024, arXiv 2407.01082.
    """

    min_p: float = option(
        0.0,
        "sample from tokens at least this many times as likely as the most likely; 0: all",
        minimum=0,
        maximum=1,
    )

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        p = values["min_p"]
        is_off = p == 0
        lowest = xp.log(xp.where(is_off, np.float32(1), p))
        is_likely = logits >= xp.max(logits, axis=-1, keepdims=True) + lowest
        return arrays.keep(xp, is_likely | is_off, logits)


class Typical(Transform):
    """Keeps the fewest ids that reach p, those with nearly the expected surprise first.

    Locally typical sampling, Meister et al. 2022, arXiv 2202.00666.
    """

    typical_p: float = option(
        1.0,
        "sample from the tokens with the most typical surprise whose probabilities sum to this; "
        "1: all",
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
        before = arrays.Order(xp, -distance).sum_before(probabilities)
        return arrays.keep(xp, (before < p) | (p >= 1), logits)
