"""The compiled steps: characters drawn from the networks' logits, in chunks, or beams.

The random numbers of a row depend on its key and the position alone, not on chunks or on
the rows beside it. Knows ids, no text, no prompts and no ends.
"""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from shakespeare_gen.generation import beam_search, sampling
from shakespeare_gen.models.ensemble import Reader

CHUNK_CHARS = 256
# Compiling takes most of a second: the first characters are drawn without, so that a stream
# starts at once.
FIRST_CHUNK_CHARS = 16


class Drawer:
    """Draws ids with `reader`'s networks; `barred` [V] is added to every logit."""

    def __init__(self, reader: Reader, barred: tf.Tensor) -> None:
        self.reader, self.barred = reader, barred
        self._compiled: dict[tuple, Callable] = {}

    def chunks(
        self, logits, tensors: list, recent: np.ndarray, keys: list, length: int, options: dict
    ) -> Iterator[tuple]:
        """Ids and log-probabilities, [B, at most CHUNK_CHARS], chunk by chunk.

        Args:
          logits: [B, V], of the first character; `tensors`: the networks' state.
          recent: int32 [B, W], the ids before it, for penalties.
          keys: (seed, number of the sample) of each row.
          length: characters in all; -1: without end.
          options: the fields of `config.SamplingOptions`.
        """
        recent, values, n = _prepared(recent, sampling.active(**options))
        carried = (
            logits,
            tensors,
            recent,
            tf.fill([len(keys)], np.float32(2 * options["mirostat_tau"])),
        )
        rows = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        draw: Callable = functools.partial(self._draw, n=n)
        # A function for each set of options: TensorFlow warns of one that is traced many times.
        compiled = self._compiled.setdefault(
            (*sorted(values), n, *recent.shape), tf.function(draw, jit_compile=True)
        )
        for num_chars in _chunk_sizes(length):
            uniform = np.stack([row.random(num_chars, np.float32) for row in rows], 1)
            uniform = np.pad(uniform, [(0, CHUNK_CHARS - num_chars), (0, 0)])
            ids, log_p, *carried = draw(
                self.reader.weights, *carried, tf.constant(uniform), tf.constant(num_chars), values
            )
            draw = compiled  # after the first characters
            yield ids.numpy()[:num_chars].T, log_p.numpy()[:num_chars].T

    def _draw(self, weights, logits, tensors, recent, surprise, uniform, num_chars, values, n):
        """The compiled loop over `num_chars` characters; `uniform` [CHUNK_CHARS, B]."""
        options, shape = _options(values, n), uniform.shape

        def body(i, ids, log_p, logits, tensors, recent, surprise):
            drawn, surprise = sampling.sample(
                logits + self.barred, uniform[i], options, recent, surprise
            )
            nats = tf.gather(tf.nn.log_softmax(logits), drawn, batch_dims=1)
            ids = tf.tensor_scatter_nd_update(ids, [[i]], drawn[None])
            log_p = tf.tensor_scatter_nd_update(log_p, [[i]], nats[None])
            logits, tensors = self.reader.step(weights, drawn, list(tensors))
            if sampling.looks_back(options):
                recent = tf.concat([recent[:, 1:], drawn[:, None]], 1)
            return i + 1, ids, log_p, logits, tuple(tensors), recent, surprise

        first = (
            0,
            tf.zeros(shape, tf.int32),
            tf.zeros(shape),
            logits,
            tuple(tensors),
            recent,
            surprise,
        )
        _, ids, log_p, logits, tensors, recent, surprise = tf.while_loop(
            lambda i, *_: i < num_chars, body, first
        )
        return ids, log_p, logits, list(tensors), recent, surprise


class Beams:
    """Beam search with `reader`'s networks; `barred` [V] is added to every logit."""

    def __init__(self, reader: Reader, barred: tf.Tensor) -> None:
        self.reader, self.barred = reader, barred
        self._step = tf.function(self._step_eagerly, reduce_retracing=True)

    def search(
        self,
        logits,
        tensors: list,
        recent: np.ndarray,
        num_beams: int,
        length: int,
        find_end: Callable,
        length_penalty: float,
        options: dict,
    ) -> list[beam_search.Beam]:
        """See `beam_search.search`; the rest is as in `Drawer.chunks`, with one row."""
        looks_back = {"no_repeat_ngram", "repeat_window", *sampling.PENALTIES}
        active = sampling.active(**{k: options[k] for k in options.keys() & looks_back})
        recent, values, n = _prepared(recent, active)

        def step(ids, state, parents):
            scores, state = self._step(self.reader.weights, ids, state, parents, values, n=n)
            return tuple(part.numpy() for part in scores), state

        scores = tuple(part.numpy() for part in self._scores(logits, recent, values, n))
        state = [*tensors, recent]
        return beam_search.search(step, scores, state, num_beams, length, find_end, length_penalty)

    def _step_eagerly(self, weights, ids, state, parents, values, n):
        *tensors, recent = (tf.gather(part, parents) for part in state)
        logits, tensors = self.reader.step(weights, ids, tensors)
        recent = tf.concat([recent[:, 1:], ids[:, None]], 1)
        return self._scores(logits, recent, values, n), [*tensors, recent]

    def _scores(self, logits, recent, values, n) -> tuple:
        """The networks' own log-probabilities [N, V], and those that penalties leave."""
        left = sampling.lower_repeats(logits + self.barred, recent, _options(values, n))
        return tf.nn.log_softmax(logits) + self.barred, tf.nn.log_softmax(left)


def _prepared(recent: np.ndarray, active: dict) -> tuple:
    """Ids before [B, W], numbers as tensors, and n of `no_repeat_ngram`, which shapes a graph."""
    n = active.pop("no_repeat_ngram", 0)
    window = max(active.pop("repeat_window", 1), n)
    values = {name: tf.constant(value, tf.float32) for name, value in active.items()}
    padded = np.pad(recent, [(0, 0), (window, 0)], constant_values=-1)
    return tf.constant(padded[:, -window:]), values, n


def _options(values: dict, n: int) -> dict:
    return {**values, "no_repeat_ngram": n} if n else values


def _chunk_sizes(length: int) -> Iterator[int]:
    """A small chunk, then large ones, `length` characters together; -1: without end."""
    sizes = itertools.chain([FIRST_CHUNK_CHARS], itertools.repeat(CHUNK_CHARS))
    for size in sizes:
        if length == 0:
            return
        size = size if length < 0 else min(size, length)
        yield size
        length -= size if length > 0 else 0
