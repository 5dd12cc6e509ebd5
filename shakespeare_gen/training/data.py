"""The text of a run as tokens, and how it is cut into batches. Knows nothing about models."""

import dataclasses

from shakespeare_gen.data import windows
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.data.tokenizers import Tokenizer


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
