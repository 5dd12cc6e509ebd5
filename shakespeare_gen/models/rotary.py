"""Rotary positions (Su et al. 2021, arXiv 2104.09864), exact in texts of any length.

A pair of elements i of a query or key at position p is rotated by the angle p f(i), so that their
product depends on the distance of the positions. Frequencies are integers in units of
1 / `NUM_ANGLES` turn, about those of the paper. Angles are computed in integers modulo one turn,
and so they are exact at any position. They repeat after `NUM_ANGLES` positions: a position of
2 * `NUM_ANGLES` is replaced by that of one period before, so that float32, the type of the arrays
of a state, holds it exactly. Smaller positions also tell how much of a context is filled.

Integer constants stay exact where an export stores those of float32 in half precision; the other
constants have no smaller one than half precision has.

Shapes: S width of a head.
"""

import functools
from typing import Any

import numpy as np

from shakespeare_gen.models.cells import split

NUM_ANGLES = 2**23
BASE = 10_000.0


@functools.lru_cache(maxsize=64)
def frequencies(head_size: int) -> np.ndarray:
    """Angles per position, in units of 1 / `NUM_ANGLES` turn: int32 [S / 2]."""
    radians = BASE ** (-np.arange(0, head_size, 2) / head_size)
    return np.rint(radians / (2 * np.pi) * NUM_ANGLES).astype(np.int32)


def rotation(xp, positions, head_size: int) -> tuple[Any, Any]:
    """Cosines and sines for whole positions [B, T]: float32 [B, T, S / 2]."""
    whole = xp.asarray(positions, xp.int32)[..., None]
    # A product beyond int32 wraps around at a multiple of a turn.
    turned = (whole * frequencies(head_size)) % np.int32(NUM_ANGLES)
    turns = xp.asarray(turned, xp.float32) * np.float32(1 / NUM_ANGLES)  # exact
    angles = turns * np.float32(2 * np.pi)
    return xp.cos(angles), xp.sin(angles)


def rotated(xp, x, cosine, sine):
    """x [..., S] rotated; pair i consists of the elements i and i + S / 2."""
    a, b = split(xp, x, 2)
    return xp.concatenate([a * cosine - b * sine, a * sine + b * cosine], -1)


def advanced(xp, positions, num_positions):
    """The positions after `num_positions` more, an integer or integers: exact, in float32."""
    whole = xp.asarray(positions, xp.int32)
    is_last = whole >= np.int32(2 * NUM_ANGLES) - num_positions
    later = xp.where(is_last, whole - np.int32(NUM_ANGLES), whole) + num_positions
    return xp.asarray(later, xp.float32)
