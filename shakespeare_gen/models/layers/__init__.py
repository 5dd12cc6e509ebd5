"""The recurrent engine: drop-in layers with their own training kernel on a CPU.

`LSTM`, `GRU` and `SimpleRNN` have the constructor, the weights and the results
of `keras.layers`; a checkpoint moves between the two unchanged. On a GPU, and
where a kernel does not cover an option, Keras's own code runs. `MinGRU` and
`MinLSTM` compute time in parallel and have no counterpart in Keras.
"""

from shakespeare_gen.models.layers.gru import GRU
from shakespeare_gen.models.layers.lstm import LSTM
from shakespeare_gen.models.layers.minimal import MinGRU, MinLSTM
from shakespeare_gen.models.layers.simple_rnn import SimpleRNN

__all__ = ["GRU", "LSTM", "MinGRU", "MinLSTM", "SimpleRNN"]
