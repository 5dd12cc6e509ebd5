"""Rows that are drawn together; rows join and leave between draws.

The random numbers of a row depend only on its key and the position, not on the chunks or on the
other rows. Works on ids; knows nothing about text, prompts or stop conditions, and does not decide
how many tokens to draw.

Shapes: B rows, P rows with padding, V vocabulary, W window, T tokens of a draw.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from shakespeare_gen.generation import sampling
from shakespeare_gen.generation.sampling import Sampling, Transform
from shakespeare_gen.generation.sampling.drawing import BatchOptions
from shakespeare_gen.models import states

WINDOW_SIZES = (64, 512, sampling.MAX_REPEAT_WINDOW)


@dataclasses.dataclass(frozen=True)
class Row:
    """A text to continue.

    Attributes:
      sampling: how its tokens are chosen.
      key: (seed, number of the sample), the key of its random numbers.
      state: the state of the model, one row.
      logits: float32 [1, V], of the first token.
      recent: int32 [1, any], the ids before it; -1 before the first one.
      bias: float32 [V], added to the logits of every token; -inf for ids that are never drawn.
    """

    sampling: Sampling
    key: tuple[int, int]
    state: Any
    logits: Any
    recent: np.ndarray
    bias: np.ndarray


class Carried(NamedTuple):
    """What a draw changes: logits, model state, memory of the transforms, the last ids [P, W]."""

    logits: Any
    state: Any
    memory: Any
    recent: np.ndarray


class Inputs(NamedTuple):
    """What the draws of a batch share.

    Attributes:
      kinds: the transforms that are computed or compiled.
      bias: float32 [P, V].
    """

    kinds: tuple[type[Transform], ...]
    options: BatchOptions
    bias: np.ndarray


class _Member(NamedTuple):
    """What a batch keeps of a row."""

    sampling: Sampling
    bias: np.ndarray
    random: np.random.Generator

    @classmethod
    def of(cls, row: Row) -> "_Member":
        return cls(row.sampling, row.bias, np.random.Generator(np.random.Philox(key=row.key)))


class Batch:
    """A batch of rows, padded with copies of the last one.

    Args:
      row_sizes: the numbers of rows that a batch is padded to; empty: it is not padded.

    Attributes:
      row_sizes: may be changed; the next `change` pads to it.
      inputs, carried: the arguments of the next draw; undefined while the batch is empty.
    """

    inputs: Inputs
    carried: Carried

    def __init__(self, row_sizes: Sequence[int] = ()) -> None:
        self.row_sizes = row_sizes
        self._members: list[_Member] = []

    def __len__(self) -> int:
        return len(self._members)

    def change(self, kept: Sequence[int], new: Sequence[Row]) -> None:
        """Keeps the rows at the places `kept`, in this order, and appends `new`."""
        num_before = len(self._members) and len(self.carried.recent)
        self._members = [*(self._members[i] for i in kept), *map(_Member.of, new)]
        if not self._members:
            return
        logits, state, recent = self._gathered(num_before, kept, new)
        padded = [self._members[min(i, len(self) - 1)] for i in range(len(recent))]
        samplings = [member.sampling for member in padded]
        kinds = _kinds(samplings)
        options, memory, last = prepared(samplings, recent, kinds, logits.shape[1])
        if num_before:
            before = states.in_memory(self.carried.memory)
            memory |= _continued(kinds, before, memory, kept)
        self.inputs = Inputs(kinds, options, np.stack([member.bias for member in padded]))
        self.carried = Carried(logits, state, memory, last)

    def _gathered(
        self, num_before: int, kept: Sequence[int], new: Sequence[Row]
    ) -> tuple[Any, Any, list[np.ndarray]]:
        """Logits, state and the previous ids of every row, with padding.

        `num_before` rows were carried, with padding.
        """
        parts = [(row.logits, row.state) for row in new]
        recent = [row.recent for row in new]
        if num_before:
            parts.insert(0, states.in_memory((self.carried.logits, self.carried.state)))
            recent = [*(self.carried.recent[i : i + 1] for i in kept), *recent]
        places = [*kept, *range(num_before, num_before + len(new))]
        size = size_at_least(len(places), self.row_sizes) if self.row_sizes else len(places)
        num_padding = size - len(places)
        index = np.array(places + places[-1:] * num_padding, np.int32)
        logits, state = states.take(states.concatenate(parts), index)
        return logits, state, recent + recent[-1:] * num_padding

    def uniform(self, num_tokens: int) -> np.ndarray:
        """The next random numbers of every row, float32 [T, P]; 0 in the padding."""
        found = np.zeros((num_tokens, len(self.carried.recent)), np.float32)
        columns = [member.random.random(num_tokens, np.float32) for member in self._members]
        found[:, : len(columns)] = np.stack(columns, 1)
        return found


def size_at_least(size: int, sizes: Sequence[int]) -> int:
    """The first of the ascending `sizes` that is large enough."""
    return next(s for s in sizes if s >= size)


def _kinds(samplings: Sequence[Sampling]) -> tuple[type[Transform], ...]:
    """The transforms to compile: all, or only the basic ones if no row uses another."""
    basic = tuple(kind for kind in sampling.TRANSFORMS if kind.is_always_compiled)
    others = [kind for kind in sampling.TRANSFORMS if kind not in basic]
    is_basic = not any(s.uses(kind) for s in samplings for kind in others)
    return basic if is_basic else tuple(sampling.TRANSFORMS)


def prepared(
    samplings: Sequence[Sampling],
    recent: Sequence[np.ndarray],
    kinds: Sequence[type[Transform]],
    vocabulary_size: int,
) -> tuple[BatchOptions, dict[str, Any], np.ndarray]:
    """The options of `kinds`, their memory at first, and the previous ids that they use [P, W].

    Args:
      recent: the previous ids of each row, int32 [1, any].
    """
    width = 0
    if any(kind.looks_back for kind in kinds):
        largest = max(s.repeat_window for s in samplings)
        # One more than the window: the transforms ask which id has left it.
        width = size_at_least(largest, WINDOW_SIZES) + 1
    last = np.full((len(recent), width), -1, np.int32)
    for row, ids in zip(last, recent, strict=True):
        count = min(width, ids.shape[1])
        row[width - count :] = ids[0, ids.shape[1] - count :]
    values = sampling.stacked(samplings)
    used = {
        kind.__name__: np.array(any(s.uses(kind) for s in samplings))
        for kind in kinds
        if not kind.is_always_compiled
    }
    memory = {kind.__name__: kind.start(values, last, vocabulary_size) for kind in kinds}
    return BatchOptions(values, used), memory, last


def _continued(
    kinds: Sequence[type[Transform]], before: Any, started: Any, kept: Sequence[int]
) -> dict[str, Any]:
    """The memory that rows which stay in a batch carry on.

    A transform that looks back starts anew from the last ids, whose number may have changed.
    """
    found = {}
    for name in (kind.__name__ for kind in kinds if not kind.looks_back):
        if name in before:
            rest = states.map_arrays(lambda array: array[len(kept) :], started[name])
            found[name] = states.concatenate(
                [states.take(before[name], np.array(kept, np.int32)), rest]
            )
    return found
