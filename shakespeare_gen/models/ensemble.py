"""One character at a time: a network, or several that vote, as a pure step.

    reader = Reader([network])
    logits, state = reader.step(reader.weights, ids, state)      # [B]    -> [B, V]
    logits, state = reader.read(ids, state)                      # [B, T] -> [B, T, V]

The first layer's product with the embedding is a table that is looked up; all
weights are laid out once as the step wants them, and are given to it, so that a
compiled step has no constants. The logits of several networks are those of
their mean probability, on the networks' own mean scale: several times the same
network is that network. Knows no text and no sampling.
"""

import math

import keras
import tensorflow as tf

from shakespeare_gen.models import recurrent


class Reader:
    """Networks of one vocabulary, stepped together; a state is a flat list of [B, U]."""

    def __init__(self, networks: list[keras.Model]) -> None:
        self.networks = networks
        self._sizes = [len(network.inputs) - 1 for network in networks]
        self.weights: list = []
        self.refresh()

    def refresh(self) -> None:
        """Takes the networks' weights as they are now."""
        self.weights = [_stepping_weights(network) for network in self.networks]

    def initial_state(self, batch_size: int) -> list:
        """A state that has read nothing."""
        return [
            s for network in self.networks for s in recurrent.initial_state(network, batch_size)
        ]

    def step(self, weights: list, ids, state: list) -> tuple:
        """Reads one character: ids [B], state -> logits [B, V], state."""
        parts = zip(self.networks, weights, self._split(state), strict=True)
        return self._join([_step(network, w, ids, part) for network, w, part in parts])

    def read(self, ids, state: list) -> tuple:
        """Reads a text: ids [B, T], state -> logits [B, T, V] after each character, state."""
        parts = zip(self.networks, self._split(state), strict=True)
        found = [network([ids, *part], training=False) for network, part in parts]
        return self._join([(logits, rest) for logits, *rest in found])

    def _split(self, state: list) -> list[list]:
        rest = iter(state)
        return [[next(rest) for _ in range(size)] for size in self._sizes]

    def _join(self, found: list[tuple]) -> tuple:
        state = [s for _, part in found for s in part]
        if len(found) == 1:
            return found[0][0], state
        every = tf.stack([logits for logits, _ in found])
        scales = tf.reduce_logsumexp(every, axis=-1, keepdims=True)
        total = tf.reduce_logsumexp(every - scales, axis=0)
        return total - math.log(len(found)) + tf.reduce_mean(scales, axis=0), state


def _stepping_weights(network: keras.Model) -> list:
    first, *others = layers = recurrent.recurrent_layers(network)
    table = tf.matmul(network.get_layer("embedding").embeddings, first.cell.kernel)
    logits = network.get_layer("logits")
    return [
        table + first.input_bias(),
        [[tf.transpose(layer.cell.kernel), tf.identity(layer.input_bias())] for layer in others],
        [layer.stepping_weights() for layer in layers],
        [tf.transpose(logits.kernel), tf.identity(logits.bias)],
    ]


def _step(network: keras.Model, weights: list, ids, state: list) -> tuple:
    table, inputs, matrices, logits = weights
    names = {layer.name for layer in network.layers}
    # A network that is trained in bfloat16 carries its state so; a step computes in float32.
    rest, x = [tf.cast(s, tf.float32) for s in state], None
    new_state: list = []
    for i, layer in enumerate(recurrent.recurrent_layers(network)):
        num_parts = len(layer.state_size) if isinstance(layer.state_size, (list, tuple)) else 1
        projected = tf.gather(table, ids) if i == 0 else _product(x, *inputs[i - 1])
        y, part = layer.advance(projected, rest[:num_parts], matrices[i])
        rest, new_state = rest[num_parts:], new_state + part
        x = x + y if f"residual_{i + 1}" in names else y
    kept = [tf.cast(new, old.dtype) for new, old in zip(new_state, state, strict=True)]
    return _product(x, *logits), kept


def _product(x, transposed, bias):
    return tf.matmul(x, transposed, transpose_b=True) + bias
