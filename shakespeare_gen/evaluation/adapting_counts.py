"""Counts of what followed each context, which grow while a text is read.

    counts = AdaptingCounts(ids, levels)      # the shortest contexts first
    for token, contexts in zip(ids, counts):  # as they are before the token is counted
        ...

A context of one level determines that of the level before it, as with n-grams. Knows nothing about
what the contexts are; `ngrams` and `words` make the levels.

Shapes: N tokens.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

BLOCK_TOKENS = 100_000
LOCAL_DISCOUNT = 0.5


class Known(Protocol):
    """The counts of one level in the training text."""

    discount: float

    def following(self, context: int) -> dict[int, int]:
        """The count of each token after a context; none for the context -1."""


class Level(NamedTuple):
    """The contexts of one level.

    Attributes:
      keys: [N], a number for the context of each token; equal contexts have equal keys.
      known: the counts of the training text; None: only the text itself is counted.
      places: [N], the number of each context in `known`; -1: it is not there.
    """

    keys: np.ndarray
    known: Known | None = None
    places: np.ndarray | None = None


@dataclasses.dataclass
class Context:
    """What followed a context so far: the count of each next token, and their sum."""

    counts: dict[int, int]
    total: int


class AdaptingCounts:
    """Iterates over the tokens of a text; gives the contexts of each one, before it is counted.

    A context that was never followed by anything has a total of 0.

    Attributes:
      discounts: by level.
    """

    def __init__(self, ids: np.ndarray, levels: Sequence[Level]) -> None:
        self._ids, self._levels = ids, levels
        self._tables: list[dict[int, Context]] = [{} for _ in levels]
        self.discounts = [
            level.known.discount if level.known else LOCAL_DISCOUNT for level in levels
        ]

    def __iter__(self) -> Iterator[list[Context]]:
        # In blocks, because Python numbers take ten times the memory of an array.
        for begin in range(0, len(self._ids), BLOCK_TOKENS):
            block = slice(begin, begin + BLOCK_TOKENS)
            columns = zip(*(level.keys[block].tolist() for level in self._levels), strict=True)
            tokens = self._ids[block].tolist()
            for i, (token, own_keys) in enumerate(zip(tokens, columns, strict=True), begin):
                contexts = [self._context(k, key, i) for k, key in enumerate(own_keys)]
                yield contexts
                _count(contexts, token)

    def _context(self, number: int, key: int, i: int) -> Context:
        table, level = self._tables[number], self._levels[number]
        if key not in table:
            counts = {}
            if level.known and level.places is not None:
                counts = level.known.following(int(level.places[i]))
            table[key] = Context(counts, sum(counts.values()))
        return table[key]


def _count(contexts: Sequence[Context], token: int) -> None:
    """Counts a token. A shorter context counts the different ones that contain it, as in
    Kneser-Ney: only what is new to the longer one."""
    for context in reversed(contexts):
        before = context.counts.get(token, 0)
        context.counts[token] = before + 1
        context.total += 1
        if before:
            break
