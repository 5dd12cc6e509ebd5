"""A layer for any registered cell: the step of the cell in a loop, differentiated by TensorFlow.

Needs only the cell's `step`, and is slower than the kernels of the built-in cells.
Products and states are float32. B batch, T time, D features, U units.
"""

import keras
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from shakespeare_gen.models import cells
from shakespeare_gen.models.layers import fused, one_hot


class CellRNN(keras.layers.Layer):
    """Runs `cell` over a sequence: [B, T, D], state -> outputs [B, T, U], then the last state.

    Args:
      kernel: ignored; accepted for consistency with the other layers.
      one_hot_size: see `one_hot.OneHotInput`.
    """

    def __init__(
        self,
        cell: cells.Cell,
        units: int,
        return_sequences: bool = True,
        return_state: bool = True,
        kernel: str = "auto",
        one_hot_size: int = 0,
        **kwargs,
    ) -> None:
        if not (return_sequences and return_state):
            raise ValueError("CellRNN: expected return_sequences and return_state to be true")
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.cell, self.units, self.one_hot_size = cell, units, one_hot_size

    def build(self, sequences_shape, **_) -> None:
        shapes = self.cell.weight_shapes(self.one_hot_size or sequences_shape[-1], self.units)
        self.cell_weights = {
            name: self.add_weight(shape=shape, initializer=self.cell.initializer(name), name=name)
            for name, shape in shapes.items()
        }

    def call(self, sequences, initial_state, training=False):
        weights = {name: tf.convert_to_tensor(w) for name, w in self.cell_weights.items()}
        weights = self.cell.for_step(tnp, weights)
        own = self.cell.step_weights(tnp, weights)
        projected = self._projected(sequences, weights["kernel"], self.cell.input_bias(weights))
        state = [tf.convert_to_tensor(part) for part in initial_state]

        def step(t, *loop_state):
            *parts, outputs = loop_state
            y, new_parts = self.cell.step(tnp, projected[t], tuple(parts), own)
            return *new_parts, outputs.write(t, y)

        num_steps = tf.shape(projected)[0]
        outputs = fused.history(num_steps, state[0], self.units, tf.float32)
        *state, outputs = fused.forward_loop(num_steps, step, (*state, outputs))
        return fused.time_major(outputs.stack()), *state

    def _projected(self, sequences, kernel, bias):
        """The product of input and kernel, plus the bias: [T, B, G U]."""
        if self.one_hot_size:
            return one_hot.projected(sequences, kernel, bias)
        rows = tf.reshape(sequences, [-1, sequences.shape[-1]])
        projected = tf.matmul(rows, kernel) + bias
        shape = [tf.shape(sequences)[0], tf.shape(sequences)[1], projected.shape[-1]]
        return fused.time_major(tf.reshape(projected, shape))

    def chosen_kernel(self) -> str:
        """The name of the time loop."""
        return "cell"
