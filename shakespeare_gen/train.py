"""Trains a character-level language model into a run folder.

python -m shakespeare_gen.train --flagfile=flags/tiny_shakespeare.cfg --epochs=30
"""

from shakespeare_gen.options import command_line, fields, groups


def main(*_: fields.OptionGroup) -> None:
    """The command: trains with the flags that were given."""
    train_model(**command_line.explicit_options(*groups.TRAIN_GROUPS))


def train_model(**options):
    """Trains with `options` (named like the flags); returns the run. See `training.session`."""
    from shakespeare_gen.system import devices

    devices.start()
    from shakespeare_gen.report import plots
    from shakespeare_gen.system import storage
    from shakespeare_gen.training import session

    run = session.train(**options)
    [picture] = plots.learning_curves({run.path.name: run.metrics()})
    storage.write(run.loss_curve_path, picture)
    return run


if __name__ == "__main__":
    command_line.run(main, *groups.TRAIN_GROUPS)
