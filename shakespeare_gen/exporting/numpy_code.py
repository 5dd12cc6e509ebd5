"""Recorded operations as Python code that computes them with NumPy.

A value that is used once stands where it is used, if the line stays short; others have a name.
Knows nothing about files.

    code = Code(trace.outputs)
    code.lines      # ["tanh_1 = np.tanh(w['layers/lstm_1/table'][ids] + ...", ...]
    code.outputs    # the expressions of the outputs
    code.constants  # the arrays that they use as `w[name]`
"""

from collections.abc import Callable, Sequence

import numpy as np

from shakespeare_gen.exporting.recording import Tensor
from shakespeare_gen.exporting.tracing import collected, num_uses

MAX_INLINE = 60  # characters of a value that stands where it is used
MAX_NUMBERS = 32  # of a constant that is written out
MAX_RUNS = 4  # of equal numbers in a constant that is written as their lengths

# How tightly the operators bind.
_BINARY = {
    "less": ("<", 1),
    "less_equal": ("<=", 1),
    "greater_equal": (">=", 1),
    "equal": ("==", 1),
    "add": ("+", 2),
    "subtract": ("-", 2),
    "multiply": ("*", 3),
    "divide": ("/", 3),
    "mod": ("%", 3),
    "matmul": ("@", 3),
}
_UNARY, _ATOM = 4, 5
_FUNCTIONS = ("tanh", "exp", "log", "log1p", "sqrt", "abs", "cos", "sin", "where", "maximum")
_REDUCTIONS = ("sum", "mean", "max")


class Code:
    """The code of `outputs`.

    Args:
      input_form: how an input is written, with its name at `{}`.

    Attributes:
      lines: assignments.
      outputs: the expression of each output.
      constants: the arrays that the lines use as `w[name]`.
    """

    def __init__(self, outputs: Sequence[Tensor], input_form: str = "{}") -> None:
        self.lines: list[str] = []
        self.constants: dict[str, np.ndarray] = {}
        self._input_form = input_form
        self._uses, self._numbers = num_uses(outputs), dict[str, int]()
        self._expressions: dict[int, tuple[str, int]] = {}
        for node in collected(outputs):
            self._expressions[id(node)] = self._kept(node, *self._expression(node))
        self.outputs = [self._text(node) for node in outputs]

    def _kept(self, node: Tensor, text: str, binding: int) -> tuple[str, int]:
        is_short = len(text) <= MAX_INLINE and self._uses[id(node)] == 1
        if node.operation in ("input", "constant") or is_short:
            return text, binding
        number = self._numbers[node.operation] = self._numbers.get(node.operation, 0) + 1
        name = f"{node.operation}_{number}"
        self.lines.append(f"{name} = {text}")
        return name, _ATOM

    def _text(self, node: Tensor, binding: int = 0) -> str:
        """An expression, in parentheses if it binds less tightly than its place."""
        text, own = self._expressions[id(node)]
        return text if own >= binding else f"({text})"

    def _expression(self, node: Tensor) -> tuple[str, int]:
        """The expression of a tensor, and how tightly it binds."""
        operation, inputs = node.operation, node.inputs
        if operation == "input":
            return self._input_form.format(node.name), _ATOM
        if operation == "constant":
            return self._constant(node), _ATOM
        if operation in _BINARY:
            sign, binding = _BINARY[operation]
            left, right = inputs
            return f"{self._text(left, binding)} {sign} {self._text(right, binding + 1)}", binding
        if operation in _FUNCTIONS:
            return f"np.{operation}({', '.join(map(self._text, inputs))})", _ATOM
        if operation in _REDUCTIONS:
            axis = node.attributes["axis"]
            return f"{self._text(inputs[0], _ATOM)}.{operation}({axis}, keepdims=True)", _ATOM
        return _OTHERS[operation](self, node)

    def _constant(self, node: Tensor) -> str:
        if not node.name and (text := _written(node.value)):
            return text
        name = node.name or f"constants/{len(self.constants)}"
        self.constants[name] = node.value
        return f'w["{name}"]'


def _written(value: np.ndarray) -> str:
    """A constant as Python code; "" if that would be long."""
    if not value.shape:
        return _number(value)
    flat, dtype = value.reshape(-1), f"np.{value.dtype.name}"
    if value.ndim == 1 and np.array_equal(flat, np.arange(len(flat))):
        return f"np.arange({len(flat)}, dtype={dtype})"
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] + 1))
    if len(starts) <= min(MAX_RUNS, len(flat) // 2):
        numbers, lengths = flat[starts].tolist(), np.diff(starts, append=len(flat)).tolist()
        text = f"np.repeat(np.array({numbers}, {dtype}), {lengths})"
    elif len(flat) <= MAX_NUMBERS:
        text = f"np.array({flat.tolist()}, {dtype})"
    else:
        return ""
    return text if value.ndim == 1 else f"{text}.reshape({', '.join(map(str, value.shape))})"


def _number(value: np.ndarray) -> str:
    """A number as Python code; integers and floats take the type of the other operand."""
    if value.dtype.kind == "f" and not np.isfinite(value):
        return "-np.inf" if value < 0 else "np.inf"
    return repr(value.item()) if value.dtype.kind != "f" else _shortest(value)


def _shortest(value: np.ndarray) -> str:
    text = np.format_float_positional(value[()], unique=True, trim="0")  # type: ignore[arg-type]
    return text if len(text) <= 16 else repr(float(value))


def _product(code: Code, node: Tensor) -> tuple[str, int]:
    x, weights = node.inputs
    return f"{code._text(x, 3)} @ {code._text(weights, _ATOM)}.T", 3


def _take(code: Code, node: Tensor) -> tuple[str, int]:
    table, ids = node.inputs
    return f"{code._text(table, _ATOM)}[{code._text(ids)}]", _ATOM


def _slice(code: Code, node: Tensor) -> tuple[str, int]:
    [x], axis = node.inputs, node.attributes["axis"]
    begin, end = node.attributes["begin"], node.attributes["end"]
    first = "" if begin == 0 else str(begin)
    last = "" if end == x.shape[axis] else str(end)
    return f"{code._text(x, _ATOM)}[{':, ' * axis}{first}:{last}]", _ATOM


def _reshape(code: Code, node: Tensor) -> tuple[str, int]:
    shape = ", ".join(map(str, node.attributes["shape"]))
    return f"{code._text(node.inputs[0], _ATOM)}.reshape({shape})", _ATOM


def _concatenate(code: Code, node: Tensor) -> tuple[str, int]:
    parts = ", ".join(map(code._text, node.inputs))
    return f"np.concatenate([{parts}], {node.attributes['axis']})", _ATOM


def _cast(code: Code, node: Tensor) -> tuple[str, int]:
    return f"{code._text(node.inputs[0], _ATOM)}.astype(np.{node.attributes['dtype']})", _ATOM


def _negative(code: Code, node: Tensor) -> tuple[str, int]:
    return f"-{code._text(node.inputs[0], _UNARY)}", _UNARY


def _transpose(code: Code, node: Tensor) -> tuple[str, int]:
    return f"{code._text(node.inputs[0], _ATOM)}.T", _ATOM


_OTHERS: dict[str, Callable[[Code, Tensor], tuple[str, int]]] = {
    "product": _product,
    "take": _take,
    "slice": _slice,
    "reshape": _reshape,
    "concatenate": _concatenate,
    "cast": _cast,
    "negative": _negative,
    "transpose": _transpose,
}
