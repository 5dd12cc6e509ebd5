"""Operations on the rows of a state, for any model.

A state is an array, or a tuple, list or dict of states; the first axis of every array is the batch.
Arrays are NumPy or TensorFlow arrays; TensorFlow is imported only for the latter. Its own
operations are several times as fast as those of its NumPy namespace.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

State = Any


def map_arrays(function: Callable, *states: State) -> State:
    """Applies `function` to the corresponding arrays of states with the same structure."""
    first = states[0]
    if isinstance(first, dict):
        return {key: map_arrays(function, *(state[key] for state in states)) for key in first}
    if isinstance(first, tuple | list):
        parts = zip(*states, strict=True)
        return type(first)(map_arrays(function, *part) for part in parts)
    return function(*states)


def flatten(state: State) -> list:
    """The arrays of a state, in a fixed order."""
    arrays: list = []
    map_arrays(arrays.append, state)
    return arrays


def unflatten(like: State, arrays: Sequence) -> State:
    """The inverse of `flatten`: a state with the structure of `like`."""
    rest = iter(arrays)
    return map_arrays(lambda _: next(rest), like)


def in_memory(state: State) -> State:
    """The same state, in NumPy where that copies nothing: on a processor.

    Rows are then taken and joined several times as fast.
    """
    return map_arrays(lambda array: array if _is_on_gpu(array) else np.asarray(array), state)


def _is_on_gpu(array) -> bool:
    return not isinstance(array, np.ndarray) and "CPU" not in array.device


def take(state: State, rows) -> State:
    """The rows `rows` [N] of a state, in that order."""

    def taken(array):
        if isinstance(array, np.ndarray):
            return np.take(array, rows, axis=0)
        import tensorflow as tf

        return tf.gather(array, rows)

    return map_arrays(taken, state)


def repeat(state: State, times: int) -> State:
    """Repeats each row `times` times: a, a, b, b."""

    def repeated(array):
        if isinstance(array, np.ndarray):
            return np.repeat(array, times, axis=0)
        import tensorflow as tf

        return tf.repeat(array, times, axis=0)

    return map_arrays(repeated, state)


def concatenate(all_states: Sequence[State]) -> State:
    """Concatenates the rows of several states."""

    def joined(*arrays):
        if isinstance(arrays[0], np.ndarray):
            return np.concatenate(arrays, 0)
        import tensorflow as tf

        return tf.concat(arrays, 0)

    return map_arrays(joined, *all_states)
