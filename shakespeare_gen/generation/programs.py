"""Programs in TensorFlow: the compiled loop over tokens, a step of beam search, reading.

A program is built from a pure function of a model (`step_function`, `read_function`), which is
equal for models of equal spec; weights are arguments. So models share programs, and a program keeps
no weights in memory. Their number is bounded: every function here returns the program of its
arguments, and the last `MAX_PROGRAMS` of each kind are kept.

TensorFlow keeps what XLA compiled until the process ends, even if its function is dropped: about
1 MB per program. Arguments must therefore come from small sets, such as `decoding.ROW_SIZES`.

Shapes: B rows, V vocabulary, W window, T tokens.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from shakespeare_gen.generation.sampling import Transform, arrays
from shakespeare_gen.generation.sampling.drawing import BatchOptions, Chain
from shakespeare_gen.models import states

MAX_PROGRAMS = 64

_lock = threading.Lock()
_caches: list = []


def _kept(build: Callable[..., Callable]) -> Callable[..., Callable]:
    """A thread-safe LRU cache of programs; see `num_built`."""
    cached = functools.lru_cache(maxsize=MAX_PROGRAMS)(build)
    _caches.append(cached)

    @functools.wraps(build)
    def program(*arguments: Any) -> Callable:
        with _lock:  # two threads would compile the same program twice
            return cached(*arguments)

    return program


def num_built() -> int:
    """How many programs were built in this process."""
    return sum(cached.cache_info().misses for cached in _caches)


@dataclasses.dataclass(frozen=True)
class LoopShape:
    """What distinguishes the loops of one model.

    Attributes:
      kinds: the transforms.
      options: the names of the sampling options.
      num_tokens: maximum number of tokens per chunk, T.
      num_rows: B.
      width: number of previous ids kept, W.
    """

    kinds: tuple[type[Transform], ...]
    options: tuple[str, ...]
    num_tokens: int
    num_rows: int
    width: int


@_kept
def loop(step_function: Callable, shape: LoopShape) -> Callable:
    """The loop that draws up to T tokens, compiled by XLA.

    Its arguments are the weights of `step_function`; forbidden, float32 [V], which is added to all
    logits; `drawing.BatchOptions`; a tuple of the logits of the first token, the state and the
    memory; the recent ids [B, W]; uniform float32 [T, B]; and the number of tokens that are needed.

    It returns ids and log-probabilities [T, B], and the next logits, state and memory.
    """
    chain = Chain(shape.kinds, tnp, tf.cond)
    used_names = [kind.__name__ for kind in shape.kinds if not kind.is_always_compiled]

    def program(weights, forbidden, values, used, carried, recent, uniform, num_needed):
        logits, state, memory = carried
        options = BatchOptions(
            dict(zip(shape.options, tf.unstack(values), strict=True)),
            dict(zip(used_names, tf.unstack(used), strict=True)) if used_names else {},
        )
        # Time first: a token is then written to one place.
        later = tf.zeros([shape.num_tokens, shape.num_rows], tf.int32)
        history = tf.concat([tf.transpose(recent), later], 0)

        def window(history, begin):
            return tf.transpose(tf.slice(history, [begin, 0], [shape.width, shape.num_rows]))

        def body(i, logits, state, memory, history, nats):
            ids, received = chain.draw(
                logits, forbidden, uniform[i], options, memory, lambda: window(history, i)
            )
            log_p = arrays.log_probability(tnp, logits, ids)
            nats = tf.tensor_scatter_nd_update(nats, [[i]], log_p[None])
            history = tf.tensor_scatter_nd_update(history, [[shape.width + i]], ids[None])
            memory = chain.update(memory, ids, options, received, lambda: window(history, i + 1))
            logits, state = step_function(weights, ids, state)
            return i + 1, logits, state, memory, history, nats

        first = (0, logits, state, memory, history, tf.zeros_like(uniform))
        # `num_needed` must not be where a slice begins: XLA would compile anew for each value.
        _, logits, state, memory, history, nats = tf.while_loop(
            lambda i, *_: i < num_needed, body, first
        )
        return history[shape.width :], nats, (logits, state, memory)

    concrete = _Concrete(program)

    def call(weights, forbidden, options: BatchOptions, *others):
        # A call takes time for each argument: the options are two arrays.
        values = np.stack([options.values[name] for name in shape.options])
        used = np.array([options.used[name] for name in used_names], bool)
        return concrete(weights, forbidden, values, used, *others)

    return call


class _Concrete:
    """A function compiled for the shapes of its first call; cheaper to call than `tf.function`."""

    def __init__(self, function: Callable) -> None:
        self._function = tf.function(function, jit_compile=True, autograph=False)
        self._concrete: Callable | None = None

    def __call__(self, *arguments: Any) -> Any:
        tensors = states.map_arrays(tf.convert_to_tensor, arguments)
        if self._concrete is None:  # threads that come here together receive the same function
            self._concrete = self._function.get_concrete_function(*tensors)
        return self._concrete(*tensors)


@_kept
def beam_step(step_function: Callable, num_rows: int) -> Callable:
    """One step of beam search: weights, ids [B], state, parents [B] -> logits [B, V], state.

    Takes the rows `parents` of the state, and reads one id in each.
    """
    del num_rows  # one program per number of rows

    @tf.function(autograph=False)
    def program(weights, ids, state, parents):
        return step_function(weights, ids, states.take(state, parents))

    return program


@_kept
def reading(read_function: Callable) -> Callable:
    """`read_function` as a graph: weights, ids [1, T], state -> logits [1, T, V], state."""
    # Traced at most twice: for the first length, and for any length.
    return tf.function(read_function, reduce_retracing=True, autograph=False)
