"""Trains one run from its options, in this process.

    run = trainer.train(options)

Imports TensorFlow once all input is verified. Knows nothing about sweeps and command lines.
"""

from collections.abc import Callable

from shakespeare_gen import models
from shakespeare_gen.data import tokenizers
from shakespeare_gen.options import OptionGroup, Options
from shakespeare_gen.options.groups import (
    ComputeOptions,
    CorpusOptions,
    OptimizerOptions,
    RunOptions,
    TrainingOptions,
    WindowOptions,
)
from shakespeare_gen.runs import Run
from shakespeare_gen.system import devices
from shakespeare_gen.system.signals import SAVING, Interruption
from shakespeare_gen.training import preparation
from shakespeare_gen.training.control import Control, Watcher, never, unwatched


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of a run; `train` needs `StartOptions`, too."""
    return (
        CorpusOptions,
        *tokenizers.groups(),
        WindowOptions,
        *models.groups(),
        ComputeOptions,
        OptimizerOptions,
        TrainingOptions,
        RunOptions,
    )


def train(
    options: Options,
    text: str | None = None,
    reason_to_stop: Callable[[Run], str] = never,
    watch: Watcher = unwatched,
) -> Run:
    """Trains a model into a run folder.

    Args:
      text: the text to train on, instead of the option `corpus`.
      reason_to_stop, watch: see `Control`.

    Raises:
      UserError: an option, the text or the run folder is invalid.
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    devices.check_not_forked()
    with Interruption(SAVING) as interruption, preparation.prepared(options, text) as prepared:
        control = Control(interruption, reason_to_stop, watch)
        # All input is verified by now; importing TensorFlow takes seconds.
        devices.start()
        from shakespeare_gen.training import session

        return session.train(prepared, control)
