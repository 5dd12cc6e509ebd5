"""Trains a character-level language model into a run folder.

python -m shakespeare_gen.train --flagfile=flags/tiny_shakespeare.cfg --epochs=30
"""

from shakespeare_gen import cli, config, option_groups


def main(*_: option_groups.Config) -> None:
    """The command: trains with the flags that were given."""
    from shakespeare_gen import devices

    devices.start()
    from shakespeare_gen.experiment import train_model

    train_model(**cli.explicit_options(*config.TRAIN_GROUPS))


if __name__ == "__main__":
    cli.run(main, *config.TRAIN_GROUPS)
