"""Trains a language model into a run folder, or one per seed.

python -m shakespeare_gen.train --flagfile=flags/tiny_shakespeare.cfg --epochs=30
python -m shakespeare_gen.train --flagfile=flags/quick.cfg --seeds=0,1,2
"""

import shlex
from collections.abc import Sequence
from typing import Any, overload

from absl import logging

from shakespeare_gen.errors import Interrupted, UsageError
from shakespeare_gen.options import OptionGroup, Options, command_line, signatures, spelling
from shakespeare_gen.options.groups import (
    RunOptions,
    StartOptions,
    SweepOptions,
    TrainingOptions,
)
from shakespeare_gen.runs import Run, RunFolder, open_run
from shakespeare_gen.system import extras
from shakespeare_gen.training import sweep, sweep_processes, trainer
from shakespeare_gen.training.control import Watcher, unwatched


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (*trainer.groups(), SweepOptions, StartOptions)


def main(options: Options) -> None:
    """The command: trains one or several models, and compares them if there are several.

    On an interruption, it names the command that resumes.
    """
    seeds = options[SweepOptions].seeds
    if seeds:
        extras.require("evaluate", "seeds")  # for the table
    try:
        found = _train_each(options) if seeds else [_train(options)]
    except Interrupted as stop:
        run_dir = options[RunOptions].run_dir
        folders = sweep.folders(options).values() if seeds else [RunFolder(run_dir)]
        if not any(folder.has_checkpoint() for folder in folders):
            raise
        flags = f"--resume {shlex.quote(f'--run_dir={run_dir}')}"
        if seeds:
            num_parallel = options[SweepOptions].num_parallel
            flags += f" --seeds={','.join(map(str, seeds))}"
            flags += f" --num_parallel={num_parallel}" * (num_parallel > 1)
        message = f"{stop}; resume with: python -m shakespeare_gen.train {flags}"
        raise Interrupted(stop.signal_number, message) from None
    if seeds:
        _show_comparison(found)
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
      Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    from shakespeare_gen.report import live_curve

    parsed = Options.parse(groups(), options)
    with live_curve.shown() as watch:
        if parsed[SweepOptions].seeds:
            return _train_each(parsed, text, watch)
        return _train(parsed, text, watch)


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


def _train(options: Options, text: str | None = None, watch: Watcher = unwatched) -> Run:
    run = trainer.train(options, text, watch=watch)
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
