"""GRU (Cho et al. 2014, arXiv 1406.1078) with a fused kernel for the CPU.

Keras's default, `reset_after=True`: the reset gate multiplies only the recurrent part of the
candidate, so that one large product before the loop computes the input projections of all time
steps. Gates, h and their gradients are at least float32. B batch, T time, D features, U units; gate
order as in Keras: update, reset, candidate.
"""

import keras
import tensorflow as tf

from shakespeare_gen.models.layers import fused, one_hot


@keras.saving.register_keras_serializable("shakespeare_gen")
class GRU(fused.FusedRNN, keras.layers.GRU):
    """`keras.layers.GRU` with a faster loop on a CPU; see `fused.FusedRNN`."""

    def covers(self) -> bool:
        return self.use_bias and self.reset_after and fused.has_default_activations(self)

    def run_kernel(self, sequences, initial_state):
        return gru(sequences, *fused.tensors(initial_state), *fused.weights(self.cell))

    def run_lookup(self, ids, initial_state):
        _, recurrent_kernel, bias = fused.weights(self.cell)
        bias = tf.cast(bias, fused.wide_type(bias.dtype))
        projected = one_hot.projected(ids, self.cell.kernel, _joined_bias(bias))
        candidate_bias = bias[1, 2 * self.units :]
        state = fused.tensors(initial_state)
        return gru_of_projected(projected, *state, recurrent_kernel, candidate_bias)


@tf.custom_gradient
def gru(x, h, kernel, recurrent_kernel, bias):
    """x [B, T, D], h [B, U] -> outputs [B, T, U], h; weights as in Keras, bias [2, 3 U]."""
    units, features = recurrent_kernel.shape[0], kernel.shape[0]
    num_steps, dtype, wide = tf.shape(x)[1], x.dtype, fused.wide_type(x.dtype)
    input_weights = tf.concat([kernel, _joined_bias(bias)[None]], 0)
    x = tf.reshape(fused.time_major(fused.with_ones(x)), [-1, features + 1])
    projected = tf.reshape(tf.matmul(x, input_weights), [num_steps, -1, 3 * units])
    candidate_bias = tf.cast(bias[1, 2 * units :], wide)
    outputs, h, backward = _recurrence(projected, h, recurrent_kernel, candidate_bias)

    def gradient(d_outputs, d_h):
        d_projected, d_recurrents, d_recurrent_kernel, d_h = backward(
            fused.time_major(d_outputs), d_h
        )
        d_input_weights = tf.matmul(x, d_projected, transpose_a=True)
        d_x = tf.matmul(d_projected, kernel, transpose_b=True)
        d_x = fused.time_major(tf.reshape(d_x, [num_steps, -1, features]))
        d_recurrent_bias = tf.cast(tf.reduce_sum(tf.cast(d_recurrents, wide), 0), dtype)
        d_bias = tf.stack([d_input_weights[-1], d_recurrent_bias])
        return d_x, d_h, d_input_weights[:-1], d_recurrent_kernel, d_bias

    return (fused.time_major(outputs), h), gradient


@tf.custom_gradient
def gru_of_projected(projected, h, recurrent_kernel, candidate_bias):
    """`gru` with given x W + b: projected [T, B, 3 U] and candidate_bias [U], at least float32.

    b has the recurrent biases of update and reset, too.
    """
    outputs, h, backward = _recurrence(projected, h, recurrent_kernel, candidate_bias)

    def gradient(d_outputs, d_h):
        d_projected, d_recurrents, d_recurrent_kernel, d_h = backward(
            fused.time_major(d_outputs), d_h
        )
        d_projected = tf.reshape(tf.cast(d_projected, projected.dtype), tf.shape(projected))
        d_candidates = tf.cast(d_recurrents[:, -candidate_bias.shape[0] :], candidate_bias.dtype)
        return d_projected, d_h, d_recurrent_kernel, tf.reduce_sum(d_candidates, 0)

    return (fused.time_major(outputs), h), gradient


def _joined_bias(bias):
    """The recurrent biases of update and reset added to the input biases: [2, 3 U] -> [3 U].

    That of the candidate stays separate, because the reset gate multiplies it.
    """
    units = bias.shape[1] // 3
    return bias[0] + tf.concat([bias[1, : 2 * units], tf.zeros_like(bias[1, :units])], 0)


