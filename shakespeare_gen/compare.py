"""Compares runs: one table, and one figure with all learning curves.

python -m shakespeare_gen.compare --run_dir='runs/lstm-*' --run_dir=runs/gru
"""

import os
import pathlib

from shakespeare_gen.options import OptionGroup, Options, command_line
from shakespeare_gen.options.groups import ComparisonOptions, SavedRunsOptions
from shakespeare_gen.system import extras

FORMATS = ("png", "svg")


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return SavedRunsOptions, ComparisonOptions


def main(options: Options) -> None:
    """The command: prints the table, writes a PNG and an SVG."""
    extras.require("evaluate", "compare")
    from absl import logging

    from shakespeare_gen import runs
    from shakespeare_gen.report import comparison, curves, tables
    from shakespeare_gen.runs import finding
    from shakespeare_gen.system import storage

    run_dir = finding.chosen(options[SavedRunsOptions].run_dir)
    opened = [runs.open_run(path) for path in runs.split_paths(run_dir)]
    compared = comparison.compare(opened)
    output = os.path.expanduser(options[ComparisonOptions].output)
    output = output or os.path.join(comparison.common_folder(opened), "learning_curves")
    for kind, picture in zip(FORMATS, curves.of_runs(compared, FORMATS), strict=True):
        path = pathlib.Path(f"{output}.{kind}")
        storage.write(path, picture)
        logging.info("%s", path)
    for warning in comparison.warnings(compared):
        logging.warning("%s", warning)
    tables.show(*tables.comparison(compared))


if __name__ == "__main__":
    command_line.run(main, *groups())
