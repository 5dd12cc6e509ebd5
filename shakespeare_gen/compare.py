"""Compares runs: one table, one figure with all learning curves, and the figures as JSON.

python -m shakespeare_gen.compare --run_dir='runs/lstm-*' --run_dir=runs/gru
python -m shakespeare_gen.compare --run_dir=runs/study
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import logging

from shakespeare_gen import runs
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup, Options, command_line, signatures
from shakespeare_gen.options.groups import ComparisonOptions, SavedRunsOptions
from shakespeare_gen.runs import Run, finding
from shakespeare_gen.system import extras

FORMATS = ("png", "svg")


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return SavedRunsOptions, ComparisonOptions


def main(options: Options) -> None:
    """The command: prints the table, writes a PNG, an SVG and a JSON file."""
    extras.require("evaluate", "compare")
    from shakespeare_gen.report import comparison, curves, tables
    from shakespeare_gen.system import storage

    run_dir = finding.chosen(options[SavedRunsOptions].run_dir)
    opened = _open_runs(run_dir)
    compared = comparison.compare(opened)
    output = os.path.expanduser(options[ComparisonOptions].output)
    output = output or os.path.join(comparison.common_folder(opened), "learning_curves")
    for kind, picture in zip(FORMATS, curves.of_runs(compared, FORMATS), strict=True):
        path = pathlib.Path(f"{output}.{kind}")
        storage.write(path, picture)
        logging.info("%s", path)
    storage.write(pathlib.Path(f"{output}.json"), storage.to_json(comparison.to_json(compared)))
    logging.info("%s.json", output)
    for warning in comparison.warnings(compared):
        logging.warning("%s", warning)
    tables.show(*tables.comparison(compared))


@signatures.typed((SavedRunsOptions,))
def compare_runs(
    run_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "", **options: Any
) -> dict[str, Any]:
    """Compares runs: the options in which they differ, their budgets and losses.

    Runs that differ only in the seed form a group, whose figures are mean and standard deviation.
    A notebook shows the groups as a table.

    Args:
      {options}

    Returns:
      `groups`, each with `name`, `runs`, `options` and `figures`; and `warnings`, what makes the
      comparison unfair.

    Raises:
      UserError: a run cannot be opened, or occurs twice.
    """
    extras.require("evaluate", "compare")
    from shakespeare_gen.report import comparison, shown, tables

    parsed = Options.parse((SavedRunsOptions,), {"run_dir": run_dir, **options})
    compared = comparison.compare(_open_runs(finding.chosen(parsed[SavedRunsOptions].run_dir)))
    figures = {
        "groups": comparison.to_json(compared),
        "warnings": comparison.warnings(compared),
    }
    return shown.Figures(
        figures,
        lambda found: tables.comparison(compared, shown.ONE_PART),
        lambda found: [f"Warning: {warning}." for warning in found["warnings"]],
    )


def _open_runs(run_dir: Sequence[str]) -> list[Run]:
    """Opens runs; those that only a glob names are left out with a warning if they are damaged.

    Raises:
      UserError: a run that was named cannot be opened, or none of a glob can.
    """
    paths, opened = finding.with_trials(runs.split_paths(run_dir)), []
    named = {part for value in run_dir for part in (value, *value.split(","))}
    for path in paths:
        try:
            opened.append(runs.open_run(path))
        except UserError as error:
            if path in named or (path == paths[-1] and not opened):
                raise
            logging.warning("skipping a run: %s", error)
    return opened


if __name__ == "__main__":
    command_line.run(main, *groups())
