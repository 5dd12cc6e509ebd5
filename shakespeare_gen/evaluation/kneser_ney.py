"""The Kneser-Ney baseline of a trained model, in bounded time.

The order of the n-grams is the best one on the validation text. Long texts are limited to a sample
of `MAX_TRAIN_TOKENS` and `MAX_SCORED_TOKENS`, taken from the whole text, which the result states.
Knows nothing about models.
"""

import dataclasses

import numpy as np

from shakespeare_gen.data import token_store
from shakespeare_gen.data.token_store import TokenizedText, Tokens
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.evaluation.ngrams import NGrams, scaled_context

MAX_TRAIN_TOKENS = 2_000_000
MAX_MAPPED_TOKENS = 400_000  # of a training text that is not in memory, to save memory
MAX_SCORED_TOKENS = 200_000
MAX_CONTEXT_TOKENS = 6  # see `ngrams.scaled_context`


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The loss of interpolated Kneser-Ney n-grams on a text.

    Attributes:
      order: the number of tokens of an n-gram.
      nats: mean loss per character.
      limits: which parts of the texts were used; empty: all.
    """

    order: int
    nats: float
    limits: str = ""


def baseline(train: Tokens, validation: TokenizedText, tokenizer: Tokenizer) -> Baseline:
    """The baseline for models of `train` on `validation`, which is not empty."""
    in_memory = isinstance(train, TokenizedText)
    ids = token_store.sample(train.ids, MAX_TRAIN_TOKENS if in_memory else MAX_MAPPED_TOKENS)
    scored = token_store.sample(validation.ids, MAX_SCORED_TOKENS)
    context_tokens = scaled_context(MAX_CONTEXT_TOKENS, train.num_tokens / train.num_chars)
    model = NGrams(ids, tokenizer.size, tokenizer.start_id, context_tokens)
    losses = model.frozen(scored).mean(1)
    best = int(np.argmin(losses))
    limits = [
        f"a sample of {len(used):,} of {text.num_tokens:,} {name} tokens"
        for name, used, text in (("training", ids, train), ("validation", scored, validation))
        if len(used) < text.num_tokens
    ]
    nats = float(losses[best]) * validation.num_tokens / validation.num_chars
    return Baseline(best + 1, nats, ", ".join(limits))
