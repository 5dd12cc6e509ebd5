"""The recurrent cells, one object each: shapes, state and the arithmetic of one step.

A step is written once against an array namespace `xp`: `numpy`, or `tensorflow.experimental.numpy`
inside a compiled loop. For training, the Keras layers in `models.layers` compute whole sequences;
tests compare the two.

- `base`: the contract, `Cell`;
- `handcrafted`: the worked example of a cell, in a few lines;
- `classic`: LSTM, GRU, simple RNN; `minimal`: minGRU, minLSTM.

To add a cell, subclass `Cell` and register it: `CELLS["mine"] = Mine()`. A cell without its own
Keras layer is trained by `layers.CellRNN`, which differentiates `step`.
"""

from shakespeare_gen.models.cells.base import (
    Cell,
    Weights,
    added_product,
    normal,
    product,
    rows,
    sigmoid,
    split,
)
from shakespeare_gen.models.cells.classic import GRU, LSTM, SimpleRNN
from shakespeare_gen.models.cells.handcrafted import Handcrafted
from shakespeare_gen.models.cells.minimal import MinGRU, MinimalCell, MinLSTM

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "Cell",
    "Handcrafted",
    "MinGRU",
    "MinLSTM",
    "MinimalCell",
    "SimpleRNN",
    "Weights",
    "added_product",
    "normal",
    "product",
    "rows",
    "sigmoid",
    "split",
]

CELLS: dict[str, Cell] = {
    "lstm": LSTM(),
    "gru": GRU(),
    "simple_rnn": SimpleRNN(),
    "min_gru": MinGRU(),
    "min_lstm": MinLSTM(),
    "handcrafted": Handcrafted(),
}
