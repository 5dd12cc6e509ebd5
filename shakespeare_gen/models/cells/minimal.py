"""minGRU and minLSTM, whose gates depend only on the input.

Shapes: U units, G gates.
"""

from typing import Any

from shakespeare_gen.models.cells.base import Cell, sigmoid, split


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

    def gate_values(self, xp, projected, h, weights):
        return {"update": sigmoid(xp, split(xp, projected, 2)[0])}

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

    def gate_values(self, xp, projected, h, weights):
        forget, add, _ = split(xp, sigmoid(xp, projected), 3)
        return {"forget": forget, "input": add}

    def make_layer(self, units: int, **options):
        from shakespeare_gen.models import layers

        return layers.MinLSTM(units, **options)


def _softplus(xp, x):
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))
