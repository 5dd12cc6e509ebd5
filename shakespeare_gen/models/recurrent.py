"""The network: Embedding, recurrent layers, Dense; its state is explicit.

Shapes: B batch, T time, D features, V vocabulary size. A state is a flat list
of tensors [B, units]: h (and c for LSTM) of the first layer, then the second.

    network = build(vocabulary_size=65, units=256)
    logits, *state = network([ids, *initial_state(network, B)])   # [B, T] -> [B, T, V]
    model = TrainingModel(network)                                # for compile and fit

Knows nothing of text, files or sampling.
"""

import keras

from shakespeare_gen.models import layers

_LAYERS = {
    "lstm": layers.LSTM,
    "gru": layers.GRU,
    "simple_rnn": layers.SimpleRNN,
    "min_gru": layers.MinGRU,
    "min_lstm": layers.MinLSTM,
}
_STATE_PARTS = {"lstm": ("h", "c")}  # the other cells have h alone


def build(
    vocabulary_size: int,
    cell: str = "lstm",
    units: int = 256,
    num_layers: int = 1,
    embedding_size: int = 64,
    dropout: float = 0.0,
    residual: bool = False,
    kernel: str = "auto",
    precision: str = "float32",
) -> keras.Model:
    """A functional model: [ids [B, T], *state] -> [logits [B, T, V], *state].

    Dropout takes one mask a window for each recurrent layer's output, the same
    at every time step (Gal and Ghahramani 2016, arXiv 1512.05287). With
    `precision="bfloat16"` products are of bfloat16; weights, logits, gates and the state within
    a window stay float32, and a state that is carried to the next window is rounded.
    """
    dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    state_dtype = keras.DTypePolicy(dtype).compute_dtype
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.Embedding(vocabulary_size, embedding_size, dtype=dtype, name="embedding")(ids)
    first_state, last_state = [], []
    for i in range(1, num_layers + 1):
        name = f"{cell}_{i}"
        state = [
            keras.Input((units,), dtype=state_dtype, name=f"{name}_{part}")
            for part in _STATE_PARTS.get(cell, ("h",))
        ]
        layer = _LAYERS[cell](
            units, return_sequences=True, return_state=True, kernel=kernel, dtype=dtype, name=name
        )
        y, *new_state = layer(x, initial_state=state)
        if dropout:
            y = keras.layers.SpatialDropout1D(dropout, dtype=dtype, name=f"dropout_{i}")(y)
        x = keras.layers.Add(dtype=dtype, name=f"residual_{i}")([x, y]) if residual and i > 1 else y
        first_state += state
        last_state += new_state
    logits = keras.layers.Dense(vocabulary_size, dtype="float32", name="logits")(x)
    return keras.Model([ids, *first_state], [logits, *last_state], name="network")


def initial_state(network: keras.Model, batch_size) -> list:
    """Zeros: a state that has read nothing. `batch_size` may be a tensor."""
    return [keras.ops.zeros((batch_size, s.shape[-1]), s.dtype) for s in network.inputs[1:]]


def first_log_probabilities(network: keras.Model):
    """What follows id 0 at the start of a text: log-probabilities [1, V]."""
    logits = network([keras.ops.zeros((1, 1), "int32"), *initial_state(network, 1)])[0]
    return keras.ops.log_softmax(logits[:, 0])


def chosen_kernel(network: keras.Model) -> str:
    """`fused` or `keras`: the time loop that runs on this machine's devices."""
    return recurrent_layers(network)[0].chosen_kernel()


def recurrent_layers(network: keras.Model) -> list:
    """The recurrent layers, from the first."""
    return [layer for layer in network.layers if isinstance(layer, keras.layers.RNN)]


class TrainingModel(keras.Model):
    """The network as `fit` wants it: ids [B, T] -> logits [B, T, V].

    With `carry_batch_size`, the last state of a training batch is the first of
    the next one, until `reset_state`; else every window starts from zeros.
    """

    def __init__(self, network: keras.Model, carry_batch_size: int | None = None) -> None:
        super().__init__(name="training_model")
        self.network = network
        self.carried = [
            self.add_weight(
                shape=(carry_batch_size, s.shape[-1]),
                dtype=s.dtype,
                initializer="zeros",
                trainable=False,
                name=f"carried_{s.name}",
            )
            for s in (network.inputs[1:] if carry_batch_size else [])
        ]

    def call(self, ids, training=False):
        state = self.carried or initial_state(self.network, keras.ops.shape(ids)[0])
        logits, *state = self.network([ids, *state], training=training)
        for variable, value in zip(self.carried, state, strict=False):
            variable.assign(value)
        return logits

    def training_state(self) -> dict:
        """What a compiled and built model needs besides weights to go on, by name: the
        optimizer's variables, dropout seeds, carried state."""
        known = [*weights_of(self.network).values(), *self.metrics_variables]
        known_ids = {id(variable) for variable in known}
        others = [v for v in self.variables if id(v) not in known_ids]
        return {
            **{f"optimizer/{i:04d}": v for i, v in enumerate(self.optimizer.variables)},
            **{f"model/{i:04d}": v for i, v in enumerate(others)},
        }

    def reset_state(self) -> None:
        """Makes the carried state zero again."""
        for variable in self.carried:
            variable.assign(keras.ops.zeros_like(variable))


def weights_of(network: keras.Model) -> dict:
    """Every weight by a name that doesn't change: `lstm_1/kernel`."""
    return {f"{layer.name}/{w.name}": w for layer in network.layers for w in layer.weights}
