"""The first ids of a descending order, up to a limit of their weights; without sorting if many.

    order = Order(np, logits)
    order.first(np.ones_like(logits), 40)      # a mask of the 40 largest

In a compiled loop, comparing all pairs is several times faster than sorting 65 ids, and finding the
smallest key that is kept, by bisection, is several times faster than sorting 8,000.

Shapes: B batch, V vocabulary. `xp` is `numpy` or `tensorflow.experimental.numpy`.
"""

import functools
from collections.abc import Callable

import numpy as np

from shakespeare_gen.generation.sampling import arrays

_NUM_SORTED = 256
_HALF, _ZERO, _INFINITY = np.float32(0.5), np.float32(0), np.float32(np.inf)


class Order:
    """Ids in descending order of keys [B, V]; ties: the lowest id is first.

    A key of -inf is that of an id that cannot be drawn; whether it is among the first does not
    matter.
    """

    def __init__(self, xp, keys) -> None:
        if keys.shape[-1] > arrays.MAX_PAIRWISE_SIZE:
            self._first: Callable = functools.partial(_first_of_many, xp, keys)
            return
        before = (_sorting if xp is np else _comparing)(xp, keys)
        self._first = lambda weights, limit: before(weights) < limit

    def first(self, weights, limit):
        """A mask [B, V] of the ids before which the weights sum to less than a limit.

        Args:
          weights: float32 [B, V], not negative.
          limit: float32 [B, 1], positive; infinity: all ids.
        """
        return self._first(weights, limit)


def _comparing(xp, keys) -> Callable:
    """`weights -> the sum of the weights before each id`, by comparing all pairs."""
    size = keys.shape[-1]
    own, other = xp.expand_dims(keys, 2), xp.expand_dims(keys, 1)
    is_earlier = np.tril(np.ones((size, size), bool), -1)
    is_before = (other > own) | ((other == own) & is_earlier)
    factor = xp.asarray(is_before, dtype=np.float32)  # [B, V, V]
    # XLA computes two products with one column faster than one product with two.
    return lambda weights: xp.matmul(factor, xp.expand_dims(weights, 2))[:, :, 0]


def _sorting(xp, keys) -> Callable:
    """The same in NumPy, by sorting."""
    order = xp.argsort(-keys, axis=-1, kind="stable")
    rows = np.arange(len(keys))[:, None]

    def before(weights):
        sums = np.take_along_axis(weights, order, -1).cumsum(-1)
        result = np.empty_like(sums)
        result[rows, order] = np.concatenate([np.zeros_like(sums[:, :1]), sums[:, :-1]], axis=-1)
        return result

    return before


def _first_of_many(xp, keys, weights, limit):
    """See `Order.first`; compares all keys with the smallest one among the first ids."""
    if xp is np and np.isinf(limit).all():
        return np.ones(keys.shape, bool)
    find = _smallest_by_parts if xp is np else _smallest_by_bisection
    smallest = find(xp, keys, weights, limit)
    is_larger, is_tie = keys > smallest, keys == smallest
    larger, tied = (xp.where(mask, weights, _ZERO) for mask in (is_larger, is_tie))
    before = arrays.total(xp, larger) + arrays.cumulative_sum(xp, tied) - tied
    return is_larger | (is_tie & (before < limit)) | (limit == _INFINITY)


def _smallest_by_bisection(xp, keys, weights, limit):
    """The largest number whose keys, and the larger ones, have weights that reach the limit.

    The lowest key if all weights do not reach it.
    """
    import tensorflow as tf

    highest = arrays.largest(xp, keys)
    lowest = -arrays.largest(xp, xp.where(keys > arrays.MINUS_INFINITY, -keys, -highest))

    def is_reached(number):
        return arrays.total(xp, xp.where(keys >= number, weights, _ZERO)) >= limit

    def is_open(low, high):
        middle = _HALF * low + _HALF * high
        return xp.any((low < middle) & (middle < high) & (limit < _INFINITY))

    def halved(low, high):
        middle = _HALF * low + _HALF * high
        is_enough = is_reached(middle)
        return xp.where(is_enough, middle, low), xp.where(is_enough, high, middle)

    low = xp.where(is_reached(highest), highest, lowest)
    return tf.while_loop(is_open, halved, (low, highest))[0]


def _smallest_by_parts(xp, keys, weights, limit):
    """The same in NumPy: sorts the largest keys, and all of them only if these are too few."""
    size = keys.shape[-1]
    for num_sorted in (_NUM_SORTED, size):
        places = np.argpartition(keys, size - num_sorted, -1)[:, size - num_sorted :]
        order = np.argsort(-np.take_along_axis(keys, places, -1), -1)
        places = np.take_along_axis(places, order, -1)
        is_reached = np.take_along_axis(weights, places, -1).cumsum(-1) >= limit
        has_reached = is_reached.any(-1, keepdims=True)
        if (has_reached | np.isinf(limit)).all():
            break
    last = np.where(has_reached, is_reached.argmax(-1, keepdims=True), -1)
    return np.take_along_axis(keys, np.take_along_axis(places, last, -1), -1)
