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
class EnsembleStep:
    """The step of an ensemble; see `LanguageModel.step_function`."""

    parts: tuple[Callable, ...]
    xp: Any

    def __call__(self, weights, ids, state) -> tuple[Any, tuple]:
        found = [
            step(own, ids, part) for step, own, part in zip(self.parts, weights, state, strict=True)
        ]
        return mean_logits(self.xp, [logits for logits, _ in found]), tuple(s for _, s in found)


@dataclasses.dataclass(frozen=True)
class EnsembleRead:
    """`read_function` of an ensemble."""

    parts: tuple[Callable, ...]
    xp: Any

    def __call__(self, weights, ids, state) -> tuple[Any, tuple]:
        found = _call_each(self.parts, weights, ids, state)
        return mean_logits(self.xp, [logits for logits, _ in found]), tuple(s for _, s in found)


@dataclasses.dataclass(frozen=True)
class EnsembleHidden:
    """`hidden_function` of an ensemble."""

    parts: tuple[Callable, ...]
    xp: Any

    def __call__(self, weights, ids, state) -> tuple[Any, tuple]:
        found = _call_each(self.parts, weights, ids, state)
        activations = self.xp.concatenate([activations for activations, _ in found], -1)
        return activations, tuple(part for _, part in found)


def _call_each(parts: Sequence[Callable], weights: dict[str, Any], ids, state) -> list[tuple]:
    """Calls each part with its own weights, whose names start with its index."""
    own: list[dict[str, Any]] = [{} for _ in parts]
    for name, weight in weights.items():
        number, _, rest = name.partition("/")
        own[int(number)][rest] = weight
    return [part(w, ids, s) for part, w, s in zip(parts, own, state, strict=True)]


class Ensemble(LanguageModel):
    """The mean probability of `models`; `xp` is their array namespace."""

    def __init__(self, models: Sequence[LanguageModel], xp: Any) -> None:
        self.models, self._xp = tuple(models), xp

    @property
    def vocabulary_size(self) -> int:
        return self.models[0].vocabulary_size

    @property
    def weights(self) -> dict[str, Any]:
        return self._joined([model.weights for model in self.models])

    def weight_arrays(self) -> dict[str, Any]:
        return self._joined([model.weight_arrays() for model in self.models])

    @staticmethod
    def _joined(weights: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            f"{i}/{name}": weight for i, own in enumerate(weights) for name, weight in own.items()
        }

    @property
    def read_function(self) -> EnsembleRead:
        return EnsembleRead(tuple(model.read_function for model in self.models), self._xp)

    @property
    def hidden_function(self) -> EnsembleHidden:
        return EnsembleHidden(tuple(model.hidden_function for model in self.models), self._xp)

    @property
    def uses_numpy(self) -> bool:
        return all(model.uses_numpy for model in self.models)

    def in_numpy(self) -> "Ensemble | None":
        found = [model.in_numpy() for model in self.models]
        every = [model for model in found if model is not None]
        return Ensemble(every, np) if len(every) == len(found) else None

    def initial_state(self, batch_size):
        return tuple(model.initial_state(batch_size) for model in self.models)

    def read(self, ids, state, training=False):
        found = [
            model.read(ids, part, training) for model, part in zip(self.models, state, strict=True)
        ]
        logits = mean_logits(self._xp, [logits for logits, _ in found])
        return logits, tuple(part for _, part in found)

    @property
    def step_function(self) -> EnsembleStep:
        return EnsembleStep(tuple(model.step_function for model in self.models), self._xp)

    def step_weights(self):
        return tuple(model.step_weights() for model in self.models)

    def hidden(self, ids, state):
        found = [model.hidden(ids, part) for model, part in zip(self.models, state, strict=True)]
        activations = self._xp.concatenate([activations for activations, _ in found], -1)
        return activations, tuple(part for _, part in found)

    def facts(self) -> dict[str, str]:
        return {"models": str(len(self.models)), **self.models[0].facts()}


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
