"""The contract of a recurrent cell, and the arithmetic that cells share.

Shapes: B batch, D features, U units, G gates. Knows no particular cell and no TensorFlow.
"""

from typing import Any, ClassVar

import numpy as np

Weights = dict[str, Any]
HALF, ONE = np.float32(0.5), np.float32(1)


def product(xp, x, transposed):
    """x [B, D] times the transpose of `transposed` [N, D]: [B, N].

    The weights of a step are stored transposed, which is faster for products with few rows.
    """
    if xp is np:
        return x @ transposed.T
    if transposed.dtype.name == "bfloat16":  # sums are float32
        import tensorflow as tf

        x = tf.cast(x, transposed.dtype)
        return tf.matmul(x, transposed, transpose_b=True, output_type=tf.float32)
    # XLA compiles this to one product, but a matmul and a transpose to two passes.
    return xp.einsum("bd,nd->bn", x, transposed)


def added_product(xp, x, y, transposed):
    """x [B, N] plus `product` of y [B, D] and `transposed` [N, D]."""
    found = product(xp, y, transposed)
    if xp is np:  # without another array
        found += x
        return found
    return x + found


def rows(xp, table, ids):
    """The rows `ids` [B] of a table [N, D]."""
    if xp is np:  # the method takes half as long as the function
        return table.take(ids, 0)
    return xp.take(table, ids, axis=0)


def split(xp, x, num_parts: int):
    """x [..., N] in `num_parts` equal parts."""
    if xp is np:  # `np.split` takes ten times as long as slices
        size = x.shape[-1] // num_parts
        return [x[..., i * size : (i + 1) * size] for i in range(num_parts)]
    return xp.split(x, num_parts, axis=-1)


def sigmoid(xp, x):
    """1 / (1 + exp(-x)), without overflow."""
    return HALF * (xp.tanh(HALF * x) + ONE)


def normal(scale: float) -> dict[str, Any]:
    """The configuration of an initializer: normal numbers times `scale`."""
    return {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": scale, "seed": None}}


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

    def initializer(self, name: str) -> str | dict[str, Any]:
        """The initializer of a weight, by its name or configuration in Keras; used by
        `layers.CellRNN`."""
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

    def gate_values(self, xp, projected, h, weights: Weights) -> dict[str, Any]:
        """The values of the sigmoid gates by name, each [..., U]; empty: the cell has none.

        Args:
          projected: the product of the input and `kernel` plus `input_bias`, [..., G U].
          h: the output of the step before, [..., U].
          weights: as they are stored.
        """
        return {}

    def make_layer(self, units: int, **options):
        """The Keras layer that computes a whole sequence; takes the arguments of `keras.layers.RNN`
        and `kernel`."""
        from shakespeare_gen.models import layers

        return layers.CellRNN(self, units, **options)
