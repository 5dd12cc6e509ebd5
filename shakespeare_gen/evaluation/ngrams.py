"""Interpolated Kneser-Ney n-grams of tokens: a baseline for networks.

The counts and the formula are those of `models.ngram_counts`, with one discount per order. `frozen`
counts only the training text; `adapting` also counts each token of the text after predicting it.

N tokens, K orders.
"""

import math
from collections.abc import Iterator

import numpy as np

from shakespeare_gen.evaluation import hashing
from shakespeare_gen.evaluation.adapting_counts import AdaptingCounts, Level
from shakespeare_gen.models import ngram_counts
from shakespeare_gen.models.ngram_counts import Order

MAX_CONTEXT_TOKENS = 8


def scaled_context(num_tokens: int, tokens_per_character: float) -> int:
    """A context length that suits characters, in tokens: more if a character takes several."""
    return math.ceil(num_tokens * max(tokens_per_character, 1.0))


class NGrams:
    """Counts of a training text, for contexts of 0 to `max_context_tokens` tokens."""

    def __init__(
        self,
        ids: np.ndarray,
        vocabulary_size: int,
        start_id: int,
        max_context_tokens: int = MAX_CONTEXT_TOKENS,
    ) -> None:
        self.vocabulary_size, self.start_id = vocabulary_size, start_id
        self.orders = ngram_counts.count(ids, vocabulary_size, start_id, max_context_tokens)

    def frozen(self, ids: np.ndarray) -> np.ndarray:
        """Loss of each token of `ids` [N] at every order: nats [K + 1, N]."""
        lower, found = np.full(len(ids), 1 / self.vocabulary_size), []
        for order, places in zip(self.orders, self.find(ids), strict=True):
            longest = ngram_counts.smoothed(order, is_longest=True)
            found.append(longest.interpolated(lower, *places))
            if order is not self.orders[-1]:
                shorter = ngram_counts.smoothed(order, is_longest=False)
                lower = shorter.interpolated(lower, *places)
        return -np.log(found)

    def find(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `ngram_counts.find`."""
        return ngram_counts.find(self.orders, ids, self.start_id)

    def adapting(self, ids: np.ndarray, context_tokens: int) -> np.ndarray:
        """Loss of each token of `ids` with contexts of up to `context_tokens`: nats [N]."""
        likelihoods = []
        read = adapting(self, ids, context_tokens)
        for token, contexts in zip(np.asarray(ids).tolist(), read, strict=True):
            p = 1 / self.vocabulary_size
            for discount, context in zip(read.discounts, contexts, strict=True):
                if context.total:
                    surplus = max(context.counts.get(token, 0) - discount, 0.0)
                    p = (surplus + discount * len(context.counts) * p) / context.total
            likelihoods.append(p)
        return -np.log(np.array(likelihoods))


def adapting(known: NGrams | None, ids: np.ndarray, context_tokens: int) -> AdaptingCounts:
    """The counts of the contexts of 0 to `context_tokens` tokens before each token of `ids`.

    Args:
      known: the counts of the training text; None: only the text itself is counted.
    """
    start_id = known.start_id if known else 0
    keys = [contexts for contexts, _ in hashes(ids, start_id, context_tokens)]
    if known is None:
        return AdaptingCounts(ids, [Level(own) for own in keys])
    orders = known.orders[: context_tokens + 1]
    counted = [_Counted(order, order is orders[-1]) for order in orders]
    places = [found for found, _ in known.find(ids)]
    return AdaptingCounts(ids, [Level(*part) for part in zip(keys, counted, places, strict=False)])


class _Counted:
    """An order of the training text with the counts that Kneser-Ney takes for it."""

    def __init__(self, order: Order, is_longest: bool) -> None:
        counts = order.occurrences if is_longest else order.preceding
        assert counts is not None
        self._order, self._counts = order, counts
        self.discount = float(ngram_counts.discounts(counts)[1])

    def following(self, context: int) -> dict[int, int]:
        """The count of each token after a context; none for the context -1."""
        if context < 0:
            return {}
        begins = self._order.begins
        found = slice(int(begins[context]), int(begins[context + 1]))
        tokens = self._order.ngrams[found] % self._order.vocabulary_size
        return dict(zip(tokens.tolist(), self._counts[found].tolist(), strict=True))


def hashes(
    ids: np.ndarray, start_id: int, max_context_tokens: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For contexts of 0, 1, ... tokens: hashes of the context of each token of `ids` [N], and of
    its event (context and token). `start_id` precedes the text."""
    ids = np.asarray(ids, np.uint64) + np.uint64(1)
    padding = np.full(max_context_tokens, start_id + 1, np.uint64)
    padded = np.concatenate([padding, ids])
    contexts = np.zeros(len(ids), np.uint64)
    for length in range(max_context_tokens + 1):
        if length:
            first = max_context_tokens - length
            contexts = hashing.mixed(contexts + padded[first : first + len(ids)])
        yield contexts, hashing.mixed(contexts ^ (ids << np.uint64(32)))
