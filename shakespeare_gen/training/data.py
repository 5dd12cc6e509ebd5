"""The text of a run as tokens, and how it is cut into batches. Of models, knows only
whether they are counted."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from shakespeare_gen import models
from shakespeare_gen.data import windows
from shakespeare_gen.data.token_store import TokenizedText, Tokens
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import WindowOptions

if TYPE_CHECKING:  # importing TensorFlow takes seconds
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The text of a run as tokens.

    Attributes:
      train: the tokens of the training text.
      held_out: validation and test.
      plan: how `train` is cut into batches.
      window_array: all windows of `train`, if they are stored; see `windows.batches`.
    """

    tokenizer: Tokenizer
    train: Tokens
    held_out: dict[str, TokenizedText]
    plan: windows.Plan
    window_array: np.ndarray | None = None

    @property
    def characters_per_token(self) -> float:
        """Characters per token of the training text."""
        return self.train.num_chars / self.train.num_tokens

    def batches(
        self, seed: int, first_step: int, rows: slice = windows.ALL_ROWS
    ) -> "tf.data.Dataset":
        """The endless batches of training; see `windows.batches`."""
        tokens = self.train.ids if self.window_array is None else self.window_array
        return windows.batches(tokens, self.plan, seed, first_step, rows=rows)


def plan_of(num_tokens: int, options: Options) -> windows.Plan:
    """How a training text is cut into batches; a model that is counted reads all in one step.

    Raises:
      UserError: the text is shorter than one window plus one token.
    """
    if models.is_counted(options):
        return windows.whole(num_tokens)
    return windows.plan(num_tokens, options[WindowOptions])
