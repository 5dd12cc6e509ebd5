"""Weights of a file: matrices in int8 with a scale for each row, everything else in float32.

A matrix is stored with a row for each output, so that the scale is a factor of the output of a
product. Knows nothing about pages.

    packed = quantization.packed(weights)
    packed.weights["logits/kernel"]     # what the file computes with, in float32
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

_LARGEST = 127
_ALIGNMENT = 4  # of float32 in the data


@dataclasses.dataclass(frozen=True)
class Packed:
    """Weights as they are stored.

    Attributes:
      index: by the name of a weight, its shape and places in the data, in bytes.
      weights: by name, float32, as they are after rounding.
    """

    index: dict[str, dict[str, Any]]
    data: bytes
    weights: dict[str, np.ndarray]


def packed(weights: Mapping[str, np.ndarray]) -> Packed:
    """Rounds and packs weights; the matrices of products and embeddings become int8."""
    index: dict[str, dict[str, Any]] = {}
    data, rounded = bytearray(), dict[str, np.ndarray]()

    def put(array: np.ndarray) -> int:
        data.extend(bytes(-len(data) % _ALIGNMENT))
        offset = len(data)
        data.extend(np.ascontiguousarray(array).tobytes())
        return offset

    for name, weight in weights.items():
        weight = np.asarray(weight, np.float32)
        if not name.endswith(("kernel", "embeddings")):
            index[name], rounded[name] = {"shape": weight.shape, "offset": put(weight)}, weight
            continue
        is_transposed = name.endswith("kernel")
        values, scales = quantized(weight.T if is_transposed else weight)
        places = {"offset": put(values), "scales": put(scales)}
        index[name] = {"shape": values.shape, **places}
        found = values * scales[:, None]
        rounded[name] = found.T if is_transposed else found
    return Packed(index, bytes(data), rounded)


def quantized(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values [N, K] and float32 scales [N] for the rows of a matrix [N, K]."""
    largest = np.abs(matrix).max(axis=1)
    scales = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales
