"""The worked example of a cell: written by hand, in a few lines.

The equation is that of `simple_rnn`, as in many a notebook that builds an RNN from scratch. What
differs is that everything is here. There is no Keras layer and no kernel behind it: in training,
TensorFlow differentiates `step`, and the weights start as small normal numbers instead of Keras's
orthogonal ones. Copy this file to try a cell of your own; one line in `cells.CELLS` makes it a
choice of the option `cell`. Knows nothing about training, files or TensorFlow.

Shapes: B batch, D features, U units.
"""

from shakespeare_gen.models.cells.base import Cell, normal, product


class Handcrafted(Cell):
    """h(t) = tanh(x(t) W + h(t-1) R + b) (Elman 1990), with weights of 0.05 times normal.

    W is `kernel` [D, U], R is `recurrent_kernel` [U, U], b is `bias` [U].
    """

    def initializer(self, name):
        return "zeros" if name == "bias" else normal(0.05)

    def step(self, xp, projected, state, weights):
        (h,) = state  # [B, U]
        # `projected` is x W + b [B, U]: it does not depend on h, so the caller computes it for all
        # steps at once.
        h = xp.tanh(projected + product(xp, h, weights["recurrent_kernel"]))
        return h, (h,)  # the output, and the next state
