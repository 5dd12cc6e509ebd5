"""LSTM (Hochreiter and Schmidhuber 1997) with a fused kernel for the CPU.

Shapes: B batch, T time, D features, U units; gate order as in Keras: input, forget, candidate,
output.

- One product per step: the input, a one for the bias and h are concatenated.
- sigmoid(x) = (1 + tanh(x / 2)) / 2, with the half moved into the weights, so
  that one tanh serves all four gates. Gates, c and their gradients are at least
  float32.
- The backward loop records only dz; the weight gradient is one product of
  [D + 1 + U, T B] with [T B, 4 U] after the loop.
- Each row of gates ends in a few zeros, `fused.PADDING`, so that rows do not share cache sets.
"""

import keras
import tensorflow as tf

from shakespeare_gen.models.layers import fused, one_hot


@keras.saving.register_keras_serializable("shakespeare_gen")
class LSTM(fused.FusedRNN, keras.layers.LSTM):
    """`keras.layers.LSTM` with a faster loop on a CPU; see `fused.FusedRNN`."""

    def covers(self) -> bool:
        return self.use_bias and fused.has_default_activations(self)

    def run_kernel(self, sequences, initial_state):
        return lstm(sequences, *fused.tensors(initial_state), *fused.weights(self.cell))

    def run_lookup(self, ids, initial_state):
        projected = one_hot.projected(ids, self.cell.kernel, self.cell.bias)
        recurrent_kernel = tf.convert_to_tensor(self.cell.recurrent_kernel)
        return lstm_of_projected(projected, *fused.tensors(initial_state), recurrent_kernel)


@tf.custom_gradient
def lstm(x, h, c, kernel, recurrent_kernel, bias):
    """x [B, T, D], h and c [B, U] -> outputs [B, T, U], h, c; weights as in Keras.

    Matrix products are computed in the type of `x`.
    """
    units, features = recurrent_kernel.shape[0], kernel.shape[0]
    x_dtype, c_dtype = x.dtype, c.dtype
    halves = _halves(units, x_dtype)
    weights = fused.padded(tf.concat([kernel, bias[None], recurrent_kernel], 0) * halves)
    x = fused.time_major(fused.with_ones(x))
    outputs, h, c, backward = _recurrence(x, None, h, c, weights)

    def gradient(d_outputs, d_h, d_c):
        d_gates, d_weights, d_h, d_c = backward(fused.time_major(d_outputs), d_h, d_c)
        d_weights = d_weights[:, : -fused.PADDING] * halves
        d_x = tf.matmul(d_gates, weights[:features], transpose_b=True)
        d_x = fused.time_major(tf.reshape(d_x, [tf.shape(x)[0], -1, features]))
        d_kernel, d_bias, d_recurrent = tf.split(d_weights, [features, 1, units])
        return d_x, d_h, tf.cast(d_c, c_dtype), d_kernel, d_recurrent, d_bias[0]

    return (fused.time_major(outputs), h, tf.cast(c, c_dtype)), gradient


@tf.custom_gradient
def lstm_of_projected(projected, h, c, recurrent_kernel):
    """`lstm` with given x W + b: projected [T, B, 4 U], at least float32."""
    units, dtype, c_dtype = recurrent_kernel.shape[0], recurrent_kernel.dtype, c.dtype
    halves = _halves(units, dtype)
    weights = fused.padded(recurrent_kernel * halves)
    added = projected * tf.cast(halves, projected.dtype)
    added = tf.pad(added, [[0, 0], [0, 0], [0, fused.PADDING]])
    nothing = tf.cast(projected[:, :, :0], dtype)
    outputs, h, c, backward = _recurrence(nothing, added, h, c, weights)

    def gradient(d_outputs, d_h, d_c):
        d_gates, d_weights, d_h, d_c = backward(fused.time_major(d_outputs), d_h, d_c)
        d_projected = tf.cast(d_gates[:, : -fused.PADDING] * halves, projected.dtype)
        d_recurrent = d_weights[:, : -fused.PADDING] * halves
        d_projected = tf.reshape(d_projected, tf.shape(projected))
        return d_projected, d_h, tf.cast(d_c, c_dtype), d_recurrent

    return (fused.time_major(outputs), h, tf.cast(c, c_dtype)), gradient


