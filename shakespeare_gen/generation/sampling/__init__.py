"""Sampling: from logits to an id. Knows nothing about models and tokenizers.

- `transform`: the contract, `Transform`;
- `penalties`, `ngrams`, `temperature`, `filters`, `mirostat`: the transforms;
- `drawing`: all transforms in order, then the draw;
- `arrays`, `orders`: operations that they share.

To add a transform, write a subclass of `Transform` and put it in its place in `TRANSFORMS`.

    sampling = Sampling.of(temperature=0.7, top_k=40)
    sampling[MostLikely].top_k
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from shakespeare_gen.generation.sampling.filters import MinP, MostLikely, Typical
from shakespeare_gen.generation.sampling.mirostat import Mirostat
from shakespeare_gen.generation.sampling.ngrams import NoRepeatNgram
from shakespeare_gen.generation.sampling.penalties import (
    MAX_REPEAT_WINDOW,
    Penalties,
    RepeatWindow,
)
from shakespeare_gen.generation.sampling.temperature import Temperature
from shakespeare_gen.generation.sampling.transform import Transform, Values
from shakespeare_gen.options import OptionGroup, Options

__all__ = [
    "MAX_REPEAT_WINDOW",
    "TRANSFORMS",
    "MinP",
    "Mirostat",
    "MostLikely",
    "NoRepeatNgram",
    "Penalties",
    "RepeatWindow",
    "Sampling",
    "Temperature",
    "Transform",
    "Typical",
    "Values",
    "groups",
    "stacked",
]

# Applied in this order; each receives the output of the preceding one.
TRANSFORMS: list[type[Transform]] = [
    Penalties,
    NoRepeatNgram,
    Temperature,
    MostLikely,
    MinP,
    Typical,
    Mirostat,
]

# Values outside this range would underflow or overflow in float32 and produce NaN.
_SMALLEST, _LARGEST = 1e-30, 1e30

G = TypeVar("G", bound=OptionGroup)


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of sampling, those that depend on previous tokens last."""
    return (*sorted(TRANSFORMS, key=lambda kind: kind.looks_back), RepeatWindow)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token of one text is chosen.

    Raises:
      UsageError: two transforms contradict each other.
    """

    options: Options

    def __post_init__(self) -> None:
        for transform in self.transforms:
            transform.check_with(self.options)

    @classmethod
    def of(cls, **values: Any) -> "Sampling":
        """From values by name; the others have their defaults."""
        return cls(Options.parse(groups(), values))

    def __getitem__(self, group: type[G]) -> G:
        return self.options[group]

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """One object per transform, in order."""
        return tuple(self.options[kind] for kind in TRANSFORMS)

    @functools.cached_property
    def _used(self) -> frozenset[type[Transform]]:
        return frozenset(kind for kind in TRANSFORMS if not self.options[kind].is_neutral)

    def uses(self, kind: type[Transform]) -> bool:
        """Whether a transform changes anything."""
        return kind in self._used

    @functools.cached_property
    def values(self) -> dict[str, float]:
        """The options by name, in the range of float32.

        `repeat_window` is 1 if nothing looks back: a batch keeps only as many previous ids as its
        rows need.
        """
        values = {**self.options.by_name(), "repeat_window": max(self.repeat_window, 1)}
        return {name: _in_range(value) for name, value in values.items()}

    @functools.cached_property
    def repeat_window(self) -> int:
        """Number of previous tokens that matter; 0: none."""
        looks_back = any(self.uses(kind) for kind in TRANSFORMS if kind.looks_back)
        return self.options[RepeatWindow].repeat_window if looks_back else 0


def stacked(samplings: Sequence[Sampling]) -> Values:
    """The options of a batch as transforms take them: by name, float32 [B, 1]."""
    rows = [sampling.values for sampling in samplings]
    return {name: np.array([[row[name]] for row in rows], np.float32) for name in rows[0]}


def _in_range(value: float) -> float:
    if isinstance(value, float) and value:
        return math.copysign(min(max(abs(value), _SMALLEST), _LARGEST), value)
    return value
