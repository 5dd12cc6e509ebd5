"""Shared parts of the fused kernels: their applicability, the time loop, the recorded history.

A kernel is a function of plain tensors with a hand-written gradient, which replaces the time loop
of a Keras layer. Knows nothing about the arithmetic of the cells. The history is stored in
TensorArrays: to compute a Jacobian through a kernel, wrap both in a `tf.function`.
"""

from typing import Any

import keras
import tensorflow as tf

from shakespeare_gen.models.layers import one_hot
from shakespeare_gen.options.groups.limits import KERNELS
from shakespeare_gen.system import devices

# Columns of zeros at the end of each row of gates. Without them, rows of 256 or 512 units start at
# multiples of 4,096 bytes and compete for the same few cache sets: the weight gradient of an LSTM
# of 256 units took 1.8 times as long.
PADDING = 16
_TANH = (keras.activations.tanh, keras.ops.tanh, tf.tanh)
_SIGMOID = (keras.activations.sigmoid, keras.ops.sigmoid, tf.sigmoid)


class FusedRNN(one_hot.OneHotInput):
    """Mixin for a Keras RNN layer; the subclass provides `covers`, `run_kernel` and `run_lookup`.

    Args:
      kernel: `fused` is the loop of this package, `keras` that of Keras; `auto` is `fused` on a CPU
        and `keras` (cuDNN) if TensorFlow sees a GPU.
      one_hot_size: see `one_hot.OneHotInput`.
    """

    # Attributes of the Keras layer that is next in the method resolution order.
    name: str
    dropout: float
    recurrent_dropout: float
    unroll: bool
    go_backwards: bool
    cell: Any

    def __init__(self, *args, kernel: str = "auto", **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.kernel = checked_kernel(kernel)

    def get_config(self) -> dict:
        """The configuration of the Keras layer, with `kernel` unless it is `auto`, so that a
        default configuration also loads into the Keras layer."""
        chosen = {} if self.kernel == "auto" else {"kernel": self.kernel}
        return {**super().get_config(), **chosen}

    def covers(self) -> bool:
        """Whether the kernel supports the configuration of this layer."""
        raise NotImplementedError

    def run_kernel(self, sequences, initial_state):
        """[B, T, D], state -> outputs [B, T, U], then each part of the last state."""
        raise NotImplementedError

    def run_lookup(self, ids, initial_state):
        """`run_kernel` for ids [B, T, 1] that stand for one-hot vectors."""
        raise NotImplementedError

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Overrides the time loop of Keras: [B, T, D], state -> last output, outputs, state."""
        if self.chosen_kernel(mask) == "keras":
            return super().inner_loop(  # type: ignore[misc]
                self.vectors(sequences), initial_state, mask=mask, training=training
            )
        if training and self.dropout:
            # One mask for all time steps, as on the cuDNN path of Keras.
            sequences *= self.cell.get_dropout_mask(sequences[:, 0, :])[:, None]
        run = self.run_lookup if self.one_hot_size else self.run_kernel
        outputs, *state = run(sequences, initial_state)
        return state[0], outputs, state

    def chosen_kernel(self, mask=None) -> str:
        """The loop that runs on the devices of this machine: `fused` or `keras`."""
        if self.kernel == "keras":
            return "keras"
        covered = self.covers() and self._has_default_options() and not has_mask(mask)
        if self.kernel == "fused" and not covered:
            raise ValueError(
                f"{self.name}: kernel='fused' covers Keras's default activations and bias, "
                "without mask, unroll, go_backwards, recurrent_dropout, use_cudnn=True, dropout=1, "
                "or dropout together with one_hot_size"
            )
        takes_fused = self.kernel == "fused" or not devices.has_gpu()
        return "fused" if covered and takes_fused else "keras"

    def runs_on_cudnn(self) -> bool:
        """Whether Keras hands the whole loop to cuDNN here: its conditions, with a GPU."""
        is_known = isinstance(self, keras.layers.LSTM | keras.layers.GRU)
        is_covered = is_known and self.covers() and self._has_default_options()
        has_type = self.compute_dtype == "float32"  # others have not been run
        return self.chosen_kernel() == "keras" and devices.has_gpu() and is_covered and has_type

    def _has_default_options(self) -> bool:
        if self.unroll or self.go_backwards or self.recurrent_dropout:
            return False
        if getattr(self, "use_cudnn", "auto") is True:  # Keras does not run this on a CPU
            return False
        if self.one_hot_size and self.dropout:
            return False
        return self.dropout < 1  # the cells of Keras differ in their handling of dropout=1


def checked_kernel(kernel: str) -> str:
    """Returns `kernel` itself.

    Raises:
      ValueError: it is not one of `KERNELS`.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel: expected one of {', '.join(KERNELS)}, received {kernel!r}")
    return kernel


def has_mask(mask) -> bool:
    """Whether any of the masks is not None."""
    return any(m is not None for m in tf.nest.flatten(mask))


def has_default_activations(layer) -> bool:
    """Whether a layer's activations are tanh and sigmoid, compared by identity."""
    recurrent = getattr(layer, "recurrent_activation", keras.activations.sigmoid)
    return any(layer.activation is f for f in _TANH) and any(recurrent is f for f in _SIGMOID)


def wide_type(dtype):
    """The data type of states and gates: at least float32.

    In bfloat16 a gate near 0 or 1 would lose its significant digits, and small updates of a state
    would be rounded away.
    """
    return tf.float32 if dtype.size < 4 else dtype


def tensors(values) -> list:
    """Keras variables and tensors, nested or not, as a flat list of tensors."""
    return [tf.convert_to_tensor(value) for value in tf.nest.flatten(values)]


def weights(cell) -> list:
    """A cell's kernel, recurrent kernel and bias, in the compute type."""
    return tensors([cell.kernel, cell.recurrent_kernel, cell.bias])


def with_ones(x):
    """[..., D] -> [..., D + 1]: a column of ones, for a bias in the last row of the weights."""
    return tf.concat([x, tf.ones_like(x[..., :1])], axis=-1)


def padded(x):
    """[K, G] -> [K, G + PADDING]."""
    return tf.pad(x, [[0, 0], [0, PADDING]])


def split(x, num_parts: int) -> list:
    """[B, n U + PADDING] -> n parts [B, U] and the padding."""
    units = (x.shape[1] - PADDING) // num_parts
    return tf.split(x, [units] * num_parts + [PADDING], 1)


def time_major(x):
    """[B, T, ...] -> [T, B, ...], and back."""
    return tf.transpose(x, [1, 0, 2])


def history(num_steps, like, width: int, dtype=None):
    """A TensorArray of `num_steps` tensors [B, width], with the batch size and type of `like`."""
    dtype, shape = dtype or like.dtype, [like.shape[0], width]
    return tf.TensorArray(dtype, size=num_steps, element_shape=shape, clear_after_read=False)


def rows(recorded, width: int):
    """A history as one matrix [T * B, width], for one large product."""
    return tf.reshape(recorded.concat(), [-1, width])


def forward_loop(num_steps, body, state: tuple):
    """Calls `body(t, *state)` for t = 0 … num_steps - 1."""
    return _loop(lambda t: t < num_steps, 1, tf.constant(0), body, state)


def backward_loop(num_steps, body, state: tuple):
    """Calls `body(t, *state)` for t = num_steps - 1 … 0."""
    return _loop(lambda t: t >= 0, -1, num_steps - 1, body, state)


def _loop(goes_on, stride: int, first, body, state: tuple):
    def advance(t, *state):
        new_state = body(t, *state)
        for new, old in zip(new_state, state, strict=True):
            if isinstance(new, tf.Tensor):  # a product may lose the static batch size
                new.set_shape(old.shape)
        return t + stride, *new_state

    return tf.while_loop(lambda t, *_: goes_on(t), advance, (first, *state), parallel_iterations=1)[
        1:
    ]
