"""Trials until the budget is spent, or a signal arrives; other workers may do the same.

    with storage.opened(options[TuneOptions]) as place:
        plan = study.plan(place.study(), options)
        study.run(place, plan, options[TuneOptions])

The options and the search space are stored in the study, so that all workers have the same. Knows
nothing about results.
"""

import math
import pathlib
import time
from typing import Any, NamedTuple

import optuna
from absl import logging
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from shakespeare_gen.errors import Interrupted, NotFiniteError, UsageError
from shakespeare_gen.models import loss_units
from shakespeare_gen.options import Options, spelling
from shakespeare_gen.options.groups import SweepOptions, TrainingOptions, TuneOptions
from shakespeare_gen.system.signals import SAVING, Interruption
from shakespeare_gen.training import trainer
from shakespeare_gen.tuning import attempts, sampling, trials
from shakespeare_gen.tuning import space as spaces
from shakespeare_gen.tuning.storage import Place

POLL_SECONDS = 1.0
MAX_ERROR_CHARS = 300
_CONFIG = "config"
_OF_ONE_RUN = ("run_dir",)  # recipes name a run folder; a trial has its own


class _Common(NamedTuple):
    """The fields of a `Plan` that a study stores."""

    base: Options
    seeds: tuple[int, ...]
    space: spaces.Space


def plan(study: optuna.Study, options: Options) -> trials.Plan:
    """What all trials have in common: that of the study, or if it is new, of the options.

    Raises:
      UsageError: the options are not those of the study.
    """
    given = _given(options)
    saved = study.user_attrs.get(_CONFIG)
    base, seeds, space = _unchanged(saved, given, options) if saved else _new(given, options)
    if seeds and "seed" in base.given:
        raise UsageError("`seed` and `seeds`: expected one of them, received both")
    if saved is None:
        config = {"flags": given, "seeds": seeds, "space": space.value}
        study.set_user_attr(_CONFIG, config)
    study_dir = pathlib.Path(options[TuneOptions].study_dir).expanduser()
    return trials.Plan(study_dir, base, seeds, space)


def check(options: Options) -> None:
    """Checks the options of a new study, before anything is written.

    Raises:
      UsageError: an option or the search space is invalid.
    """
    _new(_given(options), options)


def _given(options: Options) -> dict[str, Any]:
    return {
        name: value
        for name, value in options.only(trainer.groups()).by_name().items()
        if name in options.given and name not in _OF_ONE_RUN
    }


def _new(given: dict[str, Any], options: Options) -> _Common:
    base, path = Options.parse(trainer.groups(), given), options[TuneOptions].space
    if not path:
        raise UsageError("space: expected a search space for a new study, received none")
    return _Common(base, options[SweepOptions].seeds, spaces.read(path, base))


def _unchanged(saved: dict[str, Any], given: dict[str, Any], options: Options) -> _Common:
    """The options of a study that is continued."""
    base = Options.parse(trainer.groups(), saved["flags"])
    now = Options.parse(trainer.groups(), given).by_name() | options.only([SweepOptions]).by_name()
    before = base.by_name() | {"seeds": tuple(saved["seeds"])}
    for name in [*given, *({"seeds"} & options.given)]:
        if now[name] != before[name]:
            raise UsageError(
                f"{name}: expected {before[name]!r}, as in the study, received {now[name]!r}; "
                "or choose another `study_dir`"
            )
    space, path = spaces.Space(saved["space"], base, "space"), options[TuneOptions].space
    if path and spaces.read(path, base).value != space.value:
        raise UsageError(f"space={path}: expected the search space of the study")
    return _Common(base, before["seeds"], space)


def run(
    place: Place, plan: trials.Plan, options: TuneOptions, train: trials.Train = trials.train_run
) -> None:
    """Runs trials until the study has `trials` of them, or until `max_hours` are over.

    Args:
      train: trains one run.

    Raises:
      Interrupted: Ctrl-C or SIGTERM; the current trial can be continued.
      UserError: no trial can be trained.
    """
    epochs = plan.base[TrainingOptions].epochs
    study = place.study(sampling.sampler(options, plan.space), sampling.pruner(options, epochs))
    with Interruption(SAVING) as interruption, interruption.deferred():
        objective = trials.Objective(plan, _limits(options), train)
        _Worker(place, study, _num_trials(plan, options), objective).run(interruption)


