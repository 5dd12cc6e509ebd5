"""A recorded step as an ONNX graph, for any model: a Scan over the tokens.

    model = stepwise(subject.trace(), "int8")

Knows nothing about files.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from shakespeare_gen.exporting.onnx_graph import TYPES, Constants, Graph, finished, value_info
from shakespeare_gen.exporting.recording import Tensor
from shakespeare_gen.exporting.tracing import Trace

MIN_QUANTIZED = 1024  # numbers of a weight that is stored in int8
# Rounding the output layer costs the most; of a small vocabulary, it is little of a file.
MAX_HALF_SHARE = 1 / 16
QUANTIZED_ZERO = 128
_BEFORE = "step_"  # of the inputs of a step, which need other names than those of the model
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
_REDUCTIONS = {"mean": "ReduceMean", "max": "ReduceMax"}


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
    return graph.add("Cast", *inputs, to=TYPES[attributes["dtype"]])


_OTHERS: dict[str, Callable[[Graph, list[str], dict], str]] = {
    "log1p": _log1p,
    "slice": _slice,
    "reshape": _reshape,
    "concatenate": _concatenate,
    "sum": _sum,
    "cast": _cast,
}


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
    before = [value_info(f"{_BEFORE}{t.name}", t.value) for t in (*trace.state, trace.ids)]
    outer.nodes.append(
        helper.make_node(
            "Scan",
            [*(t.name for t in trace.state), "ids"],
            [*(f"next_{t.name}" for t in trace.state), "logits"],
            body=helper.make_graph(
                body.nodes, "step", before, [value_info(end, t.value) for end, t in results]
            ),
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        )
    )
    return finished(outer, trace)
