"""An array namespace that computes in NumPy and records the operations.

Every result is a `Tensor` with its value and the operation that it comes from; what depends on
weights only is a constant. Knows nothing about models; see `tracing`.

    x = Tensor(np.ones([3, 4], np.float32), "input", name="x")
    Namespace().tanh(x).operation    # "tanh"
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from shakespeare_gen.errors import UserError


def _slice(x, axis: int, begin: int, end: int):
    return x[(slice(None),) * axis + (slice(begin, end),)]


def _product(x, transposed):
    return x @ transposed.T


# What each operation computes, in NumPy. Writers cover all of them.
OPERATIONS: dict[str, Callable] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "mod": np.mod,
    "maximum": np.maximum,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "negative": np.negative,
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "cos": np.cos,
    "sin": np.sin,
    "where": np.where,
    "matmul": np.matmul,
    "product": _product,  # x [B, D], weights [N, D] -> [B, N]
    "take": lambda table, ids: np.take(table, ids, axis=0),
    "slice": _slice,
    "reshape": lambda x, shape: np.reshape(x, shape),  # the batch is -1
    "concatenate": lambda *parts, axis: np.concatenate(parts, axis),
    "sum": lambda x, axis: np.sum(x, axis, keepdims=True),
    "mean": lambda x, axis: np.mean(x, axis, keepdims=True),
    "max": lambda x, axis: np.max(x, axis, keepdims=True),
    "cast": lambda x, dtype: x.astype(dtype),
    "transpose": np.transpose,
}


class Tensor:
    """A recorded array.

    Attributes:
      value: the array itself, of a batch of `BATCH_SIZE` rows.
      operation: a key of `OPERATIONS`; `input`, or `constant`.
      inputs, attributes: its arguments.
      name: of an input and a named constant; otherwise empty.
    """

    __array_ufunc__ = None  # so that NumPy leaves a sum with an array to this class

    def __init__(
        self,
        value: Any,
        operation: str,
        inputs: "Sequence[Tensor]" = (),
        attributes: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> None:
        self.value, self.operation, self.name = np.asarray(value), operation, name
        self.inputs, self.attributes = tuple(inputs), dict(attributes or {})

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        """The data type of the value."""
        return self.value.dtype

    @property
    def is_constant(self) -> bool:
        """Whether it depends on weights only."""
        return self.operation == "constant"

    def __add__(self, other):
        return record("add", self, other)

    def __radd__(self, other):
        return record("add", other, self)

    def __sub__(self, other):
        return record("subtract", self, other)

    def __rsub__(self, other):
        return record("subtract", other, self)

    def __mul__(self, other):
        return record("multiply", self, other)

    def __rmul__(self, other):
        return record("multiply", other, self)

    def __truediv__(self, other):
        return record("divide", self, other)

    def __rtruediv__(self, other):
        return record("divide", other, self)

    def __mod__(self, other):
        return record("mod", self, other)

    def __neg__(self):
        return record("negative", self)

    def __lt__(self, other):
        return record("less", self, other)

    def __le__(self, other):
        return record("less_equal", self, other)

    def __ge__(self, other):
        return record("greater_equal", self, other)

    def __eq__(self, other):
        return record("equal", self, other)

    __hash__ = object.__hash__

    def __getitem__(self, index):
        items = _without_ellipsis(index if isinstance(index, tuple) else (index,), len(self.shape))
        found, axis, shape = self, 0, list[int]()
        for item in items:
            if item is None:
                shape.append(1)
                continue
            size = found.shape[axis]
            is_single = not isinstance(item, slice)
            begin, end, _ = (slice(item, item + 1) if is_single else item).indices(size)
            if (begin, end) != (0, size):
                found = record("slice", found, axis=axis, begin=begin, end=end)
            shape += [] if is_single else [end - begin]
            axis += 1
        return found if list(found.shape) == shape else _reshaped(found, shape)


def _without_ellipsis(items: tuple, rank: int) -> list:
    """The items of an index, one per axis, and None for a new one."""
    kept = [item for item in items if item is not Ellipsis]
    place = next((i for i, item in enumerate(items) if item is Ellipsis), len(kept))
    missing = rank - sum(item is not None for item in kept)
    return [*kept[:place], *[slice(None)] * missing, *kept[place:]]


def record(operation: str, *inputs: Any, **attributes: Any) -> Tensor:
    """The result of an operation; a constant if all `inputs` are."""
    tensors = [i if isinstance(i, Tensor) else Tensor(i, "constant") for i in inputs]
    tensors = _in_one_type(operation, tensors)
    value = OPERATIONS[operation](*(tensor.value for tensor in tensors), **attributes)
    if all(tensor.is_constant for tensor in tensors):
        return Tensor(value, "constant")
    return Tensor(value, operation, tensors, attributes)


def _in_one_type(operation: str, tensors: list[Tensor]) -> list[Tensor]:
    """Python numbers are double precision in NumPy; they take the type of the other operand."""
    values = tensors[1:] if operation == "where" else tensors
    kinds = {t.value.dtype for t in values if t.shape or not t.is_constant}
    if operation == "take" or len(kinds) != 1:
        return tensors
    [dtype] = kinds
    first = len(tensors) - len(values)
    return [
        Tensor(t.value.astype(dtype), "constant")
        if i >= first and not t.shape and t.is_constant and t.value.dtype != dtype
        else t
        for i, t in enumerate(tensors)
    ]


def _reshaped(x, shape: Sequence[int]):
    """`x` in another shape, with -1 for the batch."""
    sizes = list(shape)
    if not x.is_constant and -1 not in sizes:
        sizes[0] = -1
    return record("reshape", x, shape=tuple(sizes))


class Namespace:
    """The part of NumPy that steps use, for tensors."""

    float32, int32 = np.float32, np.int32

    def __getattr__(self, name: str) -> Callable:
        """The functions that are operations: `tanh`, `where` and so on."""
        if name not in OPERATIONS:
            raise UserError(
                f"expected a model whose step uses functions that can be exported, found {name}; "
                f"known: {', '.join(sorted(OPERATIONS))}"
            )
        return lambda *inputs: record(name, *inputs)

    def einsum(self, equation: str, x, transposed):
        """The product of `models.cells.product`."""
        assert equation == "bd,nd->bn", equation
        return record("product", x, transposed)

    def take(self, table, ids, axis: int = 0):
        """Rows of a table."""
        assert axis == 0
        return record("take", table, ids)

    def split(self, x, num_parts: int, axis: int = -1):
        """Equal parts of the last axis."""
        assert axis == -1
        size = x.shape[-1] // num_parts
        return [x[..., i * size : (i + 1) * size] for i in range(num_parts)]

    def reshape(self, x, shape: Sequence[int]):
        """`x` in another shape."""
        return _reshaped(x, shape)

    def squeeze(self, x, axis: int):
        """`x` without an axis of length 1."""
        assert x.shape[axis] == 1
        shape = [size for i, size in enumerate(x.shape) if i != axis % len(x.shape)]
        return _reshaped(x, shape)

    def concatenate(self, parts: Sequence, axis: int = 0):
        """Parts one after the other."""
        return record("concatenate", *parts, axis=_axis(parts[0], axis))

    def stack(self, parts: Sequence):
        """Parts on a new first axis."""
        rows = [record("reshape", x, shape=(1, -1, *x.shape[1:])) for x in parts]
        return record("concatenate", *rows, axis=0)

    def sum(self, x, axis: int, keepdims: bool = False):
        """The sum over an axis."""
        return self._reduced("sum", x, axis, keepdims)

    def mean(self, x, axis: int, keepdims: bool = False):
        """The mean over an axis."""
        return self._reduced("mean", x, axis, keepdims)

    def max(self, x, axis: int, keepdims: bool = False):
        """The maximum over an axis."""
        return self._reduced("max", x, axis, keepdims)

    def _reduced(self, operation: str, x, axis: int, keepdims: bool):
        found = record(operation, x, axis=_axis(x, axis))
        return found if keepdims else self.squeeze(found, _axis(x, axis))

    def asarray(self, x, dtype):
        """`x` in another type."""
        return record("cast", x, dtype=np.dtype(dtype).name)


def _axis(x, axis: int) -> int:
    return axis % len(x.shape)
