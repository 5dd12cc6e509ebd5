"""Interpolated Kneser-Ney n-grams of tokens: a baseline for networks.

    p_k(c | context of k) = max(count(c) - d, 0) / total + d distinct / total p_{k-1}(c)

The highest order counts how often a token followed its context; the lower orders count how many
different tokens preceded the context and token. There is one discount d per order, estimated from
the training text (Kneser and Ney 1995; Chen and Goodman 1999). The lowest order interpolates with
the uniform distribution. Every p_k sums to one. `frozen` counts only the training text; `adapting`
also counts each token of the text after predicting it.

Contexts are 64-bit hashes, looked up in sorted arrays: N tokens, K orders.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

MAX_CONTEXT_TOKENS = 8
BLOCK_TOKENS = 100_000


def scaled_context(num_tokens: int, tokens_per_character: float) -> int:
    """A context length that suits characters, in tokens: more if a character takes several."""
    return math.ceil(num_tokens * max(tokens_per_character, 1.0))


@dataclasses.dataclass(frozen=True)
class _Counts:
    """The count of each hash; `hashes` are sorted."""

    hashes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, hashes: np.ndarray, times: np.ndarray) -> "_Counts":
        unique, places = np.unique(hashes, return_inverse=True)
        return cls(unique, np.bincount(places, times).astype(np.int64))

    def look_up(self, hashes: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self.hashes, hashes).clip(max=len(self.hashes) - 1)
        return np.where(self.hashes[places] == hashes, self.counts[places], 0)


class _Order:
    """Contexts of one length: events (context and token), totals, distinct continuations.

    `times` is the count of each event: occurrences, or the number of different preceding tokens.
    """

    def __init__(self, contexts: np.ndarray, events: np.ndarray, times: np.ndarray) -> None:
        self.events = _Counts(events, times)
        self.totals = _Counts.of(contexts, times)
        self.distinct = _Counts.of(contexts, np.ones_like(times))
        once, twice = int((times == 1).sum()), int((times == 2).sum())
        # The estimate of Ney et al.; 0.5 for a text without rare events.
        self.discount = once / (once + 2 * twice) if once and twice else 0.5

    def look_up(self, contexts: np.ndarray, events: np.ndarray) -> tuple:
        """The count, total and number of distinct continuations for each hash, [N]."""
        return (
            self.events.look_up(events),
            self.totals.look_up(contexts),
            self.distinct.look_up(contexts),
        )


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
        self.max_context_tokens = max_context_tokens
        self._highest: list[_Order] = []
        self._lower: list[_Order] = []
        before = None
        for contexts, events in self._hashes(ids):
            unique, first, times = np.unique(events, return_index=True, return_counts=True)
            self._highest.append(_Order(contexts[first], unique, times))
            if before is not None:
                # A longer event is a shorter one with an additional token before it.
                shorter, place, times = np.unique(
                    before[1][first], return_index=True, return_counts=True
                )
                self._lower.append(_Order(before[0][first][place], shorter, times))
            before = contexts, events

    def frozen(self, ids: np.ndarray) -> np.ndarray:
        """Loss of each token of `ids` [N] at every order: nats [K + 1, N]."""
        lower, found = np.full(len(ids), 1 / self.vocabulary_size), []
        for k, hashes in enumerate(self._hashes(ids)):
            found.append(_interpolated(lower, self._highest[k], hashes))
            if k < len(self._lower):
                lower = _interpolated(lower, self._lower[k], hashes)
        return -np.log(found)

    def adapting(self, ids: np.ndarray, context_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each token with contexts of up to `context_tokens`: nats [N].

        Also returns the length of the longest known context of each: int [N], -1 for none."""
        orders = [*self._lower[:context_tokens], self._highest[context_tokens]]
        hashes = list(self._hashes(ids))[: len(orders)]
        news = [_New() for _ in orders]
        found = []
        # In blocks, because Python numbers take ten times the memory of an array.
        for begin in range(0, len(ids), BLOCK_TOKENS):
            block = slice(begin, begin + BLOCK_TOKENS)
            columns = [
                _columns(order, contexts[block], events[block])
                for order, (contexts, events) in zip(orders, hashes, strict=True)
            ]
            found += [self._adapted(orders, news, seen) for seen in zip(*columns, strict=True)]
        likelihoods, known = np.array(found, float).reshape(-1, 2).T
        return -np.log(likelihoods), known.astype(np.int64)

    def _adapted(self, orders: list[_Order], news: list["_New"], seen: tuple) -> tuple[float, int]:
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

    def _hashes(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return hashes(ids, self.start_id, self.max_context_tokens)


def _columns(order: _Order, contexts: np.ndarray, events: np.ndarray):
    """The context of each token, its event, and their counts in `order`."""
    parts = (contexts, events, *order.look_up(contexts, events))
    return zip(*(part.tolist() for part in parts), strict=True)


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


def _interpolated(lower: np.ndarray, order: _Order, hashes: tuple) -> np.ndarray:
    count, total, distinct = order.look_up(*hashes)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.maximum(count - order.discount, 0)
        p = (kept + order.discount * distinct * lower) / total
    return np.where(total > 0, p, lower)
