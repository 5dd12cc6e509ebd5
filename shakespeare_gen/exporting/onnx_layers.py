"""Recurrent layers as an ONNX graph with its own operators LSTM, GRU and RNN.

    model = layered(subject, subject.trace())

Knows nothing about files.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from shakespeare_gen.exporting.onnx_graph import Constants, Graph, finished
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.exporting.tracing import Trace
from shakespeare_gen.models.recurrent import LayerSpec, RecurrentSpec

# For each cell the operator, its gates by their index in Keras, and its attributes.
_LAYERS: dict[str, tuple[str, Sequence[int], dict[str, int]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (0, 1, 2), {"linear_before_reset": 1}),
    "simple_rnn": ("RNN", (0,), {}),
    "handcrafted": ("RNN", (0,), {}),
}


def layered(subject: Subject, trace: Trace) -> onnx.ModelProto | None:
    """A recurrent model with ONNX's own layers; None: it has another cell, or is an ensemble.

    An operator reads the whole text at once, which is faster than a scan.
    """
    [spec, *others] = subject.specs
    if others or not isinstance(spec, RecurrentSpec) or spec.options.cell not in _LAYERS:
        return None
    graph, weights = Graph(Constants()), subject.weights
    columns = graph.add("Transpose", "ids", perm=[1, 0])
    if spec.options.embedding_size:
        table = graph.constants.add(weights["embedding/embeddings"], "embedding/embeddings")
        x = graph.add("Gather", table, columns)
    else:
        depth = graph.constants.add(np.array(spec.vocabulary_size, np.int32))
        x = graph.add("OneHot", columns, depth, graph.constants.add(np.array([0, 1], np.float32)))
    for layer in spec.layers:
        y = _layer(graph, layer, x, weights)
        x = graph.add("Add", x, y) if layer.is_residual else y
    rows = graph.add("Transpose", x, perm=[1, 0, 2])
    kernel = graph.constants.add(weights["logits/kernel"], "logits/kernel")
    bias = graph.constants.add(weights["logits/bias"], "logits/bias")
    graph.named("Add", [graph.add("MatMul", rows, kernel), bias], "logits")
    return finished(graph, trace)


def _layer(graph: Graph, layer: LayerSpec, x: str, weights: Mapping[str, np.ndarray]) -> str:
    """One recurrent layer: [T, B, D] -> [T, B, U]."""
    operator, order, attributes = _LAYERS[layer.cell]
    own = {name: weights[f"{layer.name}/{name}"] for name in layer.weight_shapes()}
    biases = own["bias"] if own["bias"].ndim == 2 else np.stack([own["bias"], 0 * own["bias"]])
    arrays = {
        "kernel": _in_order(own["kernel"], order).T,
        "recurrent_kernel": _in_order(own["recurrent_kernel"], order).T,
        "bias": _in_order(biases, order).reshape(-1),
    }
    given = [graph.constants.add(a[None], f"{layer.name}/{n}") for n, a in arrays.items()]
    names = [f"{layer.name}_{part}" for part in layer.definition.state_parts]
    first, second = (graph.constants.integers(axis) for axis in (0, 1))
    before = [graph.add("Unsqueeze", name, first) for name in names]
    y = graph.add(
        operator,
        *(x, *given, "", *before),
        outputs=1 + len(names),
        hidden_size=layer.units,
        **attributes,
    )
    for i, name in enumerate(names, 1):
        graph.named("Squeeze", [f"{y}_{i}", first], f"next_{name}")
    return graph.add("Squeeze", y, second)


def _in_order(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The columns [..., G U] of gates in another order."""
    gates = np.split(array, len(order), -1)
    return np.concatenate([gates[i] for i in order], -1)
