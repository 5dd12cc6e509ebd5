"""Keras callbacks that end training: without improvement, on request, after a signal."""

from collections.abc import Callable

import keras

from shakespeare_gen.errors import Interrupted
from shakespeare_gen.runs import Run
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.training.control import Control
from shakespeare_gen.training.workers.team import Team


class StopEarly(keras.callbacks.Callback):
    """Ends training after `patience` epochs without improvement of the validation loss."""

    def __init__(self, progress: Progress, patience: int) -> None:
        super().__init__()
        self.progress, self.patience = progress, patience

    def on_epoch_end(self, epoch, logs=None):
        if self.patience and self.progress.epochs_without_improvement >= self.patience:
            self.model.stop_training = True


class StopOnRequest(keras.callbacks.Callback):
    """Ends training if `reason_to_stop` gives a reason, which it notes on the run card."""

    def __init__(self, run: Run, card: Card, reason_to_stop: Callable[[Run], str]) -> None:
        super().__init__()
        self.run, self.card, self.reason_to_stop = run, card, reason_to_stop

    def on_epoch_end(self, epoch, logs=None):
        reason = self.reason_to_stop(self.run)
        if reason and not self.model.stop_training:
            self.card.write(stopped_by=reason)
            self.model.stop_training = True


class StopWhenInterrupted(keras.callbacks.Callback):
    """Raises `Interrupted` after the step during which a signal arrived."""

    def __init__(self, control: Control) -> None:
        super().__init__()
        self.control = control

    def on_train_batch_end(self, batch, logs=None):
        self.control.check()
        if self.control.team and (number := Team.received(logs["requests"]).signal):
            raise Interrupted(number)
