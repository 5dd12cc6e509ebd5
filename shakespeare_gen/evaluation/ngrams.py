"""Interpolated Kneser-Ney n-grams of tokens: a baseline for networks.

The counts and the formula are those of `models.ngram_counts`, with one discount per order. `frozen`
counts only the training text; `adapting` also counts each token of the text after predicting it.

N tokens, K orders.
"""

import dataclasses
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
        read = AdaptingNGrams(self, ids, context_tokens)
        for token, contexts in zip(np.asarray(ids).tolist(), read, strict=True):
            p = 1 / self.vocabulary_size
            for discount, context in zip(read.discounts, contexts, strict=True):
                if context.total:
                    surplus = max(context.counts.get(token, 0) - discount, 0.0)
                    p = (surplus + discount * len(context.counts) * p) / context.total
            likelihoods.append(p)
        return -np.log(np.array(likelihoods))


@dataclasses.dataclass
class Context:
    """What followed a context so far: the count of each next token, and their sum."""

    counts: dict[int, int]
    total: int


class AdaptingNGrams:
    """Counts that grow while a text is read; iterates over its tokens.

    Each iteration gives the contexts of a token, the shortest first, as they are before the token
    is counted. A context that was never followed by anything has a total of 0.

    Args:
      known: the counts of the training text; None: only the text itself is counted.

    Attributes:
      discounts: by context length.
    """

    LOCAL_DISCOUNT = 0.5

    def __init__(self, known: NGrams | None, ids: np.ndarray, context_tokens: int) -> None:
        self._ids, self._start_id = ids, known.start_id if known else 0
        self._context_tokens = context_tokens
        self._tables: list[dict[int, Context]] = [{} for _ in range(context_tokens + 1)]
        self._orders: list[_Counted] = []
        self.discounts = [self.LOCAL_DISCOUNT] * (context_tokens + 1)
        if known:
            orders = known.orders[: context_tokens + 1]
            self._orders = [_Counted(order, order is orders[-1]) for order in orders]
            self.discounts = [order.discount for order in self._orders]
            self._places = [places for places, _ in known.find(ids)]

    def __iter__(self) -> Iterator[list[Context]]:
        keys = [contexts for contexts, _ in hashes(self._ids, self._start_id, self._context_tokens)]
        # In blocks, because Python numbers take ten times the memory of an array.
        for begin in range(0, len(self._ids), BLOCK_TOKENS):
            block = slice(begin, begin + BLOCK_TOKENS)
            columns = zip(*(part[block].tolist() for part in keys), strict=True)
            tokens = self._ids[block].tolist()
            for i, (token, own_keys) in enumerate(zip(tokens, columns, strict=True), begin):
                contexts = [self._context(k, key, i) for k, key in enumerate(own_keys)]
                yield contexts
                _count(contexts, token)

    def _context(self, order: int, key: int, place: int) -> Context:
        table = self._tables[order]
        if key not in table:
            counts = {}
            if self._orders:
                counts = self._orders[order].following(int(self._places[order][place]))
            table[key] = Context(counts, sum(counts.values()))
        return table[key]


def _count(contexts: Sequence[Context], token: int) -> None:
    """Counts a token. A shorter context counts the different tokens before it, so that it counts
    only what is new to the longer one."""
    for context in reversed(contexts):
        before = context.counts.get(token, 0)
        context.counts[token] = before + 1
        context.total += 1
        if before:
            break


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
            contexts = _mixed(contexts + padded[first : first + len(ids)])
        yield contexts, _mixed(contexts ^ (ids << np.uint64(32)))


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits with good avalanche (splitmix64; Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