def _limits(options: TuneOptions) -> trials.Limits:
    return trials.Limits(
        deadline=time.monotonic() + (3600 * options.max_hours or math.inf),
        trial_seconds=60 * options.trial_minutes or math.inf,
    )


def _num_trials(plan: trials.Plan, options: TuneOptions) -> int:
    if options.sampler != "grid":
        return options.trials
    return min(options.trials, len(plan.space.grid()))


class _FailedError(Exception):
    """A trial failed, and the study goes on."""


class _Worker:
    """A process that works on a study; see `run`."""

    def __init__(
        self, place: Place, study: optuna.Study, num_trials: int, objective: trials.Objective
    ) -> None:
        self._place, self._study, self._num_trials = place, study, num_trials
        self._objective = objective
        self._number = 0  # of the current trial

    def run(self, interruption: Interruption) -> None:
        is_waiting = False
        while time.monotonic() < self._objective.limits.deadline:
            interruption.check()
            self._place.retry_lost(self._study)
            if self._can_start():
                self._run_one()
                is_waiting = False
                continue
            num_running = self._count(TrialState.RUNNING)
            if not num_running:
                return
            if not is_waiting:
                logging.info("waiting for %s", spelling.count(num_running, "trial"))
            is_waiting = True
            time.sleep(POLL_SECONDS)

    def _count(self, *states: TrialState) -> int:
        return len(self._study.get_trials(deepcopy=False, states=states))

    def _can_start(self) -> bool:
        found = self._study.get_trials(deepcopy=False)
        is_queued = any(t.state == TrialState.WAITING for t in found)
        return is_queued or len(attempts.originals(found)) < self._num_trials

    def _run_one(self) -> None:
        try:
            self._study.optimize(self._value, n_trials=1, catch=(_FailedError,))
        except (Interrupted, trials.OutOfTimeError) as stop:
            attempts.retry(self._study, self._number)
            if isinstance(stop, Interrupted):
                raise
        except (ValueError, UpdateFinishedTrialError):
            if not self._is_given_up():
                raise
            logging.warning("another worker has taken over a trial: its result here is dropped")

    def _is_given_up(self) -> bool:
        """Whether other workers took this one for killed, such as after a pause of the machine."""
        return self._study.get_trials(deepcopy=False)[self._number].state == TrialState.FAIL

    def _value(self, trial: optuna.Trial) -> float:
        self._number = trial.number
        self._place.sign(trial)
        index = self._index(trial)
        try:
            loss = self._objective(trial, index)
        except (optuna.TrialPruned, trials.OutOfTimeError) as end:
            logging.info("trial %d: stopped by %s", index, _reason(end))
            raise
        except UpdateFinishedTrialError:  # see `_is_given_up`
            raise
        except Exception as error:
            self._fail(trial, index, error)
            raise _FailedError from None
        logging.info("trial %d: validation %s", index, loss_units.describe(loss))
        return loss

    def _index(self, trial: optuna.Trial) -> int:
        """The index of a new trial; a trial that another worker made superfluous is dropped."""
        found = self._study.get_trials(deepcopy=False)
        [own] = [t for t in found if t.number == trial.number]
        index = attempts.index_of(own, found)
        if own in attempts.originals(found) and index >= self._num_trials:
            attempts.leave_out(trial)
            raise _FailedError
        trial.set_user_attr(attempts.INDEX, index)
        return index

    def _fail(self, trial: optuna.Trial, index: int, error: Exception) -> None:
        """Notes that a trial failed; raises the error if no trial has succeeded so far."""
        has_result = self._count(TrialState.COMPLETE, TrialState.PRUNED)
        if not has_result and not isinstance(error, NotFiniteError):
            attempts.leave_out(trial)
            raise error
        line = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_ERROR_CHARS]
        trial.set_user_attr(trials.ERROR, line)
        logging.warning("trial %d failed: %s", index, line)


def _reason(end: Exception) -> str:
    return trials.PRUNING if isinstance(end, optuna.TrialPruned) else trials.MAX_HOURS
