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
from shakespeare_gen.training.workers import joining
from shakespeare_gen.training.workers.cluster import Cluster


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
    uses_all_devices: bool = False,
) -> Run:
    """Trains a model into a run folder.

    Args:
      text: the text to train on, instead of the option `corpus`.
      reason_to_stop, watch: see `Control`.
      uses_all_devices: whether the devices of this process share each batch.

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

        return session.train(prepared, control, uses_all_devices)


def train_together(
    options: Options,
    cluster: Cluster,
    text: str | None = None,
    watch: Watcher = unwatched,
) -> Run:
    """Trains one model in this process and in the other workers of `cluster`, which call this too.

    Args:
      options: also `WorkerOptions`.
      watch: see `Control`; of the chief.

    Returns:
      The run; only the chief has its folder.

    Raises:
      WorkerLostError: another worker has ended, was stopped, or cannot be reached.
      UserError: the workers were given different options or texts, or as in `train`.
      NotFiniteError, Interrupted: as in `train`, in all workers.
    """
    devices.check_not_forked()
    notice = SAVING if cluster.is_chief or not cluster.is_local else ""  # the chief says it for all
    with Interruption(notice) as interruption, joining.meet(cluster, options) as meeting:
        # Before the data is prepared, because a dataset of TFDS uses TensorFlow.
        team = joining.start(meeting, interruption)
        from shakespeare_gen.training import session

        with (
            joining.prepared(meeting, options, text) as prepared,
            interruption.deferred(),
            team.naming_the_lost(),
        ):
            run = session.train(prepared, Control(interruption, watch=watch, team=team))
            team.wait()
        return run
