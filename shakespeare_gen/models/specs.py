"""The names and shapes of a model's weights, derived from its options.

A checkpoint is verified against a spec before a model is built. Does not use TensorFlow; each
family has its own spec.
"""

import abc
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from shakespeare_gen.errors import UserError

MAX_PARAMETERS = 10**9  # 4 GB of float32 weights

Shape = tuple[int | range, ...]  # a range: the length depends on the training text


class Spec(abc.ABC):
    """A frozen, hashable description of a model.

    Attributes:
      family: the name of the family in `models.FAMILIES`.
      vocabulary_size: number of ids, V.
      size_options: the options that determine the size of the model, for messages.
    """

    family: ClassVar[str]
    size_options: ClassVar[tuple[str, ...]] = ()
    vocabulary_size: int

    @abc.abstractmethod
    def weight_shapes(self) -> Mapping[str, Shape]:
        """The shape of every weight by name."""

    def weight_dtypes(self) -> dict[str, str]:
        """The data type of every weight by name: float32, or an integer type."""
        return dict.fromkeys(self.weight_shapes(), "float32")

    @abc.abstractmethod
    def state_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """The shapes of the arrays of a state, float32 or int32, as in `states.flatten`."""

    def state_names(self) -> list[str]:
        """A name for each of these arrays."""
        return [f"state_{i}" for i in range(1, len(self.state_shapes(1)) + 1)]

    def find_damage(self, weights: Mapping[str, np.ndarray]) -> str | None:
        """What is wrong with weights of these names, types and shapes; None: nothing.

        For weights that are used as indices. They may come from an untrusted file.
        """
        del weights
        return None

    @property
    def weight_dropout(self) -> float:
        """Dropout rate of the recurrent kernels in training."""
        return 0.0

    @property
    def num_parameters(self) -> int:
        """Number of weights; the maximum if it depends on the training text."""
        return sum(math.prod(max_shape(shape)) for shape in self.weight_shapes().values())

    def checked(self) -> "Spec":
        """Returns the spec itself after a check of its size.

        Raises:
          UserError: it has more than `MAX_PARAMETERS` parameters.
        """
        if self.num_parameters > MAX_PARAMETERS:
            hint = " and ".join(f"`{name}`" for name in self.size_options)
            name = next(iter(self.size_options), "model")
            raise UserError(
                f"{name}: expected at most {MAX_PARAMETERS:,} parameters, received "
                f"{self.num_parameters:,}" + (f"; reduce {hint}" if hint else "")
            )
        return self


def max_shape(shape: Shape) -> tuple[int, ...]:
    """The largest shape that `shape` allows."""
    return tuple(length[-1] if isinstance(length, range) else length for length in shape)
