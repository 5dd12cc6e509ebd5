"""Searches for the best options of training: many runs, with a page of results and a recipe.

python -m shakespeare_gen.tune --flagfile=lstm_windows --space=lstm --study_dir=runs/study
python -m shakespeare_gen.tune --study_dir=runs/study --trials=60
python -m shakespeare_gen.tune --study_dir=runs/study --trials=0

A study that exists is continued with its own flags; with --trials=0, its results so far are shown.
The run_dir of a recipe has no effect: each trial has a run folder in study_dir.
"""

import pathlib
from typing import TYPE_CHECKING

from absl import logging

from shakespeare_gen.errors import Interrupted
from shakespeare_gen.options import OptionGroup, Options, command_line, spelling
from shakespeare_gen.options.fields import fields_of
from shakespeare_gen.options.groups import SweepOptions, TuneOptions
from shakespeare_gen.system import extras
from shakespeare_gen.training import sweep_processes, trainer
from shakespeare_gen.training.sweep_processes import Job

if TYPE_CHECKING:
    from shakespeare_gen.report.outcome import Outcome


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (TuneOptions, SweepOptions, *trainer.groups())


def main(options: Options) -> None:
    """The command: runs trials, then prints a table and writes a page, a JSON file and a recipe.

    On an interruption, it names the command that continues.
    """
    extras.require("tune", "tune")
    from shakespeare_gen.tuning import results, storage, study

    tune = options[TuneOptions]
    if storage.is_new(tune):
        study.check(options)
    with storage.opened(tune) as place:
        plan = study.plan(place.study(), options)
        try:
            if options[SweepOptions].num_parallel > 1 and tune.trials:
                _run_workers(options)
            elif tune.trials:
                study.run(place, plan, tune)
        except Interrupted as stop:
            message = f"{stop}; continue with: {_continuation(options)}"
            raise Interrupted(stop.signal_number, message) from None
        found = results.outcome(place.study(), plan)
    results.write(found, plan)
    _show(found, results.recipe_path(plan))


def _run_workers(options: Options) -> None:
    """Runs workers in processes of their own, each with its share of the cores."""
    num_workers = options[SweepOptions].num_parallel
    given = {name: value for name, value in options.by_name().items() if name in options.given}
    del given["num_parallel"]
    jobs = [Job(f"worker {number}", "tune", given) for number in range(1, num_workers + 1)]
    sweep_processes.run(jobs, num_workers)


def _continuation(options: Options) -> str:
    """The command that continues the study, whose own flags it need not repeat."""
    from shakespeare_gen.tuning import storage

    values = options.by_name()
    names = [field.name for field in (*fields_of(TuneOptions), *fields_of(SweepOptions))]
    flags = {name: values[name] for name in names if name in options.given - {"space", "seeds"}}
    if options[TuneOptions].storage:
        flags["storage"] = storage.shown(options[TuneOptions].storage)
    return spelling.command_line("tune", {"study_dir": values["study_dir"], **flags})


def _show(found: "Outcome", recipe_path: pathlib.Path) -> None:
    from shakespeare_gen.report import tables

    tables.show(*tables.study(found))
    if found.best:
        command = spelling.command_line("train", {"flagfile": str(recipe_path)})
        logging.info("train with the flags of %s: %s", found.best.name, command)


if __name__ == "__main__":
    command_line.run(main, *groups())
