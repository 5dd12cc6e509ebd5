"""The names and shapes of a model's weights, derived from its options.

A checkpoint is verified against a spec before a model is built. Does not use TensorFlow; each
family has its own spec.
"""

import abc
import math
from typing import ClassVar

from shakespeare_gen.errors import UserError

MAX_PARAMETERS = 10**9  # 4 GB of float32 weights


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
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight by name; all weights are float32."""

    @abc.abstractmethod
    def state_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """The shapes of the float32 arrays of a state, in the order of `states.flatten`."""

    @property
    def num_parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(shape) for shape in self.weight_shapes().values())

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
