"""LSTM, GRU and the simple RNN, with the gate orders of Keras.

Shapes: B batch, U units.
"""

import numpy as np

from shakespeare_gen.models.cells.base import (
    HALF,
    ONE,
    Cell,
    added_product,
    product,
    sigmoid,
    split,
)


class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); gates i, f, g, o."""

    num_gates = 4
    state_parts = ("h", "c")

    def for_step(self, xp, weights):
        # sigmoid(x) is (tanh(x / 2) + 1) / 2: one tanh serves all gates. Halves are exact.
        scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), weights["bias"].shape[0] // 4)
        return {name: weight * scale for name, weight in weights.items()}

    def step(self, xp, projected, state, weights):
        h, c = state
        tanh = xp.tanh(added_product(xp, projected, h, weights["recurrent_kernel"]))
        i, f, _, o = split(xp, HALF * (tanh + ONE), 4)
        size = tanh.shape[-1] // 4
        c = f * c + i * tanh[..., 2 * size : 3 * size]
        h = o * xp.tanh(c)
        return h, (h, c)

    def gate_values(self, xp, projected, h, weights):
        gates = projected + xp.matmul(h, weights["recurrent_kernel"])
        i, f, _, o = split(xp, sigmoid(xp, gates), 4)
        return {"input": i, "forget": f, "output": o}

    def make_layer(self, units: int, **options):
        from shakespeare_gen.models import layers

        return layers.LSTM(units, **options)


class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014, arXiv 1406.1078), `reset_after=True` as in Keras;
    gates z, r, candidate. The bias has a row for the input and a row for the state."""

    num_gates = 3

    def weight_shapes(self, input_size, units):
        return {**super().weight_shapes(input_size, units), "bias": (2, 3 * units)}

    def input_bias(self, weights):
        return weights["bias"][0]

    def step_weights(self, xp, weights):
        return {**super().step_weights(xp, weights), "recurrent_bias": weights["bias"][1]}

    def step(self, xp, projected, state, weights):
        (h,) = state
        recurrent = product(xp, h, weights["recurrent_kernel"]) + weights["recurrent_bias"]
        x_z, x_r, x_candidate = split(xp, projected, 3)
        h_z, h_r, h_candidate = split(xp, recurrent, 3)
        z = sigmoid(xp, x_z + h_z)
        candidate = xp.tanh(x_candidate + sigmoid(xp, x_r + h_r) * h_candidate)
        h = candidate + z * (h - candidate)
        return h, (h,)

    def gate_values(self, xp, projected, h, weights):
        recurrent = xp.matmul(h, weights["recurrent_kernel"]) + weights["bias"][1]
        z, r, _ = split(xp, sigmoid(xp, projected + recurrent), 3)
        return {"update": z, "reset": r}

    def make_layer(self, units: int, **options):
        from shakespeare_gen.models import layers

        return layers.GRU(units, **options)


class SimpleRNN(Cell):
    """Simple recurrent network (Elman 1990): h = tanh(x W + h R + b)."""

    def step(self, xp, projected, state, weights):
        h = xp.tanh(projected + product(xp, state[0], weights["recurrent_kernel"]))
        return h, (h,)

    def make_layer(self, units: int, **options):
        from shakespeare_gen.models import layers

        return layers.SimpleRNN(units, **options)
