"""Learning curves of several runs in one figure, and a table of what they differ in.

python -m shakespeare_gen.compare --run_dir=runs/a,runs/b
"""

import pathlib

from shakespeare_gen.options import command_line, groups
from shakespeare_gen.system import extras


def main(run_config: groups.RunOptions, plot_config: groups.PlotOptions) -> None:
    """The command: prints the table, writes a PNG and an SVG."""
    extras.require("evaluate", "plot")
    from absl import logging

    from shakespeare_gen import runs
    from shakespeare_gen.report import comparison, plots, tables
    from shakespeare_gen.system import storage

    every = [runs.Run(path) for path in run_config.run_dir.split(",")]
    compared = comparison.compare(every)
    curves = {name: run.metrics() for name, run in zip(compared, every, strict=True)}
    formats = ("png", "svg")
    for kind, picture in zip(formats, plots.learning_curves(curves, formats), strict=True):
        path = pathlib.Path(f"{plot_config.output}.{kind}").expanduser()
        storage.write(path, picture)
        logging.info("%s", path)
    tables.show(tables.comparison(compared))


if __name__ == "__main__":
    command_line.run(main, *groups.PLOT_GROUPS)
