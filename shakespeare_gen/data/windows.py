"""A `tf.data` pipeline of (inputs, targets) from token ids; targets are inputs shifted by one.

Batch n is a pure function of (seed, n): there is no shuffle buffer and no iterator state, so a run
can start at any batch. The text is read in one of two ways:

- shuffled windows: each epoch visits every window once, in a different order;
- carried state: `batch_size` streams read the text in parallel, and row b of a batch continues row
  b of the previous batch, so that the state of the model can be carried over.

An epoch that starts at a random offset wraps around at the end of the text. With `num_windows`, the
windows are a random subset that is the same in every epoch. Instead of a text, an array of windows
can be read, from which each batch is taken without a copy of the array in memory. Knows nothing
about characters or models.

Shapes: B batch_size, T window_chars (a number of tokens); inputs and targets are int32 [B, T].
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from shakespeare_gen.errors import UserError
from shakespeare_gen.options.groups import WindowOptions

if TYPE_CHECKING:  # importing TensorFlow takes seconds
    import tensorflow as tf


ALL_ROWS = slice(None)


class TokenSlices(Protocol):
    """The tokens of a text: a NumPy array, or files that slices are read from."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: slice, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Plan:
    """The position of each window of each batch; created by `plan` or `whole`.

    Attributes:
      spacing: tokens between the starts of consecutive windows, or streams with `carry_state`.
      num_available: the windows of the text, of which `num_windows` are used.
    """

    num_tokens: int
    window_chars: int
    spacing: int
    batch_size: int
    carry_state: bool
    random_offset: bool
    num_windows: int
    steps_per_epoch: int
    num_available: int

    @property
    def tokens_per_step(self) -> int:
        """Tokens predicted per step."""
        return self.batch_size * self.window_chars

    @property
    def steps_per_pass(self) -> int:
        """Steps of one pass over the text; `steps_per_epoch` may be fewer."""
        return self.num_windows // self.batch_size


