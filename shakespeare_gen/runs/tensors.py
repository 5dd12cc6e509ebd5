"""Named arrays as safetensors bytes, verified before use.

The header of a file must list exactly the expected tensors, with their types, shapes and offsets;
the data must fill the file and be finite. A range in a shape allows any length in it. A tensor that
is expected as float32 may be stored as bfloat16. Knows nothing about models.

    data = encode({"logits/bias": bias})
    decode(data, {"logits/bias": ("float32", (65,))}, "weights.safetensors")
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from shakespeare_gen.errors import UserError
from shakespeare_gen.models.specs import Shape, max_shape
from shakespeare_gen.system import storage

_CODES = {"float32": "F32", "int32": "I32", "int64": "I64", "uint32": "U32", "uint64": "U64"}
_BFLOAT16 = "BF16"
_HEADER_BYTES_PER_TENSOR = 512

Kinds = Mapping[str, tuple[str, Shape]]


def encode(arrays: Mapping[str, np.ndarray], in_bfloat16: bool = False) -> bytes:
    """The safetensors file of `arrays`, of type float32, int32, int64, uint32 or uint64.

    Args:
      in_bfloat16: store float32 rounded to bfloat16, the nearest one, which halves the size.
    """
    found = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    if in_bfloat16:
        from ml_dtypes import bfloat16

        found = {n: a.astype(bfloat16) if a.dtype == np.float32 else a for n, a in found.items()}
    return safetensors.numpy.save(found)


def max_bytes(kinds: Kinds) -> int:
    """The maximum size of a file with tensors of these types and shapes."""
    data = sum(_num_bytes(dtype, max_shape(shape)) for dtype, shape in kinds.values())
    return 8 + _HEADER_BYTES_PER_TENSOR * (len(kinds) + 1) + data


def decode(data: bytes, kinds: Kinds, name: str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file.

    Args:
      kinds: type and shape of every expected tensor, by name.
      name: the file, for messages.

    Raises:
      UserError: the file contains anything else, or a number that is NaN or infinite.
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
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise UserError(f"{name}: expected a safetensors file, found {error}") from None
    arrays = {tensor: _array(entry) for tensor, entry in entries}
    for tensor, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{name}: expected finite numbers, found NaN or infinity in {tensor}")
    return arrays


def _array(entry: dict[str, Any]) -> np.ndarray:
    """A tensor as an array; bfloat16 as float32, which represents it exactly."""
    code = entry["dtype"]
    if code == _BFLOAT16:
        from ml_dtypes import bfloat16

        found = np.frombuffer(entry["data"], bfloat16).astype(np.float32)
    else:
        [dtype] = [name for name, known in _CODES.items() if known == code]
        found = np.frombuffer(entry["data"], dtype)
    return found.reshape(entry["shape"])


def _check_header(header: dict, kinds: Kinds, data_size: int, name: str) -> None:
    if different := sorted(set(header) ^ set(kinds)):
        found = "missing" if different[0] in kinds else "unexpected"
        raise UserError(
            f"{name}: expected {len(kinds)} tensors, found {len(header)}; "
            f"{different[0][:80]!r} is {found}"
        )
    places = []
    for tensor, (dtype, shape) in kinds.items():
        entry = header[tensor] if isinstance(header[tensor], dict) else {}
        # A length that may vary is expected to be as it is, unless it is out of its range.
        expected_shape = _fitting(entry.get("shape"), shape) or shape
        is_narrow = dtype == "float32" and entry.get("dtype") == _BFLOAT16
        expected = {
            "dtype": _BFLOAT16 if is_narrow else _CODES[dtype],
            "shape": list(expected_shape),
        }
        rest = {key: value for key, value in sorted(entry.items()) if key != "data_offsets"}
        # Compared as text, because in Python 31.0 == 31 and True == 1.
        if repr(rest) != repr(expected):
            raise UserError(
                f"{name}: expected tensor {tensor} to be {expected}, "
                f"found {str(header[tensor])[:200]}"
            )
        size = _num_bytes(dtype, max_shape(expected_shape)) // (2 if is_narrow else 1)
        places.append((entry.get("data_offsets"), size))
    if not _fill(places, data_size):
        raise UserError(f"{name}: expected tensors that fill the {data_size:,} bytes of data")


def _fill(places: list, data_size: int) -> bool:
    """Whether the tensors fill the bytes from 0 to `data_size` without gaps or overlaps."""
    for place, _ in places:
        if not (isinstance(place, list) and list(map(type, place)) == [int, int]):
            return False
    end = 0
    for (begin, stop), size in sorted(places):
        if begin != end or stop - begin != size:
            return False
        end = stop
    return end == data_size


def _fitting(found: Any, shape: Shape) -> Shape | None:
    """The shape of a tensor if it has the lengths that `shape` allows; None otherwise."""
    if not isinstance(found, list) or len(found) != len(shape):
        return None
    allowed = [length if isinstance(length, range) else (length,) for length in shape]
    pairs = zip(found, allowed, strict=True)
    return tuple(found) if all(type(n) is int and n in lengths for n, lengths in pairs) else None


def _num_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