def _recurrence(projected, h, recurrent_kernel, candidate_bias):
    """The time loop.

    Args:
      projected: [T, B, 3 U].
      candidate_bias: [U], at least float32.

    Returns:
      Outputs [T, B, U], h, and a function of their gradients that returns those of the input
      projections and of the recurrent products, both [T B, 3 U], of the recurrent kernel and of h.
    """
    units, dtype = recurrent_kernel.shape[0], recurrent_kernel.dtype
    num_steps, wide = tf.shape(projected)[0], fused.wide_type(dtype)
    transposed = tf.transpose(recurrent_kernel)
    h = tf.cast(h, wide)

    def step(t, h, before, gates, recurrents, outputs):
        recurrent = tf.cast(tf.matmul(tf.cast(h, dtype), transposed, transpose_b=True), wide)
        gate, recurrent_candidate = _forward(tf.cast(projected[t], wide), recurrent, candidate_bias)
        z, _, candidate = tf.split(gate, 3, 1)
        new_h = candidate + z * (h - candidate)
        return (
            new_h,
            before.write(t, h),
            gates.write(t, gate),
            recurrents.write(t, recurrent_candidate),
            outputs.write(t, tf.cast(new_h, dtype)),
        )

    recorded = [fused.history(num_steps, h, n) for n in (units, 3 * units, units)]
    recorded.append(fused.history(num_steps, h, units, dtype))
    h, before, gates, recurrents, outputs = fused.forward_loop(num_steps, step, (h, *recorded))

    def backward(d_outputs, d_h):
        def step(t, d_h, d_projected, d_recurrents):
            d_input, d_recurrent, d_before = _backward(
                gates.read(t),
                recurrents.read(t),
                before.read(t),
                d_h + tf.cast(d_outputs[t], wide),
            )
            d_input, d_recurrent = tf.cast(d_input, dtype), tf.cast(d_recurrent, dtype)
            product = tf.matmul(d_recurrent, recurrent_kernel, transpose_b=True)
            d_h = d_before + tf.cast(product, wide)
            return d_h, d_projected.write(t, d_input), d_recurrents.write(t, d_recurrent)

        recorded = [fused.history(num_steps, d_h, 3 * units) for _ in range(2)]
        d_h, d_projected, d_recurrents = fused.backward_loop(
            num_steps, step, (tf.cast(d_h, wide), *recorded)
        )
        d_projected = fused.rows(d_projected, 3 * units)
        d_recurrents = fused.rows(d_recurrents, 3 * units)
        rows_before = tf.cast(fused.rows(before, units), dtype)
        d_recurrent_kernel = tf.matmul(rows_before, d_recurrents, transpose_a=True)
        return d_projected, d_recurrents, d_recurrent_kernel, tf.cast(d_h, dtype)

    return outputs.stack(), tf.cast(h, dtype), backward


def _forward(projected, recurrent, candidate_bias):
    """Pre-activations [B, 3 U] -> gates [B, 3 U], the candidate's recurrent part [B, U]."""
    x_gates, x_candidate = tf.split(projected, [2 * recurrent.shape[1] // 3, -1], 1)
    h_gates, h_candidate = tf.split(recurrent, [2 * recurrent.shape[1] // 3, -1], 1)
    gates = tf.sigmoid(x_gates + h_gates)
    reset = gates[:, gates.shape[1] // 2 :]
    h_candidate += candidate_bias
    return tf.concat([gates, tf.tanh(x_candidate + reset * h_candidate)], 1), h_candidate


def _backward(gate, recurrent_candidate, h, d_h):
    """Gradient of h -> those of the input and recurrent products [B, 3 U] and the previous h."""
    z, r, candidate = tf.split(gate, 3, 1)
    d_candidate = d_h * (1 - z) * (1 - candidate * candidate)
    d_z = d_h * (h - candidate) * z * (1 - z)
    d_r = d_candidate * recurrent_candidate * r * (1 - r)
    d_input = tf.concat([d_z, d_r, d_candidate], 1)
    return d_input, tf.concat([d_z, d_r, d_candidate * r], 1), d_h * z
