"""The model as a functional Keras model of stock layers and operations.

Inputs are `ids`, int32 [batch, time], and the arrays of the state by name; outputs are `logits`
and the new state. Knows nothing about files.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from shakespeare_gen.exporting.recording import Tensor
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.exporting.tracing import Trace
from shakespeare_gen.models.recurrent import RecurrentSpec, run_layers

# The stock layer of each cell that Keras has.
_LAYERS: dict[str, Callable[..., keras.layers.RNN]] = {
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "simple_rnn": keras.layers.SimpleRNN,
    "handcrafted": keras.layers.SimpleRNN,
}


def has_layers(subject: Subject) -> bool:
    """Whether the model is one of `layered`; otherwise it reads one token in a call."""
    [spec, *others] = subject.specs
    return not others and isinstance(spec, RecurrentSpec) and spec.options.cell in _LAYERS


def layered(subject: Subject) -> keras.Model:
    """A recurrent model, of stock layers, for sequences of any length."""
    [spec] = subject.specs
    assert isinstance(spec, RecurrentSpec)
    ids = keras.Input((None,), dtype="int32", name="ids")
    names = iter(subject.state_names)
    first_state = [
        [keras.Input((layer.units,), name=next(names)) for _ in layer.definition.state_parts]
        for layer in spec.layers
    ]
    if size := spec.options.embedding_size:
        x = keras.layers.Embedding(spec.vocabulary_size, size, name="embedding")(ids)
    else:
        x = ops.one_hot(ids, spec.vocabulary_size)

    def run(layer, x, part):
        made = _LAYERS[layer.cell](
            layer.units, return_sequences=True, return_state=True, name=layer.name
        )
        y, *new_part = made(x, initial_state=part)
        return y, new_part

    x, last_state = run_layers(spec.layers, x, first_state, run)
    logits = keras.layers.Dense(spec.vocabulary_size, name="logits")(x)
    model = keras.Model(
        [ids, *(part for layer in first_state for part in layer)],
        [logits, *(part for layer in last_state for part in layer)],
        name="language_model",
    )
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(subject.weights[f"{layer.name}/{weight.name}"])
    return model


def stepwise(trace: Trace) -> keras.Model:
    """Any model, for one token in a call: a recorded step of stock operations."""
    ids = keras.Input((1,), dtype="int32", name="ids")
    state = [keras.Input(t.shape[1:], name=t.name) for t in trace.state]
    found = {id(trace.ids): ops.squeeze(ids, 1)}
    found |= {id(t): array for t, array in zip(trace.state, state, strict=True)}
    for node in trace.nodes():
        if id(node) not in found:
            found[id(node)] = node.value if node.is_constant else _computed(node, found)
    logits, *new_state = (found[id(node)] for node in trace.outputs)
    return keras.Model(
        [ids, *state], [ops.expand_dims(logits, 1), *new_state], name="language_model"
    )


def _computed(node: Tensor, found: Mapping[int, Any]) -> Any:
    """The result of an operation on Keras tensors."""
    inputs = [found[id(i)] for i in node.inputs]
    return _OPERATIONS[node.operation](*inputs, **node.attributes)


def _product(x: Any, weights: Any) -> Any:
    """A layer with the weights, which are stored in the file and not in the configuration."""
    layer = keras.layers.Dense(len(weights), use_bias=False)
    y = layer(x)
    layer.kernel.assign(weights.T)
    return y


def _take(table: Any, ids: Any) -> Any:
    layer = keras.layers.Embedding(*table.shape)
    rows = layer(ids)
    layer.embeddings.assign(table)
    return rows


def _slice(x: Any, axis: int, begin: int, end: int) -> Any:
    return x[(slice(None),) * axis + (slice(begin, end),)]


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(ops, name)
        for name in (
            *("add", "subtract", "multiply", "divide", "mod", "maximum", "less", "less_equal"),
            *("greater_equal", "equal", "negative", "tanh", "exp", "log", "log1p", "sqrt", "abs"),
            *("cos", "sin", "where", "matmul"),
        )
    },
    "product": _product,
    "take": _take,
    "slice": _slice,
    "reshape": lambda x, shape: ops.reshape(x, shape),
    "concatenate": lambda *parts, axis: ops.concatenate(parts, axis),
    "sum": lambda x, axis: ops.sum(x, axis, keepdims=True),
    "mean": lambda x, axis: ops.mean(x, axis, keepdims=True),
    "max": lambda x, axis: ops.max(x, axis, keepdims=True),
    "cast": lambda x, dtype: ops.cast(x, dtype),
}
