"""Trains a language model into a run folder, or one per seed.

python -m shakespeare_gen.train --flagfile=flags/tiny_shakespeare.cfg --epochs=30
python -m shakespeare_gen.train --flagfile=flags/quick.cfg --seeds=0,1,2
python -m shakespeare_gen.train --flagfile=flags/quick.cfg --num_local_workers=2

Recipes of known models: min_char_rnn, karpathy_lstm (char-rnn), tutorial_gru (TensorFlow's
tutorial), gpt_baby and gpt (nanoGPT), word_lstm, bytes_lstm. docs/recipes.md lists all of them.
"""

import shlex
import sys
from collections.abc import Sequence
from typing import Any, overload

from absl import logging

from shakespeare_gen.errors import (
    Interrupted,
    NotFiniteError,
    UsageError,
    UserError,
    WorkerLostError,
)
from shakespeare_gen.options import OptionGroup, Options, command_line, signatures, spelling
from shakespeare_gen.options.groups import (
    DeviceOptions,
    RunOptions,
    StartOptions,
    SweepOptions,
    TrainingOptions,
    WorkerOptions,
)
from shakespeare_gen.runs import Run, RunFolder, open_run
from shakespeare_gen.system import devices, extras
from shakespeare_gen.training import sweep, sweep_processes, trainer
from shakespeare_gen.training.control import Watcher, unwatched
from shakespeare_gen.training.workers import cluster, processes
from shakespeare_gen.training.workers.cluster import Cluster


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (*trainer.groups(), SweepOptions, WorkerOptions, DeviceOptions, StartOptions)


def main(options: Options) -> None:
    """The command: trains one or several models, and compares them if there are several.

    On an interruption, it names the command that resumes.
    """
    seeds, team = options[SweepOptions].seeds, _cluster(options)
    if seeds:
        extras.require("evaluate", "seeds")  # for the table
    if _starts_workers(options, team):
        sys.exit(_run_workers(options))  # the first of them has said why
    try:
        found = _train_each(options) if seeds else [_train(options, team=team)]
    except Interrupted as stop:
        raise Interrupted(stop.signal_number, _with_command(str(stop), options, team)) from None
    except WorkerLostError as error:
        raise WorkerLostError(_with_command(str(error), options, team)) from None
    if seeds:
        _show_comparison(found)
        return
    if team and not team.is_chief:
        return
    command = spelling.command_line("generate", {"run_dir": str(found[0].path)})
    logging.info("write with it: %s --interactive", command)


@overload
def train_model(*, seeds: Sequence[int], text: str | None = None, **options: Any) -> list[Run]: ...


@overload
def train_model(*, text: str | None = None, **options: Any) -> Run: ...


