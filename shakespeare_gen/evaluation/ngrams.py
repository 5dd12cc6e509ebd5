"""Interpolated Kneser-Ney n-grams of tokens: a baseline for networks.

The counts and the formula are those of `models.ngram_counts`, with one discount per order. `frozen`
counts only the training text; `adapting` also counts each token of the text after predicting it.

N tokens, K orders.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from shakespeare_gen.models import ngram_counts
from shakespeare_gen.models.ngram_counts import Order

MAX_CONTEXT_TOKENS = 8
BLOCK_TOKENS = 100_000


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
        for order, places in zip(self.orders, self._places(ids), strict=True):
            longest = ngram_counts.smoothed(order, is_longest=True)
            found.append(longest.interpolated(lower, *places))
            if order is not self.orders[-1]:
                shorter = ngram_counts.smoothed(order, is_longest=False)
                lower = shorter.interpolated(lower, *places)
        return -np.log(found)

    def _places(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ngram_counts.find(self.orders, ids, self.start_id)

    def adapting(self, ids: np.ndarray, context_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each token with contexts of up to `context_tokens`: nats [N].

        Also returns the length of the longest known context of each: int [N], -1 for none."""
        shorter, longest = self.orders[:context_tokens], self.orders[context_tokens]
        orders = [*(_Counted(order, False) for order in shorter), _Counted(longest, True)]
        keys = hashes(ids, self.start_id, context_tokens)
        read = list(zip(orders, keys, self._places(ids), strict=False))
        news = [_New() for _ in orders]
        found = []
        # In blocks, because Python numbers take ten times the memory of an array.
        for begin in range(0, len(ids), BLOCK_TOKENS):
            block = slice(begin, begin + BLOCK_TOKENS)
            columns = [
                order.columns([part[block] for part in (*keys, *places)])
                for order, keys, places in read
            ]
            found += [self._adapted(orders, news, seen) for seen in zip(*columns, strict=True)]
        likelihoods, known = np.array(found, float).reshape(-1, 2).T
        return -np.log(likelihoods), known.astype(np.int64)

    def _adapted(
        self, orders: list["_Counted"], news: list["_New"], seen: tuple
    ) -> tuple[float, int]:
        """The likelihood of a token and the length of its longest known context; then counts it.

        Args:
          seen: for each order the hashes of context and event, and the counts of training.
        """
        p, longest, counts = 1 / self.vocabulary_size, -1, []
        for k, (context, event, count, total, distinct) in enumerate(seen):
            count += news[k].events.get(event, 0)
            counts.append((context, event, count))
            total += news[k].totals.get(context, 0)
            if total:
                distinct += news[k].distinct.get(context, 0)
                discount = orders[k].discount
                p = (max(count - discount, 0.0) + discount * distinct * p) / total
                longest = k
        # Count the token. A shorter event counts the different tokens before it, so that it
        # increases only if the longer event is new.
        for new, (context, event, count) in zip(news[::-1], counts[::-1], strict=True):
            new.add(context, event, is_first=not count)
            if count:
                break
        return p, longest


class _Counted:
    """An order of the training text with the counts that Kneser-Ney takes for it."""

    def __init__(self, order: Order, is_longest: bool) -> None:
        counts = order.occurrences if is_longest else order.preceding
        assert counts is not None
        self._order, self._counts, self._totals = order, counts, order.totals(counts)
        self.discount = float(ngram_counts.discounts(counts)[1])

    def columns(self, parts: Sequence[np.ndarray]) -> Iterator[tuple]:
        """For each token the hashes of context and event, count, total and distinct next tokens.

        Args:
          parts: both hashes, and the numbers of context and n-gram, [N] each.
        """
        *keys, contexts, ngrams = parts
        arrays = (self._counts, self._totals, self._order.distinct)
        pairs = zip(arrays, (ngrams, contexts, contexts), strict=True)
        counts = [np.where(places >= 0, array[places], 0) for array, places in pairs]
        return zip(*(part.tolist() for part in (*keys, *counts)), strict=True)


class _New:
    """Counts of the text that is read after training."""

    def __init__(self) -> None:
        self.events: dict[int, int] = {}
        self.totals: dict[int, int] = {}
        self.distinct: dict[int, int] = {}

    def add(self, context: int, event: int, is_first: bool) -> None:
        self.events[event] = self.events.get(event, 0) + 1
        self.totals[context] = self.totals.get(context, 0) + 1
        if is_first:
            self.distinct[context] = self.distinct.get(context, 0) + 1


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
            contexts = _mixed(contexts + padded[first : first + len(ids)])
        yield contexts, _mixed(contexts ^ (ids << np.uint64(32)))


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits with good avalanche (splitmix64; Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
