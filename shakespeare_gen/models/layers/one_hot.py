"""Layers that read ids instead of one-hot vectors: a lookup replaces the product with the kernel.

The product of a one-hot vector and a matrix is a row of the matrix, so that neither the vectors nor
the product are computed. Knows nothing about cells. B batch, T time, V vocabulary size.
"""

from typing import Any

import tensorflow as tf


class OneHotInput:
    """Mixin for a Keras RNN layer.

    Args:
      one_hot_size: V, the layer reads ids, integers [B, T, 1], each of which stands for a one-hot
        vector of V numbers; 0: the layer reads vectors.
    """

    # Attributes of the Keras layer that is next in the method resolution order.
    compute_dtype: str

    def __init__(self, *args, one_hot_size: int = 0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.one_hot_size = one_hot_size

    def get_config(self) -> dict:
        """The configuration of the Keras layer, with `one_hot_size` unless it is 0."""
        chosen = {"one_hot_size": self.one_hot_size} if self.one_hot_size else {}
        return {**super().get_config(), **chosen}  # type: ignore[misc]

    def build(self, sequences_shape, initial_state_shape=None) -> None:
        """Builds the weights for vectors of `one_hot_size` numbers, or as wide as the input."""
        width = self.one_hot_size or sequences_shape[-1]
        super().build(  # type: ignore[misc]
            (*sequences_shape[:2], width), initial_state_shape
        )

    def vectors(self, sequences):
        """The input as vectors [B, T, D], for code that knows no ids."""
        if not self.one_hot_size:
            return sequences
        return tf.one_hot(sequences[..., 0], self.one_hot_size, dtype=self.compute_dtype)


def projected(ids, kernel: Any, bias: Any):
    """The rows of `kernel` plus `bias`: ids [B, T, 1] -> [T, B, G U], at least float32.

    The cast comes before the sum: in bfloat16, the gradient of a bias would lose small terms.
    """
    # As float32, which is exact for the ids of any vocabulary: without AVX-512, oneDNN reports an
    # error when it transposes integers.
    ids = tf.transpose(tf.cast(ids[..., 0], tf.float32))
    rows = tf.gather(tf.convert_to_tensor(kernel), tf.cast(ids, tf.int32))
    wide = tf.float32 if rows.dtype.size < 4 else rows.dtype
    return tf.cast(rows, wide) + tf.cast(tf.convert_to_tensor(bias), wide)
