"""The text of a run as tokens, and how it is cut into batches. Of models, knows only
whether they are counted."""

import dataclasses

from shakespeare_gen import models
from shakespeare_gen.data import windows
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import WindowOptions


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The text of a run as tokens.

    Attributes:
      texts: the splits `train`, `validation` and `test`.
      plan: how `train` is cut into batches.
    """

    tokenizer: Tokenizer
    texts: dict[str, TokenizedText]
    plan: windows.Plan

    @property
    def characters_per_token(self) -> float:
        """Characters per token of the training text."""
        return self.texts["train"].num_chars / self.texts["train"].num_tokens


def plan_of(num_tokens: int, options: Options) -> windows.Plan:
    """How a training text is cut into batches; a model that is counted reads all in one step.

    Raises:
      UserError: the text is shorter than one window plus one token.
    """
    if models.is_counted(options):
        return windows.whole(num_tokens)
    return windows.plan(num_tokens, options[WindowOptions])