def plan(num_tokens: int, options: WindowOptions) -> Plan:
    """Fits windows and batches to a text of `num_tokens` tokens.

    If the text has fewer windows than `options.batch_size`, the batches are smaller.

    Raises:
      UserError: the text is shorter than one window plus one token, or it has fewer windows than
        `options.num_windows`.
    """
    window = options.window_chars
    if num_tokens < window + 1:
        raise UserError(
            f"window_chars: expected a training text of at least {window + 1} tokens "
            f"(a window of {window} and one more), received {num_tokens}"
        )
    if options.carry_state:
        batch_size = min(options.batch_size, (num_tokens - 1) // window)
        spacing = (num_tokens - 1) // batch_size  # the length of a stream
        num_available = num_windows = batch_size * (spacing // window)
    else:
        spacing = options.window_stride or window
        num_available = (num_tokens - 1 - window) // spacing + 1
        num_windows = options.num_windows or num_available
        if num_windows > num_available:
            raise UserError(
                f"num_windows: expected at most {num_available}, the windows of the training text, "
                f"received {num_windows}"
            )
        batch_size = min(options.batch_size, num_windows)
    steps = num_windows // batch_size
    return Plan(
        num_tokens,
        window,
        spacing,
        batch_size,
        options.carry_state,
        options.random_offset and not options.num_windows,
        num_windows,
        min(steps, options.steps_per_epoch or steps),
        num_available,
    )


def whole(num_tokens: int) -> Plan:
    """The plan of a single step that reads the whole text."""
    return Plan(
        num_tokens,
        window_chars=num_tokens,
        spacing=num_tokens,
        batch_size=1,
        carry_state=False,
        random_offset=False,
        num_windows=1,
        steps_per_epoch=1,
        num_available=1,
    )


def batches(
    tokens: TokenSlices,
    plan: Plan,
    seed: int,
    first_step: int = 0,
    num_steps: int = -1,
    rows: slice = ALL_ROWS,
) -> "tf.data.Dataset":
    """A `tf.data.Dataset` of (inputs, targets), both int32 [B, T], from batch `first_step` on.

    Args:
      tokens: token ids of the training text, [num_tokens], or all of its windows,
        integers [num_available, T + 1], which may be a memory map.
      num_steps: number of batches; -1: endless.
      rows: the rows of each batch to take; B is their number.
    """
    import tensorflow as tf

    if isinstance(tokens, np.ndarray) and tokens.ndim == 2:
        gather = _of_array(tokens, plan, seed, rows)
    else:
        gather = _of_text(tokens, plan, seed, rows)
    shape = (len(range(plan.batch_size)[rows]), plan.window_chars)

    @tf.autograph.experimental.do_not_convert
    def pair(step):
        windows = gather(step)
        return tf.ensure_shape(windows[:, :-1], shape), tf.ensure_shape(windows[:, 1:], shape)

    last_step = np.iinfo(np.int64).max if num_steps < 0 else first_step + num_steps
    dataset = tf.data.Dataset.range(first_step, last_step).map(pair)
    options = tf.data.Options()
    # With autotune, `fit` has been observed to wait for seconds at the end of an epoch.
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)


def _of_text(
    ids: "TokenSlices", plan: Plan, seed: int, rows: slice
) -> "Callable[[tf.Tensor], tf.Tensor]":
    """A function from a step to its windows, int32 [B, T + 1], cut from a text."""
    import tensorflow as tf

    def cut(starts: np.ndarray) -> np.ndarray:
        return cut_windows(ids, starts, plan.window_chars + 1)

    def gather(step):
        starts = window_starts(plan, seed, step)[rows] % plan.num_tokens
        # Not a constant of the graph, which would be a copy of the text.
        return tf.numpy_function(cut, [starts], tf.int32, stateful=False)

    return gather


def cut_windows(ids: "TokenSlices", starts: np.ndarray, size: int) -> np.ndarray:
    """Windows of a text that begin at `starts` and go on at its beginning, int32 [B, size]."""
    found = np.empty((len(starts), size), np.int32)
    for window, start in zip(found, starts.tolist(), strict=True):
        part = ids[start : start + size]
        window[: len(part)] = part
        if len(part) < size:
            window[len(part) :] = ids[: size - len(part)]
    return found


def _of_array(
    windows: np.ndarray, plan: Plan, seed: int, rows: slice
) -> "Callable[[tf.Tensor], tf.Tensor]":
    """A function from a step to its windows, int32 [B, T + 1], taken from an array of windows."""
    import tensorflow as tf

    def take(numbers: np.ndarray) -> np.ndarray:
        return np.asarray(windows[numbers], np.int32)

    def gather(step):
        numbers = _window_numbers(plan, seed, *_epoch_and_step(plan, step))[rows]
        # Not a constant of the graph, which would be a copy of the array.
        return tf.numpy_function(take, [numbers], tf.int32, stateful=False)

    return gather


def window_starts(plan: Plan, seed: int, step: "int | tf.Tensor") -> "tf.Tensor":
    """First position of each window of batch `step`, int64 [B]."""
    import tensorflow as tf

    epoch, step_of_epoch = _epoch_and_step(plan, step)
    if plan.carry_state:
        row = tf.range(plan.batch_size, dtype=tf.int64)
        starts = row * plan.spacing + step_of_epoch * plan.window_chars
    else:
        starts = _window_numbers(plan, seed, epoch, step_of_epoch) * plan.spacing
    return starts + _offset(plan, seed, epoch)


def _epoch_and_step(plan: Plan, step: "int | tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
    import tensorflow as tf

    step = tf.cast(step, tf.int64)
    return step // plan.steps_per_epoch, step % plan.steps_per_epoch


def _window_numbers(
    plan: Plan, seed: int, epoch: "tf.Tensor", step_of_epoch: "tf.Tensor"
) -> "tf.Tensor":
    """The windows of a batch, numbered in the order of the text, int64 [B]."""
    import tensorflow as tf

    row = tf.range(plan.batch_size, dtype=tf.int64)
    index = step_of_epoch * plan.batch_size + row
    numbers = _shuffled(index, plan.num_windows, tf.stack([tf.constant(seed, tf.int64), epoch, 0]))
    if plan.num_windows == plan.num_available:
        return numbers
    # The first windows of another order, which is the same in every epoch.
    return _shuffled(numbers, plan.num_available, tf.constant([seed, 0, 1], tf.int64))


def _shuffled(index: "tf.Tensor", size: int, key: "tf.Tensor") -> "tf.Tensor":
    """Where a random permutation of `size` numbers has `index`, computed without a table."""
    import tensorflow as tf

    return tf.raw_ops.RandomIndexShuffle(
        index=index,
        seed=tf.cast(key, tf.uint32),
        max_index=tf.constant(size - 1, tf.int64),
        rounds=4,
    )


def _offset(plan: Plan, seed: int, epoch: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    if not plan.random_offset:
        return tf.constant(0, tf.int64)
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    return tf.random.stateless_uniform((), key, 0, plan.num_tokens, tf.int64)
