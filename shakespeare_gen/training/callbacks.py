"""Keras callbacks that count and validate: they update the `Progress` that all callbacks share.

It is stored in checkpoints. Losses are in nats per token inside `fit`, and per character in all
output. `fit` has the order of the callbacks; see also `reporting`, `saving` and `stopping`.
"""

import math

import keras

from shakespeare_gen.errors import NotFiniteError
from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.evaluation.rows import ReadingPlan
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.training.control import Control
from shakespeare_gen.training.data import TrainingData


class StartEpoch(keras.callbacks.Callback):
    """Resets the carried state, unless the epoch continues after an interruption."""

    def __init__(self, progress: Progress, steps_per_epoch: int) -> None:
        super().__init__()
        self.progress, self.steps_per_epoch = progress, steps_per_epoch

    def on_epoch_begin(self, epoch, logs=None):
        progress = self.progress
        if progress.step == progress.epoch * self.steps_per_epoch:
            self.model.reset_state()
            return
        sums = (progress.loss_sum, progress.loss_count)
        for variable, value in zip(self.model.metrics_variables, sums, strict=True):
            variable.assign(value)


class CountSteps(keras.callbacks.Callback):
    """Updates `progress` after each step; raises an error if the loss is NaN or infinite."""

    def __init__(self, progress: Progress, vocabulary_size: int) -> None:
        super().__init__()
        self.progress, self.guessing_loss = progress, math.log(vocabulary_size)

    def on_train_batch_end(self, batch, logs=None):
        self.progress.finish_step(float(logs["step_loss"]), self.guessing_loss)
        if not math.isfinite(logs["loss"]):
            raise NotFiniteError(
                f"the training loss became {logs['loss']} in step {self.progress.step}"
            )


class Validate(keras.callbacks.Callback):
    """Adds losses per character to the logs of the epoch, and finishes the epoch."""

    def __init__(self, progress: Progress, data: TrainingData, control: Control) -> None:
        super().__init__()
        self.progress, self.data = progress, data
        self.plan = ReadingPlan(poll=control.check, sharing=control.team)

    def on_epoch_end(self, epoch, logs=None):
        loss, text = None, self.data.held_out["validation"]
        if text.num_tokens:
            loss = likelihood.nats_per_character(
                self.model.language_model, text, self.data.tokenizer.start_id, self.plan
            )
            if not math.isfinite(loss):
                raise NotFiniteError(f"the validation loss became {loss} in epoch {epoch + 1}")
            logs["validation_loss"] = loss
        logs["loss"] = logs["loss"] / self.data.characters_per_token
        self.progress.finish_epoch(loss, self.data.plan.steps_per_epoch)
