"""Logits to ids: temperature, top-k, top-p; knows no model and no text.

The filters are applied in this order: temperature, top-k, top-p. At least the
likeliest character always stays.
"""

import tensorflow as tf


def sample(logits, uniform, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0):
    """Picks one id a row: a pure function of the row's logits and uniform number.

    Args:
      logits: float [B, V]; -inf where an id must not come.
      uniform: float [B] in [0, 1), the place on the cumulative distribution.
      temperature: 0 takes the likeliest.

    Returns:
      ids, int32 [B].
    """
    if temperature == 0:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    # Less the largest first, so that a tiny temperature can't overflow.
    logits = (logits - tf.reduce_max(logits, axis=-1, keepdims=True)) / temperature
    if top_k:
        logits = keep_top_k(logits, top_k)
    if top_p < 1:
        logits = keep_top_p(logits, top_p)
    cumulative = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    passed = cumulative <= uniform[:, None] * cumulative[:, -1:]
    return tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1)


def keep_top_k(logits, k: int):
    """Sets all but the `k` largest logits [B, V] to -inf; equals of the k-th stay."""
    k = min(k, logits.shape[-1])
    smallest_kept = tf.math.top_k(logits, k).values[:, -1:]
    return tf.where(logits < smallest_kept, -float("inf"), logits)


def keep_top_p(logits, p: float):
    """Keeps the fewest likeliest ids whose probabilities reach `p` (Holtzman et al. 2019,
    arXiv 1904.09751); the rest of the logits [B, V] become -inf."""
    ordered = tf.sort(logits, direction="DESCENDING", axis=-1)
    probabilities = tf.nn.softmax(ordered)
    before = tf.cumsum(probabilities, axis=-1, exclusive=True)
    smallest_kept = tf.reduce_min(
        tf.where(before < p, ordered, float("inf")), axis=-1, keepdims=True
    )
    return tf.where(logits < smallest_kept, -float("inf"), logits)
