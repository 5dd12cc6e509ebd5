"""The recurrent cells, one object each: shapes, state and the arithmetic of one step.

A step is written once against an array namespace `xp`: `numpy`, or `tensorflow.experimental.numpy`
inside a compiled loop. For training, the Keras layers in `layers` compute whole sequences; tests
compare the two.

To add a cell, subclass `Cell` and register it: `CELLS["mine"] = Mine()`. A cell without its own
Keras layer is trained by `layers.CellRNN`, which differentiates `step`.

Shapes: B batch, D features, U units, G gates. Gate orders are those of Keras.
"""

from typing import Any, ClassVar

import numpy as np

Weights = dict[str, Any]
_HALF, _ONE = np.float32(0.5), np.float32(1)


def product(xp, x, transposed):
    """x [B, D] times the transpose of `transposed` [N, D]: [B, N].

    The weights of a step are stored transposed, which is faster for products with few rows.
    """
    if xp is np:
        return x @ transposed.T
    # XLA compiles this to one product, but a matmul and a transpose to two passes.
    return xp.einsum("bd,nd->bn", x, transposed)


def split(xp, x, num_parts: int):
    """x [..., N] in `num_parts` equal parts."""
    if xp is np:  # `np.split` takes ten times as long as slices
        size = x.shape[-1] // num_parts
        return [x[..., i * size : (i + 1) * size] for i in range(num_parts)]
    return xp.split(x, num_parts, axis=-1)


def sigmoid(xp, x):
    """1 / (1 + exp(-x)), without overflow."""
    return _HALF * (xp.tanh(_HALF * x) + _ONE)


class Cell:
    """A recurrent cell with weights `kernel`, `recurrent_kernel` and `bias`.

    The default shapes are those of a cell with `num_gates` gates. The caller computes the product
    of the input and `kernel` plus `input_bias`, which does not depend on the state.
    """

    num_gates: ClassVar[int] = 1
    state_parts: ClassVar[tuple[str, ...]] = ("h",)

    def weight_shapes(self, input_size: int, units: int) -> dict[str, tuple[int, ...]]:
        """The shape of every weight by name."""
        width = self.num_gates * units
        return {"kernel": (input_size, width), "recurrent_kernel": (units, width), "bias": (width,)}

    def initializer(self, name: str) -> str:
        """The Keras initializer of a weight; used by `layers.CellRNN`."""
        return {"recurrent_kernel": "orthogonal", "bias": "zeros"}.get(name, "glorot_uniform")

    def for_step(self, xp, weights: Weights) -> Weights:
        """The weights as `step` computes with them: of the same shapes, scaled for instance."""
        return weights

    def input_bias(self, weights: Weights):
        """The bias that is added to the input projection: [G U]."""
        return weights["bias"]

    def step_weights(self, xp, weights: Weights) -> Weights:
        """The weights that `step` needs in addition to the input projection, transposed.

        Args:
          weights: the result of `for_step`.
        """
        return {"recurrent_kernel": xp.transpose(weights["recurrent_kernel"])}

    def step(self, xp, projected, state: tuple, weights: Weights) -> tuple[Any, tuple]:
        """One step: projected [B, G U], state -> output [B, U], state.

        Args:
          weights: the result of `step_weights`.
        """
        raise NotImplementedError

    def make_layer(self, units: int, **options):
        """The Keras layer that computes a whole sequence; takes the arguments of `keras.layers.RNN`
        and `kernel`."""
        from shakespeare_gen.models import layers

        return layers.CellRNN(self, units, **options)


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
        gates = projected + product(xp, h, weights["recurrent_kernel"])
        tanh = xp.tanh(gates)
        i, f, _, o = split(xp, _HALF * (tanh + _ONE), 4)
        c = f * c + i * split(xp, tanh, 4)[2]
        h = o * xp.tanh(c)
        return h, (h, c)

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


class MinimalCell(Cell):
    """A cell whose gates depend only on the input: h(t) = decay(t) h(t-1) + added(t).

    Feng et al. 2024, arXiv 2410.01201, without logarithms: decay is in (0, 1), so h cannot
    overflow on texts of any length.
    """

    def weight_shapes(self, input_size, units):
        width = self.num_gates * units
        return {"kernel": (input_size, width), "bias": (width,)}

    def step_weights(self, xp, weights):
        return {}

    def gates(self, xp, projected) -> tuple[Any, Any]:
        """projected [..., G U] -> decay and added, both [..., U]."""
        raise NotImplementedError

    def step(self, xp, projected, state, weights):
        decay, added = self.gates(xp, projected)
        h = decay * state[0] + added
        return h, (h,)


class MinGRU(MinimalCell):
    """minGRU: h(t) = (1 - z) h(t-1) + z candidate; gates z, candidate."""

    num_gates = 2

    def gates(self, xp, projected):
        update, candidate = split(xp, projected, 2)
        # sigmoid(-x) is 1 - sigmoid(x) without the rounding error of the difference.
        return sigmoid(xp, -update), sigmoid(xp, update) * candidate

    def make_layer(self, units: int, **options):
        from shakespeare_gen.models import layers

        return layers.MinGRU(units, **options)


class MinLSTM(MinimalCell):
    """minLSTM: h(t) = f / (f + i) h(t-1) + i / (f + i) candidate; gates f, i, candidate."""

    num_gates = 3

    def gates(self, xp, projected):
        forget, add, candidate = split(xp, projected, 3)
        # The ratio f / (f + i) of two sigmoids is the sigmoid of this difference.
        difference = _softplus(xp, -add) - _softplus(xp, -forget)
        return sigmoid(xp, difference), sigmoid(xp, -difference) * candidate

    def make_layer(self, units: int, **options):
        from shakespeare_gen.models import layers

        return layers.MinLSTM(units, **options)


def _softplus(xp, x):
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


CELLS: dict[str, Cell] = {
    "lstm": LSTM(),
    "gru": GRU(),
    "simple_rnn": SimpleRNN(),
    "min_gru": MinGRU(),
    "min_lstm": MinLSTM(),
}
