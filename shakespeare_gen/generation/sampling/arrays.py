"""Array operations that transforms share, for NumPy and for compiled TensorFlow.

Shapes: B batch, V vocabulary, N any length.
"""

import numpy as np

MINUS_INFINITY = np.float32(-np.inf)
# Beyond this size of a vocabulary, the pairs of all ids of a large batch take too much memory.
MAX_PAIRWISE_SIZE = 256
# Comparing every id with every place is faster than scattering if there are few, and XLA can still
# compile the loop around it into one function. With more it is several times slower.
_MAX_COMPARED = 2**16


def largest(xp, values):
    """The largest of each row of values [..., V]: [..., 1]."""
    if xp is np:  # `np.max` takes twice as long
        return np.maximum.reduce(values, -1, None, None, True)
    return xp.max(values, axis=-1, keepdims=True)


def total(xp, values):
    """The sum of each row of values [..., V]: [..., 1]."""
    if xp is np:
        return np.add.reduce(values, -1, None, None, True)
    return xp.sum(values, axis=-1, keepdims=True)


def count(xp, mask):
    """How many values of each row of a mask [B, V] are true: int32 [B]."""
    if xp is np:
        return np.add.reduce(mask, -1, np.int32)
    return xp.asarray(xp.sum(xp.where(mask, np.int32(1), np.int32(0)), axis=-1), dtype=np.int32)


def softmax(xp, logits):
    """Probabilities of logits [B, V]."""
    exponentials = xp.exp(logits - largest(xp, logits))
    return exponentials / total(xp, exponentials)


def log_softmax(xp, logits):
    """Log-probabilities of logits [B, V], in nats."""
    shifted = logits - largest(xp, logits)
    return shifted - xp.log(total(xp, xp.exp(shifted)))


def log_probability(xp, logits, ids):
    """The log-probability of one id per row: logits [..., V], ids [...] -> [...], in nats."""
    log_p = log_softmax(xp, logits)
    return xp.take_along_axis(log_p, xp.expand_dims(ids, -1), -1)[..., 0]


def keep(xp, mask, logits):
    """Logits [B, V] where `mask` is true, -inf elsewhere."""
    return xp.where(mask, logits, MINUS_INFINITY)


def first_largest(xp, values):
    """A mask [B, V] of the largest value of each row; ties: the lowest id."""
    size = values.shape[-1]
    places = np.arange(size, dtype=np.float32)
    is_largest = values == largest(xp, values)
    # A minimum is vectorized by XLA, an argmax is not.
    first = xp.min(xp.where(is_largest, places, np.float32(size)), axis=-1, keepdims=True)
    return places == first


def cumulative_sum(xp, weights):
    """Running sums of weights [B, V]."""
    size = weights.shape[-1]
    if xp is np:
        return weights.cumsum(-1)
    if size > MAX_PAIRWISE_SIZE:
        return xp.cumsum(weights, axis=-1)
    # A product is three times as fast as the loops that XLA makes of a running sum on a CPU.
    return xp.matmul(weights, np.triu(np.ones((size, size), np.float32)))


def contains(xp, ids, size: int):
    """Which of `size` ids occur in each row of ids [B, N]: a mask [B, size]. -1 is not an id."""
    if xp is np:
        found = np.zeros((len(ids), size + 1), bool)
        np.put_along_axis(found, ids, True, axis=1)  # -1 is the last column
        return found[:, :size]
    batch_size, num_places = ids.shape
    if batch_size * num_places * size <= _MAX_COMPARED:
        return xp.any(xp.expand_dims(ids, 2) == np.arange(size, dtype=np.int32), axis=1)
    import tensorflow as tf

    rows = tf.broadcast_to(tf.range(batch_size)[:, None], ids.shape)
    places = xp.where(ids < 0, np.int32(size), ids)
    counts = tf.scatter_nd(
        tf.stack([rows, places], -1), tf.ones_like(places), [batch_size, size + 1]
    )
    return counts[:, :size] > 0
