"""Samplers and pruners of a study.

Each trial is drawn with its own seed, so that workers do not draw the same options, and a study
that is continued does not draw them again. Knows nothing about training.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from shakespeare_gen.options.groups import TuneOptions
from shakespeare_gen.tuning import attempts
from shakespeare_gen.tuning.space import Space

START_TRIALS = 5  # that the median is taken over, at least


def sampler(options: TuneOptions, space: Space) -> BaseSampler:
    """The sampler of a study.

    Raises:
      UsageError: the space is not finite, and the sampler is `grid`.
    """
    if options.sampler == "grid":
        return _Grid(space.grid())
    return _SeededByTrial(options.sampler, options.sampler_seed)


def pruner(options: TuneOptions, epochs: int) -> BasePruner:
    """The pruner of a study whose trials have `epochs` epochs."""
    if options.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=START_TRIALS)
    if options.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
    return optuna.pruners.NopPruner()


class _SeededByTrial(BaseSampler):
    """Draws a trial with a sampler of its own, seeded by its number."""

    def __init__(self, kind: str, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._inner: BaseSampler = optuna.samplers.RandomSampler(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        seed = (self._seed * 1_000_003 + trial.number) % 2**32
        if self._kind == "tpe":
            self._inner = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        else:
            self._inner = optuna.samplers.RandomSampler(seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._inner.after_trial(study, trial, state, values)


class _Grid(BaseSampler):
    """Draws the combinations of a grid in turn, each once however many workers there are."""

    def __init__(self, combinations: Sequence[dict[str, Any]]) -> None:
        self._combinations = combinations

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        index = trial.user_attrs[attempts.INDEX]
        return self._combinations[index % len(self._combinations)][param_name]
