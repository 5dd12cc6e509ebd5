"""A mixture of several models of the same text, with weights learned online.

p(x) = sum of w_m p_m(x). The weights are a softmax: they are positive and sum to one, and so do the
mixed probabilities. After each token the weights take one step along the gradient of its
log-probability. There is one set of weights per `context`, as in Mattern 2012 ("Mixing strategies
in data compression") and PAQ. The prediction of a token depends only on the preceding tokens.
"""

import math

import numpy as np

LEARNING_RATE = 0.02


def mixed_nats(
    nats: np.ndarray, contexts: np.ndarray, learning_rate: float = LEARNING_RATE
) -> np.ndarray:
    """Loss of the mixture [N] of models with losses `nats` [M, N].

    Args:
      contexts: int [N], the set of weights for each token; must not depend on the token itself.
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
