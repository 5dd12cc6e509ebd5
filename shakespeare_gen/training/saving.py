"""The Keras callback that saves checkpoints, and the one that tells a team of workers to.

Knows nothing about the format of a checkpoint; see `runs.checkpoints`.
"""

import math
import time

import keras

from shakespeare_gen.options.groups import TrainingOptions
from shakespeare_gen.runs import Run, checkpoints
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.training.control import Control
from shakespeare_gen.training.workers.team import Team


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves after each epoch, and within an epoch at intervals of steps or minutes.

    The workers of a team save together, because each has other rows of the carried state; the
    chief decides when, and writes.
    """

    def __init__(
        self,
        run: Run,
        progress: Progress,
        steps_per_epoch: int,
        options: TrainingOptions,
        team: Team | None = None,
    ) -> None:
        super().__init__()
        self.run, self.progress, self.steps_per_epoch = run, progress, steps_per_epoch
        self.options, self.team = options, team
        self._every_seconds = 60 * options.save_every_minutes or math.inf
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        step = self.progress.step
        if step == (self.progress.epoch + 1) * self.steps_per_epoch:
            return  # the epoch is saved after its validation
        every = self.options.save_every_steps
        is_requested = Team.received(logs["requests"]).save if self.team else self.is_due()
        if is_requested or (every and step % every == 0):
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self.save()

    def is_due(self) -> bool:
        """Whether the last checkpoint is too old."""
        return time.monotonic() - self._saved_at >= self._every_seconds

    def save(self) -> None:
        """Saves the model in its current state."""
        progress = self.progress
        if progress.step > progress.epoch * self.steps_per_epoch:
            progress.loss_sum, progress.loss_count = map(float, self.model.metrics_variables)
        if self.team is None:
            self._write()
            return
        if not self.team.is_chief:
            checkpoints.arrays_of(self.model.training_state())  # gives the chief its rows
        self.team.from_chief(self._write)

    def _write(self) -> bytes:
        checkpoints.save(
            self.run,
            self.model,
            self.progress,
            self.steps_per_epoch,
            self.options.keep_checkpoints,
        )
        self._saved_at = time.monotonic()
        return b""


class AskTeam(keras.callbacks.Callback):
    """Tells the other workers, with each step, of a signal and of a checkpoint that is due."""

    def __init__(self, control: Control, saver: SaveCheckpoint) -> None:
        super().__init__()
        self.control, self.saver = control, saver

    def on_train_batch_begin(self, batch, logs=None):
        team = self.control.team
        if team:
            is_due = team.is_chief and self.saver.is_due()
            team.ask(self.control.interruption.received, is_due)
