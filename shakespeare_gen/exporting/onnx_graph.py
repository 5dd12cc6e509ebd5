"""Builds ONNX graphs: nodes, constants, and the model around them.

Inputs of a model are `ids`, int32 [batch, time], and the arrays of the state by name; outputs are
`logits`, float32 [batch, time, V], and the arrays `next_NAME` of the state. Knows nothing about
what a graph computes; see `onnx_step` and `onnx_layers`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shakespeare_gen.exporting.tracing import Trace

OPSET, IR_VERSION = 17, 8
TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}


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


def value_info(name: str, value: np.ndarray, *axes: str) -> onnx.ValueInfoProto:
    """The type of an input or output: as `value`, with symbols for the batch and the `axes` that
    follow it."""
    shape = ["batch", *axes, *value.shape[1 + len(axes) :]]
    return helper.make_tensor_value_info(name, TYPES[value.dtype.name], shape)


def finished(graph: Graph, trace: Trace) -> onnx.ModelProto:
    """The whole model of a graph from `ids` and the state to logits and the next state."""
    ids, logits = trace.ids.value[:, None], trace.logits.value[:, None]
    made = helper.make_graph(
        graph.nodes,
        "language_model",
        [value_info("ids", ids, "time"), *(value_info(t.name, t.value) for t in trace.state)],
        [
            value_info("logits", logits, "time"),
            *(value_info(f"next_{t.name}", t.value) for t in trace.state),
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
