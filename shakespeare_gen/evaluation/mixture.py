"""Several models of one text as one, with weights learned while it is read.

p(c) = sum of w_m p_m(c). The weights are a softmax, so they are positive and sum
to one, and so do the mixed probabilities. After each character they take one
step up the gradient of its log-probability; there is one set of weights a
`context`, as in Mattern 2012 ("Mixing strategies in data compression") and PAQ.
Only what was read before decides about a character.
"""

import math

import numpy as np

LEARNING_RATE = 0.02


def mixed_nats(
    nats: np.ndarray, contexts: np.ndarray, learning_rate: float = LEARNING_RATE
) -> np.ndarray:
    """Loss of the mixture [N] of models with losses `nats` [M, N].

    Args:
      contexts: int [N], which set of weights holds for each character; known before it.
    """
    logits: dict[int, list[float]] = {}
    mixed = []
    for losses, context in zip(
        np.asarray(nats, np.float64).T.tolist(), contexts.tolist(), strict=True
    ):
        own = logits.setdefault(context, [0.0] * len(losses))
        weights = softmax(own)
        likelihoods = [math.exp(-loss) for loss in losses]
        p = sum(w * likelihood for w, likelihood in zip(weights, likelihoods, strict=True))
        mixed.append(-math.log(p))
        for m, likelihood in enumerate(likelihoods):
            own[m] += learning_rate * weights[m] * (likelihood / p - 1)
    return np.array(mixed)


def softmax(logits: list[float]) -> list[float]:
    """Positive weights that sum to one."""
    top = max(logits)
    powers = [math.exp(x - top) for x in logits]
    return [power / sum(powers) for power in powers]
