"""A `tf.data` pipeline of (inputs, targets) from token ids; targets are inputs shifted by one.

Batch n is a pure function of (seed, n): there is no shuffle buffer and no iterator state, so a run
can start at any batch. The text is read in one of two ways:

- shuffled windows: each epoch visits every window once, in a different order;
- carried state: `batch_size` streams read the text in parallel, and row b of a batch continues row
  b of the previous batch, so that the state of the model can be carried over.

An epoch that starts at a random offset wraps around at the end of the text. Knows nothing about
characters or models.

Shapes: B batch_size, T window_chars (a number of tokens); inputs and targets are int32 [B, T].
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from shakespeare_gen.errors import UserError
from shakespeare_gen.options.groups import WindowOptions

if TYPE_CHECKING:  # importing TensorFlow takes seconds
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Plan:
    """The position of each window of each batch; created by `plan` or `whole`.

    Attributes:
      spacing: tokens between the starts of consecutive windows, or streams with `carry_state`.
    """

    num_tokens: int
    window_chars: int
    spacing: int
    batch_size: int
    carry_state: bool
    random_offset: bool
    num_windows: int
    steps_per_epoch: int

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
      UserError: the text is shorter than one window plus one token.
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
        num_windows = batch_size * (spacing // window)
    else:
        spacing = options.window_stride or window
        num_windows = (num_tokens - 1 - window) // spacing + 1
        batch_size = min(options.batch_size, num_windows)
    steps = num_windows // batch_size
    return Plan(
        num_tokens,
        window,
        spacing,
        batch_size,
        options.carry_state,
        options.random_offset,
        num_windows,
        min(steps, options.steps_per_epoch or steps),
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
    )


def batches(
    ids: np.ndarray, plan: Plan, seed: int, first_step: int = 0, num_steps: int = -1
) -> "tf.data.Dataset":
    """A `tf.data.Dataset` of (inputs, targets), both int32 [B, T], from batch `first_step` on.

    Args:
      ids: token ids of the training text, integers [num_tokens].
      num_steps: number of batches; -1: endless.
    """
    import tensorflow as tf

    text = tf.constant(ids)

    def gather(step):
        positions = window_starts(plan, seed, step)[:, None] + tf.range(
            plan.window_chars + 1, dtype=tf.int64
        )
        windows = tf.cast(tf.gather(text, positions % plan.num_tokens), tf.int32)
        inputs, targets = windows[:, :-1], windows[:, 1:]
        shape = (plan.batch_size, plan.window_chars)
        return tf.ensure_shape(inputs, shape), tf.ensure_shape(targets, shape)

    last_step = np.iinfo(np.int64).max if num_steps < 0 else first_step + num_steps
    dataset = tf.data.Dataset.range(first_step, last_step).map(gather)
    options = tf.data.Options()
    # With autotune, `fit` has been observed to wait for seconds at the end of an epoch.
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)


def window_starts(plan: Plan, seed: int, step: "int | tf.Tensor") -> "tf.Tensor":
    """First position of each window of batch `step`, int64 [B]."""
    import tensorflow as tf

    step = tf.cast(step, tf.int64)
    epoch, step_of_epoch = step // plan.steps_per_epoch, step % plan.steps_per_epoch
    row = tf.range(plan.batch_size, dtype=tf.int64)
    if plan.carry_state:
        starts = row * plan.spacing + step_of_epoch * plan.window_chars
    else:
        index = step_of_epoch * plan.batch_size + row
        key = tf.cast(tf.stack([tf.constant(seed, tf.int64), epoch, 0]), tf.uint32)
        # Computes a permutation of the windows index by index, without a table.
        shuffled = tf.raw_ops.RandomIndexShuffle(
            index=index, seed=key, max_index=tf.constant(plan.num_windows - 1, tf.int64), rounds=4
        )
        starts = shuffled * plan.spacing
    return starts + _offset(plan, seed, epoch)


def _offset(plan: Plan, seed: int, epoch: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    if not plan.random_offset:
        return tf.constant(0, tf.int64)
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    return tf.random.stateless_uniform((), key, 0, plan.num_tokens, tf.int64)
