"""Named arrays as safetensors bytes, checked before any of them is read.

The header of a file must name exactly the tensors that are expected, with their
types, shapes and places, and the data must fill the file. Knows no model.

    data = encode({"logits/bias": bias})
    decode(data, {"logits/bias": ("float32", (65,))}, "weights.safetensors")
"""

import math
from collections.abc import Mapping

import numpy as np
import safetensors.numpy

from shakespeare_gen.system import storage
from shakespeare_gen.errors import UserError

_CODES = {"float32": "F32", "int32": "I32", "int64": "I64", "uint32": "U32"}
_HEADER_BYTES_PER_TENSOR = 512

Kinds = Mapping[str, tuple[str, tuple[int, ...]]]


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The safetensors file of `arrays`, of type float32, int32, int64 or uint32."""
    return safetensors.numpy.save({name: np.asarray(a, order="C") for name, a in arrays.items()})


def max_bytes(kinds: Kinds) -> int:
    """The largest file that tensors of these types and shapes can make."""
    data = sum(_num_bytes(kind) for kind in kinds.values())
    return 8 + _HEADER_BYTES_PER_TENSOR * (len(kinds) + 1) + data


def decode(data: bytes, kinds: Kinds, name: str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file.

    Args:
      kinds: type and shape of every tensor that must be there, by name.
      name: the file, for messages.

    Raises:
      UserError: it holds anything else.
    """
    header_size = int.from_bytes(data[:8], "little")
    limit = _HEADER_BYTES_PER_TENSOR * (len(kinds) + 1)
    if header_size > min(len(data) - 8, limit):
        raise UserError(
            f"{name}: expected a safetensors header, found one of {header_size:,} bytes"
        )
    try:
        header = storage.parse_json(data[8 : 8 + header_size])
    except ValueError as error:
        raise UserError(f"{name}: expected a safetensors header, found {error}") from None
    _check_header(header, kinds, len(data) - 8 - header_size, name)
    try:
        return safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise UserError(f"{name}: expected a safetensors file, found {error}") from None


def _check_header(header: dict, kinds: Kinds, data_size: int, name: str) -> None:
    if different := sorted(set(header) ^ set(kinds)):
        found = "missing" if different[0] in kinds else "there"
        raise UserError(
            f"{name}: expected {len(kinds)} tensors, found {len(header)}; "
            f"{different[0][:80]!r} is {found}"
        )
    places = []
    for tensor, (dtype, shape) in kinds.items():
        expected = {"dtype": _CODES[dtype], "shape": list(shape)}
        entry = header[tensor] if isinstance(header[tensor], dict) else {}
        rest = {key: value for key, value in sorted(entry.items()) if key != "data_offsets"}
        # As text, for in Python 31.0 and 31, or True and 1, are equal.
        if repr(rest) != repr(expected):
            raise UserError(
                f"{name}: expected tensor {tensor} to be {expected}, "
                f"found {str(header[tensor])[:200]}"
            )
        places.append((entry.get("data_offsets"), _num_bytes((dtype, shape))))
    if not _fill(places, data_size):
        raise UserError(f"{name}: expected tensors that fill the {data_size:,} bytes of data")


def _fill(places: list, data_size: int) -> bool:
    """Whether the tensors lie side by side, each of its size, from 0 to `data_size`."""
    for place, _ in places:
        if not (isinstance(place, list) and list(map(type, place)) == [int, int]):
            return False
    end = 0
    for (begin, stop), size in sorted(places):
        if begin != end or stop - begin != size:
            return False
        end = stop
    return end == data_size


def _num_bytes(kind: tuple[str, tuple[int, ...]]) -> int:
    dtype, shape = kind
    return math.prod(shape) * np.dtype(dtype).itemsize
