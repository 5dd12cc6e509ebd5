"""Keras layers of the recurrent cells, with fused training kernels for the CPU.

`LSTM`, `GRU` and `SimpleRNN` have the same constructors, weights and results as those of
`keras.layers`, so that checkpoints are interchangeable. On a GPU, and for options that a kernel
does not cover, Keras's own code runs. `MinGRU` and `MinLSTM` can compute all time steps in parallel
and have no counterpart in Keras. `CellRNN` runs any other cell of `models.cells`.
"""

from shakespeare_gen.models.layers.cell_rnn import CellRNN
from shakespeare_gen.models.layers.gru import GRU
from shakespeare_gen.models.layers.lstm import LSTM
from shakespeare_gen.models.layers.minimal import MinGRU, MinLSTM
from shakespeare_gen.models.layers.simple_rnn import SimpleRNN

__all__ = ["GRU", "LSTM", "CellRNN", "MinGRU", "MinLSTM", "SimpleRNN"]
