"""Metrics of single steps: how far the weights move, and how fast.

Every `log_every_steps` steps, a row with

- `loss`, of the batch of this step, in nats per character;
- `smoothed_loss`, 0.999 of its value before this step and 0.001 of `loss`;
- `learning_rate`, of this step;
- `gradient_norm`, the global norm before clipping;
- `update_to_weight_ratio`, the norm of the change of all weights divided by their norm;
- `characters_per_second`, since the previous row or the start of the epoch;
- with `internals`, the values by layer.

All but the speed depend only on the step, so that a resumed run logs the same rows. Knows nothing
about files.
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shakespeare_gen.runs import history
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.training.data import TrainingData
from shakespeare_gen.training.internals import Internals
from shakespeare_gen.training.reporting import Records, Throughput


class LogSteps(keras.callbacks.Callback):
    """Appends a row every `every` steps; 0: never. Runs after `CountSteps`."""

    def __init__(
        self,
        records: Records,
        progress: Progress,
        data: TrainingData,
        every: int,
        internals: Internals | None = None,
    ) -> None:
        super().__init__()
        self.internals = internals
        self.records, self.progress, self.data, self.every = records, progress, data, every
        self.throughput = Throughput(data.plan.tokens_per_step * data.characters_per_token)
        self._before: list[tf.Tensor] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.throughput.on_epoch_begin(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        if self._is_logged(self.progress.step + 1):
            # Not a copy: the update allocates new memory for weights that are still in use.
            self._before = [tf.identity(weight) for weight in self.model.trainable_variables]
            self._learning_rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch, logs=None):
        self.throughput.on_train_batch_end(batch)
        if self._is_logged(self.progress.step):
            self.records.append_metrics(self._row(logs))
            self.throughput.restart()

    def _is_logged(self, step: int) -> bool:
        interval = self.every
        while interval and step > interval * history.NUM_EVEN_ROWS:
            interval *= 2
        return bool(interval) and step % interval == 0

    def _row(self, logs: dict[str, Any]) -> dict[str, Any]:
        smoothed_loss = self.progress.smoothed_loss
        assert smoothed_loss is not None  # since the first step
        numbers = {
            "loss": logs["step_loss"] / self.data.characters_per_token,
            "smoothed_loss": smoothed_loss / self.data.characters_per_token,
            "learning_rate": self._learning_rate,
            "gradient_norm": logs["gradient_norm"],
            "update_to_weight_ratio": self._update_to_weight_ratio(),
            **self._by_layer(logs),
        }
        self._before = []
        row = {"step": self.progress.step}
        row |= {name: number for name, number in numbers.items() if math.isfinite(number)}
        if speed := round(self.throughput.characters_per_second):
            row["characters_per_second"] = speed
        return row

    def _update_to_weight_ratio(self) -> float:
        before = self._before
        pairs = zip(self.model.trainable_variables, before, strict=True)
        update = float(tf.linalg.global_norm([after - weight for after, weight in pairs]))
        size = float(tf.linalg.global_norm(before))
        return update / size if size else math.inf

    def _by_layer(self, logs: dict[str, Any]) -> dict[str, float]:
        if self.internals is None:
            return {}
        after = [tf.convert_to_tensor(weight) for weight in self.model.trainable_variables]
        return self.internals.row(np.asarray(logs["gradient_norms"]).tolist(), self._before, after)
