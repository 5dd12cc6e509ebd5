"""Ids to a `tf.data` pipeline of (inputs, targets); targets are inputs shifted by one.

Batch n is a pure function of (seed, n): no shuffle buffer, no iterator state, so
a run can start at any batch. Two ways to read the text:

- shuffled windows: every epoch visits every window once, in another order;
- carried state: `batch_size` streams read the text side by side, and row b of
  a batch continues row b of the batch before, so a recurrent state fits.

The text is a ring for an epoch that starts at a random offset. Knows nothing
of characters or models.

    B batch_size, T window_chars: inputs and targets are int32 [B, T].
"""

import dataclasses

import numpy as np

from shakespeare_gen.errors import UserError


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where each window of each batch starts; made by `plan`."""

    num_chars: int
    window_chars: int
    stride: int
    batch_size: int
    carry_state: bool
    random_offset: bool
    num_windows: int
    steps_per_epoch: int

    @property
    def chars_per_step(self) -> int:
        """Characters predicted in a step."""
        return self.batch_size * self.window_chars


def plan(
    num_chars: int,
    window_chars: int,
    window_stride: int = 0,
    batch_size: int = 64,
    carry_state: bool = False,
    random_offset: bool = True,
    steps_per_epoch: int = 0,
) -> Plan:
    """Fits windows and batches to a text of `num_chars` characters.

    A text with fewer windows than `batch_size` gets smaller batches.

    Raises:
      UserError: the text is shorter than one window and one character.
    """
    if num_chars < window_chars + 1:
        raise UserError(
            f"--window_chars: expected a training text of at least {window_chars + 1} characters "
            f"(a window of {window_chars} and one more), received {num_chars}"
        )
    stride = window_stride or window_chars
    if carry_state:
        batch_size = min(batch_size, (num_chars - 1) // window_chars)
        stride = (num_chars - 1) // batch_size  # the length of a stream
        num_windows = batch_size * (stride // window_chars)
    else:
        num_windows = (num_chars - 1 - window_chars) // stride + 1
        batch_size = min(batch_size, num_windows)
    steps = num_windows // batch_size
    steps = min(steps, steps_per_epoch or steps)
    return Plan(
        num_chars, window_chars, stride, batch_size, carry_state, random_offset, num_windows, steps
    )


def batches(ids: np.ndarray, plan: Plan, seed: int, first_step: int = 0, num_steps: int = -1):
    """A `tf.data.Dataset` of (inputs, targets), both int32 [B, T], from batch `first_step` on.

    Args:
      ids: [num_chars] int, the training text, in the smallest type that holds it.
      num_steps: batches in the dataset; -1: without end.
    """
    import tensorflow as tf

    text = tf.constant(ids)

    def gather(step):
        positions = window_starts(plan, seed, step)[:, None] + tf.range(
            plan.window_chars + 1, dtype=tf.int64
        )
        windows = tf.cast(tf.gather(text, positions % plan.num_chars), tf.int32)
        inputs, targets = windows[:, :-1], windows[:, 1:]
        shape = (plan.batch_size, plan.window_chars)
        return tf.ensure_shape(inputs, shape), tf.ensure_shape(targets, shape)

    last_step = np.iinfo(np.int64).max if num_steps < 0 else first_step + num_steps
    dataset = tf.data.Dataset.range(first_step, last_step).map(gather)
    options = tf.data.Options()
    # With autotune on, `fit` was seen to wait seconds at the end of an epoch.
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)


def window_starts(plan: Plan, seed: int, step):
    """First position of each window of batch `step`: int64 [B], a pure function."""
    import tensorflow as tf

    step = tf.cast(step, tf.int64)
    epoch, step_of_epoch = step // plan.steps_per_epoch, step % plan.steps_per_epoch
    row = tf.range(plan.batch_size, dtype=tf.int64)
    if plan.carry_state:
        starts = row * plan.stride + step_of_epoch * plan.window_chars
    else:
        index = step_of_epoch * plan.batch_size + row
        key = tf.cast(tf.stack([tf.constant(seed, tf.int64), epoch, 0]), tf.uint32)
        # A permutation of the windows that needs no memory: index i goes straight to its place.
        shuffled = tf.raw_ops.RandomIndexShuffle(
            index=index, seed=key, max_index=tf.constant(plan.num_windows - 1, tf.int64), rounds=4
        )
        starts = shuffled * plan.stride
    return starts + _offset(plan, seed, epoch)


def _offset(plan: Plan, seed: int, epoch):
    import tensorflow as tf

    if not plan.random_offset:
        return tf.constant(0, tf.int64)
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    return tf.random.stateless_uniform((), key, 0, plan.num_chars, tf.int64)
