"""Trains a language model into a run folder.

python -m shakespeare_gen.train --flagfile=flags/tiny_shakespeare.cfg --epochs=30
"""

import shlex
from typing import Any

from shakespeare_gen import models
from shakespeare_gen.data import tokenizers
from shakespeare_gen.errors import Interrupted
from shakespeare_gen.options import OptionGroup, Options, command_line, signatures
from shakespeare_gen.options.groups import (
    ComputeOptions,
    CorpusOptions,
    OptimizerOptions,
    RunOptions,
    StartOptions,
    TrainingOptions,
    WindowOptions,
)
from shakespeare_gen.runs import Run, RunFolder


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (
        CorpusOptions,
        *tokenizers.groups(),
        WindowOptions,
        *models.groups(),
        ComputeOptions,
        OptimizerOptions,
        TrainingOptions,
        RunOptions,
        StartOptions,
    )


def main(options: Options) -> None:
    """The command: trains a model; on an interruption, names the command that resumes."""
    try:
        _train(options)
    except Interrupted as stop:
        folder = RunFolder(options[RunOptions].run_dir)
        if not folder.has_checkpoint():
            raise
        flags = f"--resume {shlex.quote(f'--run_dir={folder.path}')}"
        message = f"{stop}; resume with: python -m shakespeare_gen.train {flags}"
        raise Interrupted(stop.signal_number, message) from None


@signatures.typed(groups())
def train_model(**options: Any) -> Run:
    """Trains a model into a run folder.

    Args:
      {options}

    Returns:
      The run: its folder and its spec.

    Raises:
      UserError: an option, the text or the run folder is invalid.
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    return _train(Options.parse(groups(), options))


def _train(options: Options) -> Run:
    from shakespeare_gen.system import devices, storage
    from shakespeare_gen.system.signals import SAVING, Interruption
    from shakespeare_gen.training import preparation

    devices.check_not_forked()
    with Interruption(SAVING) as interruption, preparation.prepared(options) as prepared:
        # All input is verified by now; importing TensorFlow takes seconds.
        devices.start()
        from shakespeare_gen.training import session

        run = session.train(prepared, interruption)
    from shakespeare_gen.report import plots

    [picture] = plots.learning_curves({run.path.name: run.metrics()})
    storage.write(run.folder.loss_curve_path, picture)
    return run


if __name__ == "__main__":
    command_line.run(main, *groups())
