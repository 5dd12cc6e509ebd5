"""A recorded step as Python code that computes it with NumPy.

A value that is used once stands where it is used, if the line stays short; others have a name.
Knows nothing about files.

    code = Code(trace, {"layers/lstm_1/table": table})
    code.lines      # ["tanh_1 = np.tanh(w['layers/lstm_1/table'][ids] + ...", ...]
    code.constants  # the arrays that they use, by name
"""

from collections.abc import Callable

import numpy as np

from shakespeare_gen.exporting.tracing import Tensor, Trace

MAX_INLINE = 60  # characters of a value that stands where it is used
MAX_NUMBERS = 1  # of a constant that is written out

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
    """The lines of a step, from `ids` and the state by name to `logits` and the new state.

    Attributes:
      lines: assignments.
      logits: the expression of the logits.
      new_state: that of each array of the state.
      constants: the arrays that the lines use as `w[name]`.
    """

    def __init__(self, trace: Trace) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, np.ndarray] = {}
        self._uses, self._numbers = trace.num_uses(), dict[str, int]()
        self._expressions: dict[int, tuple[str, int]] = {}
        for node in trace.nodes():
            self._expressions[id(node)] = self._kept(node, *self._expression(node))
        self.logits = self._text(trace.logits)
        self.new_state = [self._text(node) for node in trace.new_state]

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
            return node.name, _ATOM
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
        value = node.value
        if value.size <= MAX_NUMBERS and not value.shape:
            return _number(value)
        name = node.name or self._name_of(value)
        self.constants[name] = value
        return f"w[{name!r}]"

    def _name_of(self, value: np.ndarray) -> str:
        """The name of a constant without one; equal ones have the same."""
        for name, known in self.constants.items():
            if known.dtype == value.dtype and np.array_equal(known, value):
                return name
        return f"constants/{len(self.constants)}"


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


_OTHERS: dict[str, Callable[[Code, Tensor], tuple[str, int]]] = {
    "product": _product,
    "take": _take,
    "slice": _slice,
    "reshape": _reshape,
    "concatenate": _concatenate,
    "cast": _cast,
    "negative": _negative,
}
