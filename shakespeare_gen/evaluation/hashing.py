"""Hashes of arrays of integers. Knows nothing about what they stand for."""

import numpy as np


def mixed(x: np.ndarray) -> np.ndarray:
    """uint64 -> uint64, a bijection with good avalanche (splitmix64; Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
