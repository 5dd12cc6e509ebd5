"""An ensemble of models with the same vocabulary: the mean of their probabilities.

The logits of the ensemble are those of the mean probability, on the mean scale of the models' own
logits: a repetition penalty divides logits, and an ensemble of identical models must behave like
that model. A state is a tuple of the models' states.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shakespeare_gen.models.language_model import LanguageModel


@dataclasses.dataclass(frozen=True)
class EnsembleFunction:
    """A function of the weights of an ensemble: calls each part and joins the outputs.

    Attributes:
      parts: one function per model, `(weights, ids, state) -> output, state`.
      join: `(xp, outputs of all parts) -> output`.
    """

    parts: tuple[Callable, ...]
    xp: Any
    join: Callable[[Any, Sequence], Any]

    def __call__(self, weights, ids, state=None) -> tuple[Any, tuple]:
        own = weights if isinstance(weights, tuple) else _by_part(weights, len(self.parts))
        calls = zip(self.parts, own, _states_of(state, len(self.parts)), strict=True)
        return _joined(self.join, self.xp, [part(w, ids, s) for part, w, s in calls])


def _joined(join: Callable, xp, results: Sequence[tuple]) -> tuple[Any, tuple]:
    """The output and the state of an ensemble from those of its parts."""
    outputs, states = zip(*results, strict=True)
    return join(xp, outputs), states


def _states_of(state, num_parts: int) -> tuple:
    """The state of each part; None: the start of a text."""
    return (None,) * num_parts if state is None else state


def _by_part(weights: dict[str, Any], num_parts: int) -> list[dict[str, Any]]:
    """The weights of each part, whose names start with its index."""
    own: list[dict[str, Any]] = [{} for _ in range(num_parts)]
    for name, weight in weights.items():
        number, _, rest = name.partition("/")
        own[int(number)][rest] = weight
    return own


class Ensemble(LanguageModel):
    """The mean probability of `models`; `xp` is their array namespace."""

    def __init__(self, models: Sequence[LanguageModel], xp: Any) -> None:
        self.models, self._xp = tuple(models), xp

    @property
    def vocabulary_size(self) -> int:
        return self.models[0].vocabulary_size

    @property
    def weights(self) -> dict[str, Any]:
        return _numbered([model.weights for model in self.models])

    def weight_arrays(self) -> dict[str, Any]:
        return _numbered([model.weight_arrays() for model in self.models])

    @property
    def read_function(self) -> EnsembleFunction:
        parts = tuple(model.read_function for model in self.models)
        return EnsembleFunction(parts, self._xp, mean_logits)

    @property
    def hidden_function(self) -> EnsembleFunction:
        parts = tuple(model.hidden_function for model in self.models)
        return EnsembleFunction(parts, self._xp, concatenated)

    @property
    def has_gradients(self) -> bool:
        return all(model.has_gradients for model in self.models)

    @property
    def uses_numpy(self) -> bool:
        return all(model.uses_numpy for model in self.models)

    def in_numpy(self) -> "Ensemble | None":
        found = [model.in_numpy() for model in self.models]
        every = [model for model in found if model is not None]
        return Ensemble(every, np) if len(every) == len(found) else None

    def in_bfloat16(self) -> "Ensemble | None":
        found = [model.in_bfloat16() for model in self.models]
        every = [model for model in found if model is not None]
        return Ensemble(every, self._xp) if len(every) == len(found) else None

    def initial_state(self, batch_size):
        return tuple(model.initial_state(batch_size) for model in self.models)

    def read(self, ids, state=None, training=False):
        parts = zip(self.models, _states_of(state, len(self.models)), strict=True)
        results = [model.read(ids, own, training) for model, own in parts]
        return _joined(mean_logits, self._xp, results)

    @property
    def step_function(self) -> EnsembleFunction:
        parts = tuple(model.step_function for model in self.models)
        return EnsembleFunction(parts, self._xp, mean_logits)

    def step_weights(self):
        return tuple(model.step_weights() for model in self.models)

    def hidden(self, ids, state=None):
        parts = zip(self.models, _states_of(state, len(self.models)), strict=True)
        return _joined(concatenated, self._xp, [model.hidden(ids, own) for model, own in parts])

    def gate_values(self, ids):
        return _numbered([model.gate_values(ids) for model in self.models])

    def facts(self) -> dict[str, str]:
        return {"models": str(len(self.models)), **self.models[0].facts()}


def _numbered(weights: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The weights of all parts, by the index of the part and their name."""
    return {f"{i}/{name}": weight for i, own in enumerate(weights) for name, weight in own.items()}


def concatenated(xp, activations: Sequence):
    """The activations [..., U] of all parts, one after the other."""
    return xp.concatenate(activations, -1)


def mean_logits(xp, logits: Sequence):
    """Logits [..., V] of the mean probability of several models."""
    if len(logits) == 1:
        return logits[0]
    every = xp.stack(logits)
    scales = _log_sum_exp(xp, every, -1, keepdims=True)
    total = _log_sum_exp(xp, every - scales, 0)
    return total - math.log(len(logits)) + xp.mean(scales, axis=0)


def _log_sum_exp(xp, x, axis: int, keepdims: bool = False):
    largest = xp.max(x, axis=axis, keepdims=True)
    total = xp.log(xp.sum(xp.exp(x - largest), axis=axis, keepdims=True)) + largest
    return total if keepdims else xp.squeeze(total, axis)
