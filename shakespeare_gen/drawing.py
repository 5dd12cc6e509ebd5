"""The compiled loop: one character after another, drawn from the networks' logits, in chunks.

The random numbers of a row depend on its key and the position alone, not on chunks or on
the rows beside it. Knows ids, no text, no prompts and no ends.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from shakespeare_gen import sampling
from shakespeare_gen.stepping import Reader

CHUNK_CHARS = 256
# Compiling takes most of a second: the first characters are drawn without, so that a stream
# starts at once.
FIRST_CHUNK_CHARS = 16


class Drawer:
    """Draws ids with `reader`'s networks; `barred` [V] is added to every logit."""

    def __init__(self, reader: Reader, barred: tf.Tensor) -> None:
        self.reader, self.barred = reader, barred
        self._draw_chunk = tf.function(self._draw, jit_compile=True)

    def chunks(
        self, logits, tensors: list, recent: np.ndarray, keys: list, length: int, options: dict
    ) -> Iterator[tuple]:
        """Ids and log-probabilities, [B, at most CHUNK_CHARS], chunk by chunk.

        Args:
          logits: [B, V], of the first character; `tensors`: the networks' state.
          recent: int32 [B, W], the ids before it, for penalties.
          keys: (seed, number of the sample) of each row.
          length: characters in all; -1: without end.
          options: the fields of `config.SamplingConfig`.
        """
        active = sampling.active(**options)
        n = active.pop("no_repeat_ngram", 0)
        window = max(active.pop("repeat_window", 1), n)
        values = {name: tf.constant(value, tf.float32) for name, value in active.items()}
        recent = np.pad(recent, [(0, 0), (window, 0)], constant_values=-1)[:, -window:]
        carried = (
            logits,
            tensors,
            tf.constant(recent),
            tf.fill([len(keys)], np.float32(2 * options["mirostat_tau"])),
        )
        rows = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        draw = self._draw
        for num_chars in _chunk_sizes(length):
            uniform = np.stack([row.random(num_chars, np.float32) for row in rows], 1)
            uniform = np.pad(uniform, [(0, CHUNK_CHARS - num_chars), (0, 0)])
            ids, log_p, *carried = draw(
                self.reader.weights,
                *carried,
                tf.constant(uniform),
                tf.constant(num_chars),
                values,
                n=n,
            )
            draw = self._draw_chunk  # compiled, after the first characters
            yield ids.numpy()[:num_chars].T, log_p.numpy()[:num_chars].T

    def _draw(self, weights, logits, tensors, recent, surprise, uniform, num_chars, values, n):
        """The compiled loop over `num_chars` characters; `uniform` [CHUNK_CHARS, B]."""
        options = {**values, "no_repeat_ngram": n} if n else values
        shape = uniform.shape

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


def _chunk_sizes(length: int) -> Iterator[int]:
    """A small chunk, then large ones, `length` characters together; -1: without end."""
    sizes = itertools.chain([FIRST_CHUNK_CHARS], itertools.repeat(CHUNK_CHARS))
    for size in sizes:
        if length == 0:
            return
        size = size if length < 0 else min(size, length)
        yield size
        length -= size if length > 0 else 0
