"""Tells a watcher how far training is. Knows nothing about what it shows."""

import keras

from shakespeare_gen.runs import Run
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.training.control import Watcher


class Watch(keras.callbacks.Callback):
    """Calls `watch(run, step, num_steps)` after each step and each epoch; see `Control`.

    Runs after the callbacks that append metrics.
    """

    def __init__(self, run: Run, progress: Progress, num_steps: int, watch: Watcher) -> None:
        super().__init__()
        self.run, self.progress, self.num_steps, self.watch = run, progress, num_steps, watch

    def on_train_begin(self, logs=None):
        self._tell()

    def on_train_batch_end(self, batch, logs=None):
        self._tell()

    def on_epoch_end(self, epoch, logs=None):
        self._tell()

    def _tell(self) -> None:
        self.watch(self.run, self.progress.step, self.num_steps)