@signatures.typed(groups())
def train_model(*, text: str | None = None, **options: Any) -> Run | list[Run]:
    """Trains a model into a run folder, or with `seeds` one model per seed.

    Args:
      text: the text to train on, instead of `corpus`. Its SHA-256 identifies it: to resume the
        run, pass the same text again.
      {options}

    Returns:
      The run: its folder and its spec; with `seeds`, a list of runs.

    Raises:
      UserError: an option, the text or the run folder is invalid.
      NotFiniteError: the loss or a weight became NaN or infinite.
      WorkerLostError: another worker has ended, was stopped, or cannot be reached.
      Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    from shakespeare_gen.report import live_curve

    parsed = Options.parse(groups(), options)
    team = _cluster(parsed)
    if _starts_workers(parsed, team):
        return _trained_by_workers(parsed, text)
    with live_curve.shown() as watch:
        if parsed[SweepOptions].seeds:
            return _train_each(parsed, text, watch)
        return _train(parsed, text, watch, team)


def _train_each(options: Options, text: str | None = None, watch: Watcher = unwatched) -> list[Run]:
    num_parallel = options[SweepOptions].num_parallel
    if num_parallel > 1 and text is not None:
        raise UsageError(f"num_parallel: expected 1 with `text`, received {num_parallel}")
    planned = sweep.plan(options)
    left = []
    for own in planned:
        if run := sweep.finished(own):
            logging.info("%s is finished: skipping it", run.path)
        else:
            left.append(own)
    if num_parallel > 1:
        jobs = [sweep_processes.training(f"seed {_seed(own)}", own) for own in left]
        sweep_processes.run(jobs, num_parallel)
    else:
        for own in left:
            logging.info("seed %d: %s", _seed(own), own[RunOptions].run_dir)
            _train(own, text, watch)
    return [open_run(own[RunOptions].run_dir) for own in planned]


def _seed(options: Options) -> int:
    return options[TrainingOptions].seed


def _cluster(options: Options) -> Cluster | None:
    """The workers that this process is one of; None: it trains alone, or starts workers."""
    workers = options[WorkerOptions]
    found = cluster.find(workers)
    is_shared = found is not None or workers.num_local_workers > 1
    if is_shared and options[SweepOptions].seeds:
        if not options.given & {"workers", "num_local_workers"}:
            return None  # TF_CONFIG: each machine trains its own
        raise UsageError("`seeds` and several workers: expected one of them, received both")
    if workers.num_local_workers > 1 and devices.has_gpu():
        raise UsageError(
            "num_local_workers: expected 1 on a machine with GPUs, received "
            f"{workers.num_local_workers}; `devices=all` uses all of them"
        )
    return found


def _starts_workers(options: Options, team: Cluster | None) -> bool:
    return team is None and options[WorkerOptions].num_local_workers > 1


def _run_workers(options: Options) -> int:
    num_workers = options[WorkerOptions].num_local_workers
    return processes.run("train", options.given_values(), num_workers)


def _trained_by_workers(options: Options, text: str | None) -> Run:
    if text is not None:
        raise UsageError("num_local_workers: expected 1 with `text`, received more")
    code = _run_workers(options)
    if code > 128:
        raise Interrupted(code - 128)
    if code:
        kind = NotFiniteError if code == NotFiniteError.exit_code else UserError
        raise kind(f"the workers ended with exit code {code}; the log says why")
    return open_run(options[RunOptions].run_dir)


def _with_command(message: str, options: Options, team: Cluster | None) -> str:
    """A message with the command that resumes, if there is a checkpoint or it cannot be known."""
    run_dir, seeds = options[RunOptions].run_dir, options[SweepOptions].seeds
    folders = sweep.folders(options).values() if seeds else [RunFolder(run_dir)]
    if not any(folder.has_checkpoint() for folder in folders) and (not team or team.is_chief):
        return message
    names = ["seeds", "num_parallel"] if seeds else ["num_local_workers"]
    names += ["workers", "worker_index"] if options[WorkerOptions].workers else []
    kept = {name: value for name, value in options.non_defaults().items() if name in names}
    flags = spelling.flags({"run_dir": run_dir, **kept})
    where = " on every worker" if team and not team.is_local else ""
    command = " ".join(["python -m shakespeare_gen.train --resume", *map(shlex.quote, flags)])
    return f"{message}; resume{where} with: {command}"


def _train(
    options: Options,
    text: str | None = None,
    watch: Watcher = unwatched,
    team: Cluster | None = None,
) -> Run:
    if team:
        run = trainer.train_together(options, team, text, watch)
        if not team.is_chief:
            return run
    else:
        uses_all_devices = options[DeviceOptions].devices == "all"
        run = trainer.train(options, text, watch=watch, uses_all_devices=uses_all_devices)
    from shakespeare_gen.report import curves

    curves.write(run)
    return run


def _show_comparison(runs: Sequence[Run]) -> None:
    from shakespeare_gen.report import comparison, tables

    compared = comparison.compare(runs)
    for warning in comparison.warnings(compared):
        logging.warning("%s", warning)
    tables.show(*tables.comparison(compared))


if __name__ == "__main__":
    command_line.run(main, *groups())