def _halves(units: int, dtype):
    return tf.cast(tf.repeat([0.5, 0.5, 1.0, 0.5], units), dtype)


def _recurrence(x, added, h, c, weights):
    """The time loop; K is the width of `x`, G that of `weights`, 4 U + padding.

    Args:
      x: [T, B, K].
      added: [T, B, G], added to the products; None: nothing.
      weights: [K + U, G], for x and h, with halved gates.

    Returns:
      Outputs [T, B, U], h, c, and a function of their gradients that returns those of the gates
      [T B, G], of the weights, of h and of c.
    """
    units = weights.shape[0] - x.shape[2]
    num_steps = tf.shape(x)[0]
    dtype, wide = x.dtype, fused.wide_type(x.dtype)
    # A product with a transposed right-hand side is faster; transposed once per batch.
    weights_transposed = tf.transpose(weights)

    def step(t, h, c, inputs, gates, cells, tanh_cells, outputs):
        joined = tf.concat([x[t], h], 1)
        product = tf.cast(tf.matmul(joined, weights_transposed, transpose_b=True), wide)
        gate = tf.tanh(product if added is None else product + added[t])
        new_h, new_c, tanh_c = _forward(gate, c)
        new_h = tf.cast(new_h, dtype)
        return (
            new_h,
            new_c,
            inputs.write(t, joined),
            gates.write(t, gate),
            cells.write(t, c),
            tanh_cells.write(t, tanh_c),
            outputs.write(t, new_h),
        )

    c = tf.cast(c, wide)
    recorded = [fused.history(num_steps, h, weights.shape[0])]
    recorded += [fused.history(num_steps, c, n) for n in (weights.shape[1], units, units)]
    h, c, inputs, gates, cells, tanh_cells, outputs = fused.forward_loop(
        num_steps, step, (h, c, *recorded, fused.history(num_steps, h, units))
    )

    def backward(d_outputs, d_h, d_c):
        recurrent = weights[x.shape[2] :]

        def step(t, d_h, d_c, d_gates):
            d_h = tf.cast(d_h + d_outputs[t], wide)
            d_gate, d_c = _backward(gates.read(t), tanh_cells.read(t), cells.read(t), d_h, d_c)
            d_gate = tf.cast(d_gate, dtype)
            d_h = tf.matmul(d_gate, recurrent, transpose_b=True)
            return d_h, d_c, d_gates.write(t, d_gate)

        d_h, d_c, d_gates = fused.backward_loop(
            num_steps,
            step,
            (d_h, tf.cast(d_c, wide), fused.history(num_steps, d_h, weights.shape[1])),
        )
        d_gates = fused.rows(d_gates, weights.shape[1])
        d_weights = tf.matmul(fused.rows(inputs, weights.shape[0]), d_gates, transpose_a=True)
        return d_gates, d_weights, d_h, d_c

    return outputs.stack(), h, c, backward


def _forward(gate, c):
    """gate [B, 4 U + padding], tanh of the halved pre-activations -> h, c, tanh(c)."""
    i, f, g, o, _ = fused.split(gate, 4)
    new_c = 0.5 * ((f + 1) * c + (i + 1) * g)
    tanh_c = tf.tanh(new_c)
    return 0.5 * (o + 1) * tanh_c, new_c, tanh_c


def _backward(gate, tanh_c, c, d_h, d_c):
    """Gradients of h and c [B, U] -> those of the halved pre-activations and the previous c."""
    i, f, g, o, zeros = fused.split(gate, 4)
    half = 0.5 * d_h
    half_d_c = 0.5 * (d_c + half * (o + 1) * (1 - tanh_c * tanh_c))
    d = tf.concat([half_d_c * g, half_d_c * c, half_d_c * (i + 1), half * tanh_c, zeros], 1)
    return d * (1 - gate * gate), half_d_c * (f + 1)
