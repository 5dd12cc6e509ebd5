"""Interpolated Kneser-Ney n-grams of characters: the model that a network must beat.

    p_k(c | context of k) = max(count(c) - d, 0) / total + d distinct / total p_{k-1}(c)

The highest order counts how often a character followed its context, the others
after how many different characters context and character stood together; one
discount d an order, from the training text (Kneser and Ney 1995; Chen and Goodman
1999). Below all is the uniform model. Every p_k sums to one. `frozen` counts the
training text alone; `adapting` counts what it has read of the text as well, each
character after it was predicted.

Contexts are 64-bit hashes, looked up in sorted arrays: N characters, K orders.
"""

import dataclasses

import numpy as np

MAX_CONTEXT_CHARS = 8
BLOCK_CHARS = 100_000


@dataclasses.dataclass(frozen=True)
class _Counts:
    """How often each hash counts; `hashes` are sorted."""

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
    """Contexts of one length: events (context and character), totals, distinct continuations.

    `times` says how often each event counts: how often it was seen, or after how many characters.
    """

    def __init__(self, contexts: np.ndarray, events: np.ndarray, times: np.ndarray) -> None:
        self.events = _Counts(events, times)
        self.totals = _Counts.of(contexts, times)
        self.distinct = _Counts.of(contexts, np.ones_like(times))
        once, twice = int((times == 1).sum()), int((times == 2).sum())
        # The estimate of Ney et al.; a text without rare events leaves a half.
        self.discount = once / (once + 2 * twice) if once and twice else 0.5

    def look_up(self, contexts: np.ndarray, events: np.ndarray) -> tuple:
        """Count, total and distinct of each hash, [N]."""
        return (
            self.events.look_up(events),
            self.totals.look_up(contexts),
            self.distinct.look_up(contexts),
        )


class NGrams:
    """Counts of a training text, for contexts of 0 to `max_context_chars` characters."""

    def __init__(
        self,
        ids: np.ndarray,
        vocabulary_size: int,
        start_id: int = 0,
        max_context_chars: int = MAX_CONTEXT_CHARS,
    ) -> None:
        self.vocabulary_size, self.start_id = vocabulary_size, start_id
        self.max_context_chars = max_context_chars
        self._highest: list[_Order] = []
        self._lower: list[_Order] = []
        before = None
        for contexts, events in self._hashes(ids):
            unique, first, times = np.unique(events, return_index=True, return_counts=True)
            self._highest.append(_Order(contexts[first], unique, times))
            if before is not None:
                # Every longer event is one more character before the shorter one.
                shorter, place, times = np.unique(
                    before[1][first], return_index=True, return_counts=True
                )
                self._lower.append(_Order(before[0][first][place], shorter, times))
            before = contexts, events

    def frozen(self, ids: np.ndarray) -> np.ndarray:
        """Loss of each character of `ids` [N] at every order: nats [K + 1, N]."""
        lower, found = np.full(len(ids), 1 / self.vocabulary_size), []
        for k, hashes in enumerate(self._hashes(ids)):
            found.append(_interpolated(lower, self._highest[k], hashes))
            if k < len(self._lower):
                lower = _interpolated(lower, self._lower[k], hashes)
        return -np.log(found)

    def adapting(self, ids: np.ndarray, context_chars: int) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each character with contexts of up to `context_chars`, and how much of the
        context was known: nats [N], int [N] from -1 (nothing at all) on."""
        orders = [*self._lower[:context_chars], self._highest[context_chars]]
        hashes = list(self._hashes(ids))[: len(orders)]
        news = [_New() for _ in orders]
        found = []
        # Python's numbers take ten times the room of NumPy's, so not all at once.
        for begin in range(0, len(ids), BLOCK_CHARS):
            block = slice(begin, begin + BLOCK_CHARS)
            columns = [
                _columns(order, contexts[block], events[block])
                for order, (contexts, events) in zip(orders, hashes, strict=True)
            ]
            found += [self._adapted(orders, news, seen) for seen in zip(*columns, strict=True)]
        likelihoods, known = np.array(found, float).reshape(-1, 2).T
        return -np.log(likelihoods), known.astype(np.int64)

    def _adapted(self, orders: list[_Order], news: list["_New"], seen: tuple) -> tuple[float, int]:
        """Likelihood of one character and the longest known context; counts it afterwards.

        Args:
          seen: for each order the hashes of context and event, and what training counted.
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
        # From here on the character is known. A shorter event counts what stood before it:
        # only a longer one that is new is one more.
        for new, (context, event, count) in zip(news[::-1], counts[::-1], strict=True):
            new.add(context, event, is_first=not count)
            if count:
                break
        return p, longest

    def _hashes(self, ids: np.ndarray):
        return hashes(ids, self.start_id, self.max_context_chars)


def _columns(order: _Order, contexts: np.ndarray, events: np.ndarray):
    """For each character: its context, its event, and what `order` counted of them."""
    parts = (contexts, events, *order.look_up(contexts, events))
    return zip(*(part.tolist() for part in parts), strict=True)


class _New:
    """What was counted since the training text."""

    def __init__(self) -> None:
        self.events: dict[int, int] = {}
        self.totals: dict[int, int] = {}
        self.distinct: dict[int, int] = {}

    def add(self, context: int, event: int, is_first: bool) -> None:
        self.events[event] = self.events.get(event, 0) + 1
        self.totals[context] = self.totals.get(context, 0) + 1
        if is_first:
            self.distinct[context] = self.distinct.get(context, 0) + 1


def hashes(ids: np.ndarray, start_id: int, max_context_chars: int):
    """For contexts of 0, 1, … characters: hashes of the context of each character of `ids` [N],
    and of context and character together. Before the text stands `start_id`."""
    ids = np.asarray(ids, np.uint64) + np.uint64(1)
    padding = np.full(max_context_chars, start_id + 1, np.uint64)
    padded = np.concatenate([padding, ids])
    contexts = np.zeros(len(ids), np.uint64)
    for length in range(max_context_chars + 1):
        if length:
            first = max_context_chars - length
            contexts = _mixed(contexts + padded[first : first + len(ids)])
        yield contexts, _mixed(contexts ^ (ids << np.uint64(32)))


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits in which every bit counts (splitmix64; Steele et al. 2014)."""
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
