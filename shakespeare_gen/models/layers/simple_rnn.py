"""Simple recurrent layer (Elman 1990) with a fused kernel for the CPU.

One product per step: the input, a one for the bias and h are concatenated.
B batch, T time, D features, U units.
"""

import keras
import tensorflow as tf

from shakespeare_gen.models.layers import fused, one_hot


@keras.saving.register_keras_serializable("shakespeare_gen")
class SimpleRNN(fused.FusedRNN, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` with a faster loop on a CPU; see `fused.FusedRNN`."""

    def covers(self) -> bool:
        return self.use_bias and fused.has_default_activations(self)

    def run_kernel(self, sequences, initial_state):
        return simple_rnn(sequences, *fused.tensors(initial_state), *fused.weights(self.cell))

    def run_lookup(self, ids, initial_state):
        projected = one_hot.projected(ids, self.cell.kernel, self.cell.bias)
        recurrent_kernel = tf.convert_to_tensor(self.cell.recurrent_kernel)
        return simple_rnn_of_projected(projected, *fused.tensors(initial_state), recurrent_kernel)


@tf.custom_gradient
def simple_rnn(x, h, kernel, recurrent_kernel, bias):
    """x [B, T, D], h [B, U] -> outputs [B, T, U], h; weights as in Keras."""
    units, features = recurrent_kernel.shape[0], kernel.shape[0]
    weights = tf.concat([kernel, bias[None], recurrent_kernel], 0)
    x = fused.time_major(fused.with_ones(x))
    outputs, h, backward = _recurrence(x, None, h, weights)

    def gradient(d_outputs, d_h):
        d_sums, d_weights, d_h = backward(fused.time_major(d_outputs), d_h)
        d_x = tf.matmul(d_sums, kernel, transpose_b=True)
        d_x = fused.time_major(tf.reshape(d_x, [tf.shape(x)[0], -1, features]))
        d_kernel, d_bias, d_recurrent = tf.split(d_weights, [features, 1, units])
        return d_x, d_h, d_kernel, d_recurrent, d_bias[0]

    return (fused.time_major(outputs), h), gradient


@tf.custom_gradient
def simple_rnn_of_projected(projected, h, recurrent_kernel):
    """`simple_rnn` with given x W + b: projected [T, B, U], at least float32."""
    nothing = tf.cast(projected[:, :, :0], recurrent_kernel.dtype)
    outputs, h, backward = _recurrence(nothing, projected, h, recurrent_kernel)

    def gradient(d_outputs, d_h):
        d_sums, d_recurrent, d_h = backward(fused.time_major(d_outputs), d_h)
        d_projected = tf.reshape(tf.cast(d_sums, projected.dtype), tf.shape(projected))
        return d_projected, d_h, d_recurrent

    return (fused.time_major(outputs), h), gradient


def _recurrence(x, added, h, weights):
    """The time loop; K is the width of `x`.

    Args:
      x: [T, B, K].
      added: [T, B, U], added to the products; None: nothing.
      weights: [K + U, U], for x and h.

    Returns:
      Outputs [T, B, U], h, and a function of their gradients that returns those of the sums
      [T B, U], of the weights and of h.
    """
    units, width = weights.shape[1], weights.shape[0]
    num_steps, dtype, wide = tf.shape(x)[0], x.dtype, fused.wide_type(x.dtype)
    weights_transposed = tf.transpose(weights)

    def step(t, h, inputs, outputs):
        joined = tf.concat([x[t], h], 1)
        product = tf.cast(tf.matmul(joined, weights_transposed, transpose_b=True), wide)
        h = tf.cast(tf.tanh(product if added is None else product + added[t]), dtype)
        return h, inputs.write(t, joined), outputs.write(t, h)

    recorded = [fused.history(num_steps, h, n) for n in (width, units)]
    h, inputs, outputs = fused.forward_loop(num_steps, step, (h, *recorded))

    def backward(d_outputs, d_h):
        recurrent_kernel = weights[x.shape[2] :]

        def step(t, d_h, d_sums):
            output = tf.cast(outputs.read(t), wide)
            d_sum = tf.cast(d_h + d_outputs[t], wide) * (1 - output * output)
            d_sum = tf.cast(d_sum, dtype)
            return tf.matmul(d_sum, recurrent_kernel, transpose_b=True), d_sums.write(t, d_sum)

        d_h, d_sums = fused.backward_loop(
            num_steps, step, (d_h, fused.history(num_steps, d_h, units))
        )
        d_sums = fused.rows(d_sums, units)
        d_weights = tf.matmul(fused.rows(inputs, width), d_sums, transpose_a=True)
        return d_sums, d_weights, d_h

    return outputs.stack(), h, backward
