"""Weights of a page: matrices in int8 with a scale for each row, everything else in float32.

A matrix is stored with a row for each output, so that the scale is a factor of the output of a
product. Knows nothing about pages and models.

    packed = quantization.packed(weights)
    quantization.unpacked(packed.index, packed.data)    # float32, as a page computes with them
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

LARGEST = 127
_ALIGNMENT = 4  # of float32 in the data

Index = dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Packed:
    """Weights as they are stored.

    Attributes:
      index: by the name of a weight, its `shape` and `offset` in the data, in bytes; for an int8
        matrix also the offset of its `scales`.
    """

    index: Index
    data: bytes


def packed(weights: Mapping[str, np.ndarray]) -> Packed:
    """Rounds and packs weights; the matrices of products and embeddings become int8."""
    index: Index = {}
    data = bytearray()

    def put(array: np.ndarray) -> int:
        data.extend(bytes(-len(data) % _ALIGNMENT))
        offset = len(data)
        data.extend(np.ascontiguousarray(array).tobytes())
        return offset

    for name, weight in weights.items():
        array = np.asarray(weight, np.float32)
        if _is_rounded(name):
            values, scales = quantized(_rows(name, array))
            places = {"offset": put(values), "scales": put(scales)}
            index[name] = {"shape": list(values.shape), **places}
        else:
            index[name] = {"shape": list(array.shape), "offset": put(array)}
    return Packed(index, bytes(data))


def unpacked(index: Index, data: bytes) -> dict[str, np.ndarray]:
    """The weights by name in float32, with the shapes of the model."""

    def array(dtype: str, offset: int, shape: list[int]) -> np.ndarray:
        return np.frombuffer(data, dtype, int(np.prod(shape)), offset).reshape(shape)

    found = {}
    for name, place in index.items():
        shape = place["shape"]
        if "scales" in place:
            scales = array("<f4", place["scales"], shape[:1])
            values = array("i1", place["offset"], shape)
            found[name] = _rows(name, values * scales[:, None])
        else:
            found[name] = array("<f4", place["offset"], shape)
    return found


def moved(index: Index, begin: int) -> Index:
    """The index of data that follows other data of `begin` bytes."""
    return {
        name: {key: place if key == "shape" else place + begin for key, place in places.items()}
        for name, places in index.items()
    }


def quantized(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values [N, K] and float32 scales [N] for the rows of a matrix [N, K]."""
    largest = np.abs(matrix).max(axis=1)
    scales = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def _is_rounded(name: str) -> bool:
    return name.endswith(("kernel", "embeddings"))


def _rows(name: str, matrix: np.ndarray) -> np.ndarray:
    """A matrix with a row for each output; and back. An embedding has one for each id."""
    return matrix.T if name.endswith("kernel") else matrix
