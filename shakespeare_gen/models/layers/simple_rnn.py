"""Simple recurrent layer (Elman 1990) with a fused kernel for the CPU.

One product per step: the input, a one for the bias and h are concatenated.
B batch, T time, D features, U units.
"""

import keras
import tensorflow as tf

from shakespeare_gen.models.layers import fused


@keras.saving.register_keras_serializable("shakespeare_gen")
class SimpleRNN(fused.FusedRNN, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` with a faster loop on a CPU; see `fused.FusedRNN`."""

    def covers(self) -> bool:
        return self.use_bias and fused.has_default_activations(self)

    def run_kernel(self, sequences, initial_state):
        return simple_rnn(sequences, *fused.tensors(initial_state), *fused.weights(self.cell))


@tf.custom_gradient
def simple_rnn(x, h, kernel, recurrent_kernel, bias):
    """x [B, T, D], h [B, U] -> outputs [B, T, U], h; weights as in Keras."""
    units, features = recurrent_kernel.shape[0], kernel.shape[0]
    num_steps, dtype, wide = tf.shape(x)[1], x.dtype, fused.wide_type(x.dtype)
    weights = tf.transpose(tf.concat([kernel, bias[None], recurrent_kernel], 0))
    x = fused.time_major(fused.with_ones(x))

    def step(t, h, inputs, outputs):
        joined = tf.concat([x[t], h], 1)
        product = tf.matmul(joined, weights, transpose_b=True)
        h = tf.cast(tf.tanh(tf.cast(product, wide)), dtype)
        return h, inputs.write(t, joined), outputs.write(t, h)

    width = features + 1 + units
    recorded = [fused.history(num_steps, h, n) for n in (width, units)]
    h, inputs, outputs = fused.forward_loop(num_steps, step, (h, *recorded))

    def gradient(d_outputs, d_h):
        d_outputs = fused.time_major(d_outputs)

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
        d_x = tf.matmul(d_sums, kernel, transpose_b=True)
        d_x = fused.time_major(tf.reshape(d_x, [num_steps, -1, features]))
        d_kernel, d_bias, d_recurrent = tf.split(d_weights, [features, 1, units])
        return d_x, d_h, d_kernel, d_recurrent, d_bias[0]

    return (fused.time_major(outputs.stack()), h), gradient
