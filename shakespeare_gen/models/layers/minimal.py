"""Layers of the minimal cells, whose gates depend only on the input: time steps run in parallel.

minGRU and minLSTM (Feng et al. 2024, arXiv 2410.01201); the arithmetic of the gates is in
`models.cells`. All products are one large product before the scan; gates and h are at least
float32.
Shapes: B batch, T time, D features, U units.
"""

import keras
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from shakespeare_gen.models import cells
from shakespeare_gen.models.layers import fused, one_hot
from shakespeare_gen.system import devices


class MinimalCell(keras.layers.Layer):
    """One time step: x [B, D], [h [B, U]] -> h, [h]; `definition` computes the gates."""

    definition: cells.MinimalCell

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def build(self, input_shape) -> None:
        self.kernel, self.bias = (
            self.add_weight(shape=shape, initializer=self.definition.initializer(name), name=name)
            for name, shape in self.definition.weight_shapes(input_shape[-1], self.units).items()
        )

    def call(self, inputs, states, training=False):
        projected = self.project(inputs)
        state = (tf.cast(states[0], projected.dtype),)
        h, _ = self.definition.step(tnp, projected, state, {})
        h = tf.cast(h, inputs.dtype)
        return h, [h]

    def gates(self, projected):
        """projected [..., G U] -> decay in (0, 1) and added, both [..., U]."""
        return self.definition.gates(tnp, projected)

    def project(self, inputs):
        """The product of input and kernel: inputs [..., D] -> [..., G U], at least float32."""
        # As a matrix product: the gradient of a batched product has one matrix per batch element.
        rows = tf.reshape(inputs, [-1, self.kernel.shape[0]])
        projected = tf.matmul(rows, self.kernel) + self.bias
        projected = tf.cast(projected, fused.wide_type(projected.dtype))
        shape = tf.concat([tf.shape(inputs)[:-1], [self.definition.num_gates * self.units]], 0)
        return tf.ensure_shape(
            tf.reshape(projected, shape),
            [*inputs.shape[:-1], self.definition.num_gates * self.units],
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("shakespeare_gen")
class MinGRUCell(MinimalCell):
    """One step of minGRU."""

    definition = cells.MinGRU()


@keras.saving.register_keras_serializable("shakespeare_gen")
class MinLSTMCell(MinimalCell):
    """One step of minLSTM."""

    definition = cells.MinLSTM()


class MinimalRNN(one_hot.OneHotInput, keras.layers.RNN):
    """A layer of a minimal cell; takes the arguments of `keras.layers.RNN`.

    Args:
      kernel: `fused` scans sequentially (fast on a CPU), `keras` runs the loop of Keras over the
        cell, `auto` scans in parallel over time if TensorFlow sees a GPU, otherwise sequentially.
      one_hot_size: see `one_hot.OneHotInput`.
    """

    cell_class: type[MinimalCell]

    def __init__(self, units: int, kernel: str = "auto", **kwargs) -> None:
        self.kernel = fused.checked_kernel(kernel)
        super().__init__(self.cell_class(units, dtype=kwargs.get("dtype")), **kwargs)

    def get_config(self) -> dict:
        config = {**super().get_config(), "units": self.cell.units, "kernel": self.kernel}
        return {key: value for key, value in config.items() if key != "cell"}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Overrides the time loop of Keras: [B, T, D], state -> last output, outputs, state."""
        if self.chosen_kernel(mask) == "keras":
            return super().inner_loop(
                self.vectors(sequences), initial_state, mask=mask, training=training
            )
        if self.one_hot_size:
            projected = one_hot.projected(sequences, self.cell.kernel, self.cell.bias)
        else:
            projected = self.cell.project(fused.time_major(sequences))
        decay, new = self.cell.gates(projected)
        # The parallel scan needs a static length; up to Keras 3.13 it recursed endlessly on a
        # single step.
        is_parallel = self.kernel == "auto" and devices.has_gpu() and (decay.shape[0] or 1) > 1
        scan = parallel_scan if is_parallel else sequential_scan
        outputs = scan(decay, new, tf.cast(fused.tensors(initial_state)[0], decay.dtype))
        outputs = tf.cast(outputs, self.compute_dtype)
        return outputs[-1], fused.time_major(outputs), [outputs[-1]]

    def chosen_kernel(self, mask=None) -> str:
        """`fused` (one of the scans) or `keras`."""
        covered = not (fused.has_mask(mask) or self.go_backwards or self.unroll)
        if self.kernel == "fused" and not covered:
            raise ValueError(
                f"{self.name}: kernel='fused' covers layers without mask, unroll or go_backwards"
            )
        return "fused" if covered and self.kernel != "keras" else "keras"


@keras.saving.register_keras_serializable("shakespeare_gen")
class MinGRU(MinimalRNN):
    """minGRU as a layer; kernel [D, 2 U] (update, candidate), bias [2 U]."""

    cell_class = MinGRUCell


@keras.saving.register_keras_serializable("shakespeare_gen")
class MinLSTM(MinimalRNN):
    """minLSTM as a layer; kernel [D, 3 U] (forget, input, candidate), bias [3 U]."""

    cell_class = MinLSTMCell


@tf.custom_gradient
def sequential_scan(decay, new, h):
    """h(t) = decay(t) h(t-1) + new(t): [T, B, U] twice and [B, U] -> [T, B, U]."""
    num_steps, units = tf.shape(decay)[0], decay.shape[2]

    def step(t, h, outputs):
        h = decay[t] * h + new[t]
        return h, outputs.write(t, h)

    _, outputs = fused.forward_loop(num_steps, step, (h, fused.history(num_steps, h, units)))
    outputs = outputs.stack()

    def gradient(d_outputs):
        def step(t, d_h, d_new):
            d_h += d_outputs[t]
            return decay[t] * d_h, d_new.write(t, d_h)

        recorded = fused.history(num_steps, h, units)
        d_h, d_new = fused.backward_loop(num_steps, step, (tf.zeros_like(h), recorded))
        d_new = d_new.stack()
        before = tf.concat([h[None], outputs[:-1]], 0)
        return d_new * before, d_new, d_h

    return outputs, gradient


def parallel_scan(decay, new, h):
    """The result of `sequential_scan` in about log2(T) passes, for devices with many cores."""
    new = tf.concat([(decay[:1] * h + new[:1]), new[1:]], 0)

    def combine(earlier, later):
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    return keras.ops.associative_scan(combine, (decay, new), axis=0)[1]
