"""Learning curves of several runs in one figure, and a table of what they differ in.

python -m shakespeare_gen.plot --run_dir=runs/a,runs/b
"""

import pathlib

from shakespeare_gen import cli, config, extras


def main(run_config: config.RunConfig, plot_config: config.PlotConfig) -> None:
    """The command: prints the table, writes a PNG and an SVG."""
    extras.require("evaluate", "plot")
    from absl import logging

    from shakespeare_gen import comparison, plotting, runs, storage
    from shakespeare_gen.report import tables

    every = [runs.Run(path) for path in run_config.run_dir.split(",")]
    compared = comparison.compare(every)
    curves = {name: run.metrics() for name, run in zip(compared, every, strict=True)}
    formats = ("png", "svg")
    for kind, picture in zip(formats, plotting.learning_curves(curves, formats), strict=True):
        path = pathlib.Path(f"{plot_config.output}.{kind}").expanduser()
        storage.write(path, picture)
        logging.info("%s", path)
    tables.show(tables.comparison(compared))


if __name__ == "__main__":
    cli.run(main, *config.PLOT_GROUPS)
