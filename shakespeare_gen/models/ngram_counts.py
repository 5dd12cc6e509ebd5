"""Counts of the n-grams of a text, and interpolated Kneser-Ney probabilities from them.

    p_k(t | context of k) = probability[n-gram] + backoff[context] p_{k-1}(t | context of k - 1)
    probability[n-gram]   = (count - d) / total
    backoff[context]      = the sum of the discounts d of its n-grams / total

The longest contexts count how often a token followed them; the shorter ones count how many
different tokens preceded the n-gram. The discounts are estimated from the counts of counts: one
per context length (Kneser and Ney 1995), or one each for the counts 1, 2, and 3 or more (modified
Kneser-Ney; Chen and Goodman 1999). The lowest order interpolates with the uniform distribution, so
that every p_k sums to one.

Contexts and n-grams have numbers, and their keys are sorted: a context of k tokens is a context of
k - 1 (its last tokens) with a token before it, an n-gram is a context with a token after it.
`start_id` precedes the text as often as needed. Knows nothing about models and files; does not use
TensorFlow.

Shapes: N tokens, C contexts of one length, G n-grams (contexts with a next token).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np


def _nothing(num_ngrams: int) -> None:
    """The default of `check`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
    """The contexts of one length, and the n-grams that begin with them.

    Attributes:
      context_tokens: the length of the contexts.
      contexts: int64 [C], ascending: number of the context without its first token times V, plus
        that token; [0] for the empty context.
      ngrams: int64 [G], ascending: number of the context times V, plus the next token.
      occurrences: int64 [G], how often each n-gram occurs.
      preceding: int64 [G], how many different tokens precede each n-gram; None: not counted.
    """

    vocabulary_size: int
    context_tokens: int
    contexts: np.ndarray
    ngrams: np.ndarray
    occurrences: np.ndarray
    preceding: np.ndarray | None = None

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """The number of the first n-gram of each context, and the end: int64 [C + 1]."""
        bounds = np.arange(len(self.contexts) + 1) * self.vocabulary_size
        return np.searchsorted(self.ngrams, bounds)

    @functools.cached_property
    def distinct(self) -> np.ndarray:
        """The number of different tokens that follow each context: int64 [C]."""
        return np.diff(self.begins)

    @property
    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the context and of the n-gram of each n-gram: int64 [G] each."""
        return self.ngrams // self.vocabulary_size, np.arange(len(self.ngrams))

    def totals(self, counts: np.ndarray) -> np.ndarray:
        """The sum of `counts` [G] for each context: [C]."""
        return np.add.reduceat(counts, self.begins[:-1])


def count(
    ids: np.ndarray,
    vocabulary_size: int,
    start_id: int,
    max_context_tokens: int,
    check: Callable[[int], None] = _nothing,
) -> list[Order]:
    """The counts of a text [N] for contexts of 0 to `max_context_tokens` tokens.

    Takes about 100 bytes per token while it counts.

    Args:
      check: called after each order with the number of n-grams so far; may raise an exception to
        end counting.
    """
    ids, orders = np.asarray(ids, np.int64), list[Order]()
    contexts, numbers = np.zeros(1, np.int64), np.zeros(len(ids), np.int64)
    for length in range(max_context_tokens + 1):
        if length:
            keys = numbers * vocabulary_size + _preceding(ids, start_id, length)
            contexts, numbers = np.unique(keys, return_inverse=True)
        keys = numbers * vocabulary_size + ids
        found = np.unique(keys, return_counts=True)
        order = Order(vocabulary_size, length, contexts, *found)
        if orders:
            shorter = without_first_token(order, orders[-1])
            preceding = np.bincount(shorter, minlength=len(orders[-1].ngrams))
            orders[-1] = dataclasses.replace(orders[-1], preceding=preceding)
        orders.append(order)
        check(sum(len(each.ngrams) for each in orders))
    return orders


def without_first_token(order: Order, lower: Order) -> np.ndarray:
    """The number of each n-gram of `order` without its first token, in the order below: [G]."""
    contexts, tokens = np.divmod(order.ngrams, order.vocabulary_size)
    shorter = order.contexts[contexts] // order.vocabulary_size
    return np.searchsorted(lower.ngrams, shorter * order.vocabulary_size + tokens)


def find(
    orders: Sequence[Order], ids: np.ndarray, start_id: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each order, the numbers of the context and of the n-gram of each token of `ids` [N].

    -1: not counted.
    """
    ids = np.asarray(ids, np.int64)
    numbers = np.zeros(len(ids), np.int64)
    for length, order in enumerate(orders):
        if length:
            keys = numbers * order.vocabulary_size + _preceding(ids, start_id, length)
            numbers = _places(order.contexts, keys)
        yield numbers, _places(order.ngrams, numbers * order.vocabulary_size + ids)


def _preceding(ids: np.ndarray, start_id: int, distance: int) -> np.ndarray:
    """The token `distance` tokens before each token."""
    padding = np.full(distance, start_id, np.int64)
    return np.concatenate([padding, ids])[: len(ids)]


def _places(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The index of each of `wanted` in the sorted `keys`; -1 if it is not among them.

    The key of an n-gram of an unknown context is negative, and so never among them.
    """
    places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)


@dataclasses.dataclass(frozen=True, eq=False)
class Smoothed:
    """An order with its part of the interpolation.

    Attributes:
      probabilities: float64 [G], of each n-gram after the discount.
      backoffs: float64 [C], what each context leaves to the lower order.
    """

    probabilities: np.ndarray
    backoffs: np.ndarray

    def interpolated(
        self, lower: np.ndarray, contexts: np.ndarray, ngrams: np.ndarray
    ) -> np.ndarray:
        """Probabilities [N] from those of the lower order [N] and the result of `find`."""
        rest = np.where(contexts >= 0, self.backoffs[contexts], 1.0)
        return np.where(ngrams >= 0, self.probabilities[ngrams], 0.0) + rest * lower


def smoothed(
    order: Order, is_longest: bool, num_discounts: int = 1, kept: np.ndarray | None = None
) -> Smoothed:
    """The Kneser-Ney probabilities of an order.

    Args:
      is_longest: whether it has the longest contexts, which count occurrences.
      num_discounts: 1, or 3 for modified Kneser-Ney.
      kept: bool [G]; what the other n-grams have is left to the lower order. None: all.
    """
    counts = order.occurrences if is_longest else order.preceding
    assert counts is not None
    probabilities = counts - discounts(counts, num_discounts)[np.minimum(counts, 3)]
    if kept is not None:
        probabilities = np.where(kept, probabilities, 0.0)
    totals = order.totals(counts).astype(float)
    backoffs = 1 - order.totals(probabilities) / totals
    return Smoothed(probabilities / np.repeat(totals, order.distinct), backoffs)


def discounts(counts: np.ndarray, num_discounts: int = 1) -> np.ndarray:
    """The discounts of the counts 0 (none), 1, 2, and 3 or more: float64 [4].

    The estimates of Chen and Goodman; 0.5 for a text without rare n-grams.
    """
    once, twice, thrice, four = (int((counts == n).sum()) for n in range(1, 5))
    single = once / (once + 2 * twice) if once and twice else 0.5
    if num_discounts == 1 or not (once and twice and thrice and four):
        return np.array([0.0, single, single, single])
    ratios = np.array([twice / once, thrice / twice, four / thrice])
    found = np.arange(1, 4) - np.arange(2, 5) * single * ratios
    return np.array([0.0, *found.clip(0.01, np.arange(1, 4) - 0.01)])
