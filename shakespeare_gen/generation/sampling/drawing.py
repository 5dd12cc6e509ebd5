"""One draw: applies every transform in order, then samples an id.

Shapes: B batch, V vocabulary, W window. `xp` is `numpy` or `tensorflow.experimental.numpy`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.generation.sampling.transform import Array, Transform, Values

Memory = dict[str, Any]
Window = Callable[[], Array]

# Probabilities are rounded to multiples of 2**-22: sums of whole numbers are exact in any order.
_WHOLE = np.float32(2**22)
_HALF, _ONE = np.float32(0.5), np.float32(1)


class BatchOptions(NamedTuple):
    """The options of a batch.

    Attributes:
      values: by the name of an option, float32 [B, 1].
      used: by the name of a transform, whether any row uses it; without those that are always
        compiled.
    """

    values: Values
    used: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Chain:
    """Transforms in order, on one array namespace.

    A transform is computed only if a row uses it. The last ids come as a function, `window`, that
    returns int32 [B, W]; it is called only for a transform that is computed.

    Attributes:
      branch: `(condition, if_true, if_false)`, returns what one of the two functions returns.
    """

    kinds: Sequence[type[Transform]]
    xp: Any
    branch: Callable

    def draw(
        self,
        logits: Array,
        forbidden: Array | None,
        uniform: Array,
        options: BatchOptions,
        memory: Memory,
        window: Window,
    ) -> tuple[Array, dict[str, Array]]:
        """Draws one id per row.

        Args:
          logits: float32 [B, V], those of the model.
          forbidden: float32 [V] or [B, V], -inf for ids that are never drawn and 0 for the others;
            None: nothing is added.
          uniform: float32 [B] in [0, 1), the places in the cumulative distributions.

        Returns:
          ids, int32 [B], and what `update` needs.
        """
        logits = logits if forbidden is None else logits + forbidden
        changed, received = self.apply(logits, options, memory, window)
        return draw(self.xp, changed, uniform), received

    def apply(
        self, logits: Array, options: BatchOptions, memory: Memory, window: Window
    ) -> tuple[Array, dict[str, Array]]:
        """The changed logits [B, V], and by the name of each transform those it received."""
        received = {}
        for kind in self.kinds:
            name = kind.__name__
            received[name] = logits

            def changed(kind=kind, name=name, logits=logits):
                return kind.apply(self.xp, logits, options.values, memory[name], window())

            logits = self._if_used(kind, options, changed, lambda logits=logits: logits)
        return logits, received

    def update(
        self,
        memory: Memory,
        ids: Array,
        options: BatchOptions,
        received: dict[str, Array],
        window: Window,
    ) -> Memory:
        """The memory after `ids` [B] were drawn, which are the last ones of the window."""
        new_memory = dict(memory)
        for kind in self.kinds:
            if kind.update is Transform.update:  # it remembers nothing
                continue
            name = kind.__name__

            def changed(kind=kind, name=name):
                return kind.update(
                    self.xp, options.values, memory[name], received[name], ids, window()
                )

            new_memory[name] = self._if_used(kind, options, changed, lambda name=name: memory[name])
        return new_memory

    def _if_used(
        self, kind: type[Transform], options: BatchOptions, changed: Callable, unchanged: Callable
    ) -> Any:
        if kind.is_always_compiled:
            return changed()
        return self.branch(options.used[kind.__name__], changed, unchanged)


def draw(xp, logits: Array, uniform: Array) -> Array:
    """The ids int32 [B] at the places `uniform` [B] of the distributions of logits [B, V].

    An id whose probability is 0 is never drawn; a rounded sum could stop at one.
    """
    whole = xp.floor(arrays.softmax(xp, logits) * _WHOLE + _HALF)
    cumulative = arrays.cumulative_sum(xp, whole)
    if xp is np and len(logits) == 1:  # numbers take a sixth of the time of arrays
        return np.array([_place_of(cumulative[0], uniform[0])], np.int32)
    total = cumulative[:, -1:]
    place = xp.minimum(xp.floor(uniform[:, None] * total), total - _ONE)
    return arrays.count(xp, cumulative <= place)


def _place_of(cumulative: np.ndarray, uniform: np.float32) -> int:
    """The same for one row: cumulative [V]."""
    total = cumulative[-1]
    place = min(np.floor(uniform * total), total - _ONE)
    return int(cumulative.searchsorted(place, "right"))
