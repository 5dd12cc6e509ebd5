"""The loss of a network on a text, over every character.

Protocol: each character is predicted once, in order, from all characters
before it; the first one from a line end. A text is cut into `num_streams`
parts that are read side by side; every part but the first reads the
`context_chars` characters before it without being scored, so its state is
that of a single reader to about 1e-5 nats. Nothing is dropped.

Knows no corpus and no run folder.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from shakespeare_gen.model import initial_state

CHUNK_CHARS = 64


def nats_per_character(
    network,
    ids: np.ndarray,
    start_id: int = 0,
    num_streams: int = 32,
    context_chars: int = 256,
    poll: Callable[[], None] = lambda: None,
) -> float:
    """Mean loss of `ids` [N] in nats; `start_id` is read before the first one.

    Args:
      poll: called before every chunk; what it raises ends the evaluation.

    Raises:
      ValueError: there is nothing to predict.
    """
    if len(ids) == 0:
        raise ValueError("expected at least one character, received none")
    inputs, targets, weights = _streams(ids, start_id, num_streams, context_chars)
    state = initial_state(network, len(inputs))
    read = _reader(network)
    total = 0.0
    for begin in range(0, inputs.shape[1], CHUNK_CHARS):
        if begin == context_chars:  # before it, stream 0 read padding only
            state = [tf.concat([tf.zeros_like(s[:1]), s[1:]], 0) for s in state]
        poll()
        chunk = slice(begin, begin + CHUNK_CHARS)
        nats, state = read(inputs[:, chunk], targets[:, chunk], weights[:, chunk], state)
        total += float(nats)
    return total / len(ids)


def _streams(ids, start_id: int, num_streams: int, context_chars: int):
    """Arrays [streams, context_chars + length]; weight 1 where a character counts."""
    assert context_chars % CHUNK_CHARS == 0
    length = max(-(-len(ids) // num_streams), context_chars, 1)
    num_streams = -(-len(ids) // length)
    padded = np.full(context_chars + num_streams * length + 1, start_id, np.int32)
    padded[context_chars + 1 :][: len(ids)] = ids
    first = np.arange(num_streams)[:, None] * length
    positions = first + np.arange(context_chars + length)
    counts = (positions >= context_chars + first) & (positions < context_chars + len(ids))
    return padded[positions], padded[positions + 1], counts.astype(np.float32)


def _reader(network):
    """A compiled chunk: ids, targets, weights [S, T], state -> sum of nats, state."""
    # One trace a network: kept on it, so that an evaluation every epoch costs no tracing.
    if not hasattr(network, "chunk_reader"):

        @tf.function(reduce_retracing=True)
        def read(ids, targets, weights, state):
            logits, *state = network([ids, *state], training=False)
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            return tf.reduce_sum(tf.cast(nats * weights, tf.float64)), state

        network.chunk_reader = read
    return network.chunk_reader
