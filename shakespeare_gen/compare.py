"""Plots the learning curves of several runs and prints a table of their differences.

python -m shakespeare_gen.compare --run_dir=runs/a,runs/b
"""

import os
import pathlib

from shakespeare_gen.options import OptionGroup, Options, command_line
from shakespeare_gen.options.groups import ComparisonOptions, SavedRunsOptions
from shakespeare_gen.system import extras


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return SavedRunsOptions, ComparisonOptions


def main(options: Options) -> None:
    """The command: prints the table, writes a PNG and an SVG."""
    extras.require("evaluate", "compare")
    from absl import logging

    from shakespeare_gen import runs
    from shakespeare_gen.report import comparison, plots, tables
    from shakespeare_gen.runs import finding
    from shakespeare_gen.system import storage

    run_dir = finding.chosen(options[SavedRunsOptions].run_dir)
    opened = [runs.open_run(path) for path in runs.split_paths(run_dir)]
    compared = comparison.compare(opened)
    curves = {name: run.metrics() for name, run in zip(compared, opened, strict=True)}
    formats = ("png", "svg")
    for kind, picture in zip(formats, plots.learning_curves(curves, formats), strict=True):
        output = os.path.expanduser(options[ComparisonOptions].output)
        path = pathlib.Path(f"{output}.{kind}")
        storage.write(path, picture)
        logging.info("%s", path)
    rows = {
        name: {f"--{option}": value for option, value in summary.options.items()} | summary.figures
        for name, summary in compared.items()
    }
    tables.show(tables.comparison(rows))


if __name__ == "__main__":
    command_line.run(main, *groups())
