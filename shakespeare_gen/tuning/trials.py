"""One trial: the options drawn from the space, one run per seed, and their mean validation loss.

The run folder of trial 7 is `trial-0007`, with several seeds `trial-0007-seed-0` and so on. A trial
that was interrupted continues from its checkpoints. Knows nothing about where a study is kept.
"""

import dataclasses
import gc
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from absl import logging

from shakespeare_gen.errors import UserError
from shakespeare_gen.options import Options, spelling
from shakespeare_gen.options.groups import StartOptions, SweepOptions, TrainingOptions
from shakespeare_gen.report import curves
from shakespeare_gen.runs import Run, RunFolder, finding
from shakespeare_gen.training import sweep, trainer
from shakespeare_gen.tuning.space import Space

PRUNING, TRIAL_MINUTES, MAX_HOURS = "pruning", "trial_minutes", "max_hours"
LOSSES, SECONDS, EPOCHS, ERROR = "losses", "seconds", "epochs", "error"  # attributes of a trial

Train = Callable[[Options, Callable[[Run], str]], Run]


class OutOfTimeError(Exception):
    """The time of the command is spent; the trial can be continued."""


def train_run(options: Options, reason_to_stop: Callable[[Run], str]) -> Run:
    """Trains a run in this process; see `training.control.Control`."""
    try:
        run = trainer.train(options, reason_to_stop=reason_to_stop)
    finally:
        _free_memory()
    curves.write(run)
    return run


def _free_memory() -> None:
    """Frees the graphs of a run: a study may have hundreds."""
    if keras := sys.modules.get("keras"):
        keras.backend.clear_session()
    gc.collect()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all trials of a study have in common.

    Attributes:
      base: the options of training; the space replaces some of them.
      seeds: a run for each; empty: one run.
    """

    study_dir: pathlib.Path
    base: Options
    seeds: tuple[int, ...]
    space: Space

    def folder(self, index: int) -> pathlib.Path:
        """The run folder of a trial, without the seed."""
        return self.study_dir / f"{finding.TRIAL}-{index:04d}"

    def runs(self, index: int, values: dict[str, Any]) -> list[Options]:
        """The options of the runs of a trial."""
        drawn = self.base.replaced(**values, run_dir=str(self.folder(index)))
        sweep_options = SweepOptions(seeds=self.seeds)
        found = sweep.folders(Options([*drawn, sweep_options])) or {
            0: RunFolder(self.folder(index))
        }
        is_started = any(folder.has_checkpoint() for folder in found.values())
        # A run that is resumed has its saved options: those of `auto` are settled.
        given = {"run_dir"} if is_started else drawn.given
        options = Options([*drawn, sweep_options, StartOptions(resume=is_started)], given)
        return sweep.plan(options) if self.seeds else [options]


@dataclasses.dataclass(frozen=True)
class Limits:
    """When to stop, in seconds of `time.monotonic`.

    Attributes:
      trial_seconds: of one run.
    """

    deadline: float
    trial_seconds: float


class Objective:
    """A trial, from the options that are drawn to its loss."""

    def __init__(self, plan: Plan, limits: Limits, train: Train) -> None:
        self._plan, self.limits, self._train = plan, limits, train

    def __call__(self, trial: optuna.Trial, index: int) -> float:
        """Trains the runs of a trial; returns the mean of their validation losses.

        Raises:
          optuna.TrialPruned: the first run was stopped, because other trials are better.
          OutOfTimeError: the time of the command is spent.
          UserError: an option or a text is invalid, or the loss became infinite.
          Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
        """
        values = self._plan.space.suggest(trial)
        logging.info("trial %d: %s", index, " ".join(spelling.flags(values)))
        found: list[Run] = []
        for options in self._plan.runs(index, values):
            found.append(self._trained(options, None if found else trial))
            _note(trial, found)
            if found[-1].stopped_by == MAX_HOURS:
                raise OutOfTimeError
            if found[-1].stopped_by == PRUNING:
                raise optuna.TrialPruned
        return statistics.fmean(map(validation_loss, found))

    def _trained(self, options: Options, trial: optuna.Trial | None) -> Run:
        """The run with these options; `trial` decides whether it is pruned."""
        before = sweep.finished(options)
        if before and before.stopped_by != MAX_HOURS:
            return before
        return self._train(options, _Watch(trial, self.limits).reason_to_stop)


class _Watch:
    """Decides after each epoch whether a run goes on, and reports its losses."""

    def __init__(self, trial: optuna.Trial | None, limits: Limits) -> None:
        self._trial, self._limits = trial, limits
        self._began, self._num_reported = time.monotonic(), 0

    def reason_to_stop(self, run: Run) -> str:
        """See `training.control.Control`."""
        rows, now = run.metrics(), time.monotonic()
        if self._trial:
            self._report(self._trial, rows)
        if len(rows) >= run.spec.options[TrainingOptions].epochs:
            return ""
        if self._trial and self._trial.should_prune():
            return PRUNING
        if now >= self._limits.deadline:
            return MAX_HOURS
        return TRIAL_MINUTES if now >= self._began + self._limits.trial_seconds else ""

    def _report(self, trial: optuna.Trial, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows[self._num_reported :]:
            if "validation_loss" in row:
                trial.report(row["validation_loss"], row["epoch"])
        self._num_reported = len(rows)


def validation_loss(run: Run) -> float:
    """The loss by which trials are compared, in nats per character.

    Raises:
      UserError: there is no validation text.
    """
    loss = run.losses.get("validation")
    if loss is None:
        raise UserError(
            f"{run.path}: expected a validation loss, by which trials are compared, found none; "
            "is `validation_fraction` 0?"
        )
    return loss


def _note(trial: optuna.Trial, found: list[Run]) -> None:
    rows = [row for run in found for row in run.metrics()]
    trial.set_user_attr(LOSSES, [run.losses.get("validation") for run in found])
    trial.set_user_attr(EPOCHS, len(rows))
    trial.set_user_attr(SECONDS, sum(row.get("seconds", 0) for row in rows))
