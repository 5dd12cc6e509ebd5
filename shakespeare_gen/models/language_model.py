"""The contract of a language model, for all model families.

A state is a tree (nested tuples and dicts) of arrays whose first axis is the batch; see `states`.
States and layers are opaque to callers.

    logits, state = model.read(ids)             # [B, T] -> [B, T, V], the start of a text
    logits, state = model.read(ids, state)      # its continuation
    logits, state = model.step(ids, state)      # [B]    -> [B, V]

Knows nothing about text, files or sampling.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from shakespeare_gen.models.states import State

StepWeights = Any  # a tree, as laid out for a step function


class LanguageModel(abc.ABC):
    """Predicts the next id from the preceding ones."""

    @property
    @abc.abstractmethod
    def vocabulary_size(self) -> int:
        """Number of ids, V."""

    @property
    @abc.abstractmethod
    def weights(self) -> dict[str, Any]:
        """Every weight by a stable name such as `lstm_1/kernel`; live variables or arrays."""

    @abc.abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state of `batch_size` rows before any id is read."""

    @abc.abstractmethod
    def read(self, ids, state: State = None, training: bool = False) -> tuple[Any, State]:
        """Reads a sequence: ids [B, T], state -> logits [B, T, V] after each id, state.

        Args:
          state: None: the start of a text, as with `initial_state`, which may be faster.
        """

    @property
    def read_function(self) -> Callable[..., tuple[Any, State]]:
        """`read` as a pure function: weights by name, ids [B, T], state=None -> logits, state.

        Hashable, and equal for models of the same shape. The default ignores its argument and uses
        the weights of the model.
        """
        return _Bound(self, "read")

    @property
    def hidden_function(self) -> Callable[..., tuple[Any, State]]:
        """`hidden` as a pure function, like `read_function`."""
        return _Bound(self, "hidden")

    def weight_arrays(self) -> dict[str, Any]:
        """The current value of every weight, in the form that `read_function` takes."""
        return self.weights

    @property
    @abc.abstractmethod
    def step_function(self) -> Callable[[StepWeights, Any, State], tuple[Any, State]]:
        """A pure function: step weights, ids [B], state -> logits [B, V], state.

        Hashable, and equal for models of the same shape, so that they share compiled code.
        """

    @abc.abstractmethod
    def step_weights(self) -> StepWeights:
        """The current weights, laid out for `step_function`.

        Takes about a millisecond per million weights: call it once per text, not per step.
        """

    def step(self, ids, state: State) -> tuple[Any, State]:
        """Reads one id per row: ids [B], state -> logits [B, V], state."""
        return self.step_function(self.step_weights(), ids, state)

    def hidden(self, ids, state: State = None) -> tuple[Any, State]:
        """The activations of all units after each id: ids [B, T] -> float32 [B, T, U], state.

        The default is for a model without units: U is 0.
        """
        logits, state = self.read(ids, state)
        return logits[..., :0], state

    def gate_values(self, ids) -> dict[str, Any]:
        """The values of all gates at the start of a text, by layer and gate, such as
        `lstm_1/forget`: ids [B, T] -> [B, T, U]. Empty: the model has none."""
        return {}

    @property
    def uses_numpy(self) -> bool:
        """Whether the model is computed in NumPy, without TensorFlow."""
        return False

    def in_numpy(self) -> "LanguageModel | None":
        """The model with its current weights in NumPy; None if there is no such form.

        Reads texts step by step, which for a short one is faster than compiling.
        """
        return self if self.uses_numpy else None

    def in_bfloat16(self) -> "LanguageModel | None":
        """The model with its current weights, whose step computes products in bfloat16.

        Sums, states and logits are float32. The step must be compiled by XLA. None if there is no
        such form.
        """
        return None

    @property
    def num_parameters(self) -> int:
        """Number of weights."""
        total = 0
        for weight in self.weights.values():
            size = 1
            for length in weight.shape:
                size *= int(length)
            total += size
        return total

    @property
    def has_gradients(self) -> bool:
        """Whether the logits have gradients with respect to the weights."""
        return True

    @property
    def layer(self) -> Any:
        """The Keras layer that holds the variables; None for a model that `fit` cannot train."""
        return None

    def facts(self) -> dict[str, str]:
        """How this machine computes the model, such as `{"kernel": "fused"}`."""
        return {}


@dataclasses.dataclass(frozen=True, eq=False)
class _Bound:
    """A method of one model with the signature of a pure function."""

    model: LanguageModel
    method: str

    def __call__(self, weights, ids, state=None) -> tuple[Any, State]:
        return getattr(self.model, self.method)(ids, state)


class StepwiseModel(LanguageModel):
    """A model defined by its step: `read` steps through the sequence.

    Args:
      step_function: see `LanguageModel.step_function`.
      weights: the weights by name.
      step_weights: the same, laid out for `step_function`.
      initial_state: `batch_size -> state`.
      xp: the array namespace, `numpy` or `tensorflow.experimental.numpy`.
    """

    def __init__(
        self,
        step_function: Callable,
        weights: dict[str, Any],
        step_weights: StepWeights,
        initial_state: Callable[[int], State],
        xp: Any,
    ) -> None:
        self._step_function, self._weights = step_function, weights
        self._step_weights, self._initial_state, self._xp = step_weights, initial_state, xp

    @property
    def vocabulary_size(self) -> int:
        logits, _ = self.step(self._xp.zeros([1], self._xp.int32), self.initial_state(1))
        return int(logits.shape[-1])

    @property
    def weights(self) -> dict[str, Any]:
        return self._weights

    @property
    def uses_numpy(self) -> bool:
        return self._xp is np

    def initial_state(self, batch_size: int) -> State:
        return self._initial_state(batch_size)

    def read(self, ids, state: State = None, training: bool = False) -> tuple[Any, State]:
        ids = self._xp.asarray(ids)
        state = self.initial_state(ids.shape[0]) if state is None else state
        outputs = []
        for t in range(ids.shape[1]):
            logits, state = self._step_function(self._step_weights, ids[:, t], state)
            outputs.append(logits)
        return self._xp.stack(outputs, 1), state

    @property
    def step_function(self) -> Callable:
        return self._step_function

    def step_weights(self) -> StepWeights:
        return self._step_weights
