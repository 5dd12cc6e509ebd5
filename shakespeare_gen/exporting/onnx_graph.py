"""A recorded step, and recurrent layers, as ONNX graphs.

    model = stepwise(subject.trace(), "int8")      # any model: a Scan over its step
    model = layered(subject)                       # LSTM, GRU and RNN operators

Inputs are `ids`, int32 [batch, time], and the arrays of the state by name; outputs are `logits`,
float32 [batch, time, V], and the arrays `next_NAME` of the state. Knows nothing about files.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.exporting.tracing import Tensor, Trace
from shakespeare_gen.models.recurrent import LayerSpec, RecurrentSpec

OPSET, IR_VERSION = 17, 8
MIN_QUANTIZED = 1024  # numbers of a weight that is stored in int8
# Rounding the output layer costs the most; of a small vocabulary, it is little of a file.
MAX_HALF_SHARE = 1 / 16
QUANTIZED_ZERO = 128
_BEFORE = "step_"  # of the inputs of a step, which need other names than those of the model
_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}
_OPERATORS = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "mod": "Mod",
    "maximum": "Max",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater_equal": "GreaterOrEqual",
    "equal": "Equal",
    "negative": "Neg",
    "tanh": "Tanh",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "cos": "Cos",
    "sin": "Sin",
    "where": "Where",
    "matmul": "MatMul",
    "take": "Gather",
}
# For each cell the operator, its gates by their index in Keras, and its attributes.
_LAYERS: dict[str, tuple[str, Sequence[int], dict[str, int]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (0, 1, 2), {"linear_before_reset": 1}),
    "simple_rnn": ("RNN", (0,), {}),
    "handcrafted": ("RNN", (0,), {}),
}
_REDUCTIONS = {"mean": "ReduceMean", "max": "ReduceMax"}


class Graph:
    """Nodes and constants, added one by one.

    Attributes:
      constants: shared by all graphs of a model.
    """

    def __init__(self, constants: "Constants") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = constants

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Adds an operator and returns the name of its first output."""
        base = f"{operator}_{self.constants.next_number()}"
        names = [base, *(f"{base}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return base

    def named(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> None:
        """Adds an operator whose output has a given name."""
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))


class Constants:
    """The constants of a model; equal small ones are stored once."""

    def __init__(self) -> None:
        self.tensors: dict[str, onnx.TensorProto] = {}
        self._small: dict[tuple, str] = {}
        self._number = 0

    def next_number(self) -> int:
        """A number that no name has yet."""
        self._number += 1
        return self._number

    def add(self, value: np.ndarray, name: str = "") -> str:
        """Adds an array and returns its name."""
        value = np.ascontiguousarray(value) if value.shape else value
        if name:
            name = f"weights/{name}"  # an input or output may have the same name
            if name not in self.tensors:
                self.tensors[name] = numpy_helper.from_array(value, name)
            return name
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._small:
            self._small[key] = f"constant_{self.next_number()}"
            self.tensors[self._small[key]] = numpy_helper.from_array(value, self._small[key])
        return self._small[key]

    def integers(self, *values: int) -> str:
        """Adds integers as a vector."""
        return self.add(np.array(values, np.int64))


class _Step:
    """The nodes of a recorded step."""

    def __init__(self, graph: Graph, is_quantized: bool) -> None:
        self.graph, self.is_quantized = graph, is_quantized
        self._names: dict[int, str] = {}
        self._quantized_inputs: dict[str, tuple[str, str, str]] = {}
        # Of the logits; and of the largest weights of theirs that are stored in float16.
        self._num_logits = self._max_half = 0

    def write(self, trace: Trace) -> list[str]:
        """Adds all nodes; returns the names of the logits and of the new state."""
        self._num_logits = trace.logits.shape[1]
        self._max_half = int(MAX_HALF_SHARE * _num_weights(trace))
        for node in trace.nodes():
            if node.operation == "input":
                self._names[id(node)] = f"{_BEFORE}{node.name}"
            elif not node.is_constant:
                self._names[id(node)] = self._node(node)
        return [self.name(node) for node in trace.outputs]

    def name(self, node: Tensor) -> str:
        """The name of a tensor; that of a constant, which is added."""
        if node.is_constant:
            return self.graph.constants.add(node.value, node.name)
        return self._names[id(node)]

    def _node(self, node: Tensor) -> str:
        operation = node.operation
        if operation == "product":
            return self._product(*node.inputs)
        if operation == "take" and self._quantizes(node.inputs[0]):
            return self._quantized_rows(*node.inputs)
        inputs = [self.name(i) for i in node.inputs]
        if operation in _OPERATORS:
            return self.graph.add(_OPERATORS[operation], *inputs)
        if operation in _REDUCTIONS:
            axes = [node.attributes["axis"]]
            return self.graph.add(_REDUCTIONS[operation], *inputs, axes=axes, keepdims=1)
        return _OTHERS[operation](self.graph, inputs, node.attributes)

    def _quantizes(self, weights: Tensor) -> bool:
        return self.is_quantized and weights.is_constant and weights.value.size >= MIN_QUANTIZED

    def _product(self, x: Tensor, weights: Tensor) -> str:
        if not self._quantizes(weights):
            return self.graph.add("Gemm", self.name(x), self.name(weights), transB=1)
        add, constants = self.graph.add, self.graph.constants
        if len(weights.value) == self._num_logits and weights.value.size <= self._max_half:
            half = constants.add(weights.value.astype(np.float16), weights.name)
            single = add("Cast", half, to=TensorProto.FLOAT)
            return add("Gemm", self.name(x), single, transB=1)
        quantized, scale, zero = self._quantized_input(self.name(x))
        rows, scales = quantize(weights.value)
        sums = add(
            "MatMulInteger",
            quantized,
            constants.add(rows.T, weights.name),
            zero,
            constants.add(np.array(QUANTIZED_ZERO, np.uint8)),
        )
        factors = add("Mul", scale, constants.add(scales[:, 0], f"{weights.name}/scales"))
        return add("Mul", add("Cast", sums, to=TensorProto.FLOAT), factors)

    def _quantized_input(self, x: str) -> tuple[str, str, str]:
        """An array as uint8, with its scale and zero point."""
        if x not in self._quantized_inputs:
            first = self.graph.add("DynamicQuantizeLinear", x, outputs=3)
            self._quantized_inputs[x] = (first, f"{first}_1", f"{first}_2")
        return self._quantized_inputs[x]

    def _quantized_rows(self, table: Tensor, ids: Tensor) -> str:
        """Rows of a table, with a scale per row or per column: what is more exact."""
        add, constants, place = self.graph.add, self.graph.constants, self.name(ids)
        rows, scales = min(
            (quantize(table.value, axis) for axis in (0, 1)),
            key=lambda pair: np.square(restored(*pair) - table.value).sum(),
        )
        taken = add("Gather", constants.add(rows, table.name), place)
        centered = add(
            "Sub",
            add("Cast", taken, to=TensorProto.FLOAT),
            constants.add(np.array(QUANTIZED_ZERO, np.float32)),
        )
        factors = constants.add(scales, f"{table.name}/scales")
        return add("Mul", centered, factors if len(scales) == 1 else add("Gather", factors, place))


def quantize(weights: np.ndarray, axis: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Weights [N, D] as uint8 around `QUANTIZED_ZERO`, and their scales: [N, 1], or with `axis=0`
    [1, D].

    Unsigned, because products of uint8 with int8 saturate on processors without VNNI.
    """
    scales = np.maximum(np.abs(weights).max(axis, keepdims=True), 1e-12) / 127
    return (np.rint(weights / scales) + QUANTIZED_ZERO).astype(np.uint8), scales.astype(np.float32)


def restored(quantized: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The weights that `quantize` rounded."""
    return (quantized.astype(np.float32) - QUANTIZED_ZERO) * scales


def _num_weights(trace: Trace) -> int:
    """The numbers of all constants."""
    found = {id(node): node.value.size for node in trace.nodes() if node.is_constant}
    return sum(found.values())


def _log1p(graph: Graph, inputs: list[str], attributes: dict) -> str:
    one = graph.constants.add(np.array(1, np.float32))
    return graph.add("Log", graph.add("Add", *inputs, one))


def _slice(graph: Graph, inputs: list[str], attributes: dict) -> str:
    places = [graph.constants.integers(attributes[name]) for name in ("begin", "end", "axis")]
    return graph.add("Slice", *inputs, *places)


def _reshape(graph: Graph, inputs: list[str], attributes: dict) -> str:
    return graph.add("Reshape", *inputs, graph.constants.integers(*attributes["shape"]))


def _concatenate(graph: Graph, inputs: list[str], attributes: dict) -> str:
    return graph.add("Concat", *inputs, axis=attributes["axis"])


def _sum(graph: Graph, inputs: list[str], attributes: dict) -> str:
    axes = graph.constants.integers(attributes["axis"])
    return graph.add("ReduceSum", *inputs, axes, keepdims=1)


def _cast(graph: Graph, inputs: list[str], attributes: dict) -> str:
    return graph.add("Cast", *inputs, to=_TYPES[attributes["dtype"]])


_OTHERS: dict[str, Callable[[Graph, list[str], dict], str]] = {
    "log1p": _log1p,
    "slice": _slice,
    "reshape": _reshape,
    "concatenate": _concatenate,
    "sum": _sum,
    "cast": _cast,
}


def _value(name: str, value: np.ndarray, *axes: str) -> onnx.ValueInfoProto:
    """The type of an input or output: as `value`, with symbols for the batch and the `axes` that
    follow it."""
    shape = ["batch", *axes, *value.shape[1 + len(axes) :]]
    return helper.make_tensor_value_info(name, _TYPES[value.dtype.name], shape)


def stepwise(trace: Trace, quantization: str) -> onnx.ModelProto:
    """A model that scans the tokens with its step."""
    constants = Constants()
    body, outer = Graph(constants), Graph(constants)
    logits, *new_state = _Step(body, quantization == "int8").write(trace)
    # The outputs of a body must be results of its nodes, each under one name.
    ends = [f"{_BEFORE}result_{i}" for i in range(len(new_state) + 1)]
    for name, end in zip([*new_state, logits], ends, strict=True):
        body.named("Identity", [name], end)
    results = zip(ends, [*trace.new_state, trace.logits], strict=True)
    before = [_value(f"{_BEFORE}{t.name}", t.value) for t in (*trace.state, trace.ids)]
    outer.nodes.append(
        helper.make_node(
            "Scan",
            [*(t.name for t in trace.state), "ids"],
            [*(f"next_{t.name}" for t in trace.state), "logits"],
            body=helper.make_graph(
                body.nodes, "step", before, [_value(end, t.value) for end, t in results]
            ),
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        )
    )
    return _model(outer, trace)


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
    return _model(graph, trace)


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


def _model(graph: Graph, trace: Trace) -> onnx.ModelProto:
    """The whole model of a graph from `ids` and the state to logits and the next state."""
    ids, logits = trace.ids.value[:, None], trace.logits.value[:, None]
    made = helper.make_graph(
        graph.nodes,
        "language_model",
        [_value("ids", ids, "time"), *(_value(t.name, t.value) for t in trace.state)],
        [
            _value("logits", logits, "time"),
            *(_value(f"next_{t.name}", t.value) for t in trace.state),
        ],
        list(graph.constants.tensors.values()),
    )
    model = helper.make_model(
        made,
        producer_name="shakespeare_gen",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    return model
