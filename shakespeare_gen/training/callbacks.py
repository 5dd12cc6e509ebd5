"""Keras callbacks for the batches and epochs of `fit`.

They share a `Progress`, which is stored in checkpoints, and run in the order of this file. Losses
are in nats per token inside `fit`, and per character in all output.
"""

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import keras
import tqdm

from shakespeare_gen.errors import Interrupted, NotFiniteError
from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.generation import Generator
from shakespeare_gen.models import loss_units
from shakespeare_gen.options.groups import TrainingOptions
from shakespeare_gen.runs import Run, checkpoints
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import logs, terminal
from shakespeare_gen.training.control import Control
from shakespeare_gen.training.data import TrainingData
from shakespeare_gen.training.workers.team import Team

SAMPLE_TEMPERATURE = 0.8


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


class Throughput(keras.callbacks.Callback):
    """Characters per second of the training steps since `restart` or the start of the epoch,
    without the first step of the process, which includes tracing."""

    def __init__(self, chars_per_step: float) -> None:
        super().__init__()
        self.chars_per_step = chars_per_step
        self.characters_per_second = 0.0
        self._first_step_done = False

    def restart(self) -> None:
        """Starts a new measurement."""
        self.characters_per_second = 0.0
        self._began, self._steps = time.perf_counter(), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.restart()

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if not self._first_step_done:
            self._first_step_done, self._began = True, now
            return
        self._steps += 1
        self.characters_per_second = self._steps * self.chars_per_step / (now - self._began)


class Validate(keras.callbacks.Callback):
    """Adds losses per character to the logs of the epoch, and finishes the epoch."""

    def __init__(self, progress: Progress, data: TrainingData, control: Control) -> None:
        super().__init__()
        self.progress, self.data = progress, data
        self.plan = likelihood.ReadingPlan(poll=control.check, sharing=control.team)

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


class Records(Protocol):
    """Where rows of metrics and samples go: a `RunFolder` or a `tensorboard_logs.Records`."""

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Appends the row of an epoch or of a step."""

    def append_sample(self, number: int, text: str, unit: str = "epoch") -> None:
        """Appends the text that was generated after an epoch, or with `unit="step"` a step."""


class LogMetrics(keras.callbacks.Callback):
    """Appends the row of the epoch."""

    def __init__(self, records: Records, progress: Progress, throughput: Throughput) -> None:
        super().__init__()
        self.records, self.progress, self.throughput = records, progress, throughput

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": self.progress.epoch, "step": self.progress.step}
        for name in ("loss", "validation_loss"):
            if name in logs:
                row[name] = logs[name]
                row[f"{name}_bits_per_character"] = loss_units.bits_per_character(logs[name])
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["characters_per_second"] = round(self.throughput.characters_per_second)
        row["seconds"] = round(time.perf_counter() - self._began, 2)
        self.records.append_metrics(row)


class ShowProgress(keras.callbacks.Callback):
    """One line per epoch; on a terminal, also a progress bar with ETA, loss and speed.

    A context manager: the bar is removed at the end, before anything else is printed.
    """

    def __init__(self, progress: Progress, data: TrainingData, epochs: int) -> None:
        super().__init__()
        self.progress, self.data, self.epochs = progress, data, epochs
        self.throughput = Throughput(data.plan.tokens_per_step * data.characters_per_token)
        self.bar = tqdm.tqdm(
            total=epochs * data.plan.steps_per_epoch,
            initial=progress.step,
            file=logs.stream(),
            leave=False,
            # None: only on a terminal. A notebook shows a figure instead; see `Control.watch`.
            disable=True if logs.in_notebook() else None,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| ETA {remaining}{postfix}",
        )

    def __enter__(self) -> "ShowProgress":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.set_description_str(f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()
        if not self.bar.disable:
            loss = logs["loss"] / self.data.characters_per_token
            self.bar.set_postfix_str(f"{loss_units.describe(loss)}, {self._speed()}", refresh=False)

    def on_epoch_end(self, epoch, logs=None):
        line = f"epoch {epoch + 1}/{self.epochs}: training {loss_units.describe(logs['loss'])}"
        if "validation_loss" in logs:
            best = "" if self.progress.epochs_without_improvement else " (best)"
            line += f"; validation {loss_units.describe(logs['validation_loss'])}{best}"
        self.say(f"{line}; {self._speed()}")

    def _speed(self) -> str:
        return f"{self.throughput.characters_per_second / 1000:.1f}k characters/s"

    def say(self, text: str) -> None:
        """Prints above the bar; control characters are escaped."""
        with contextlib.suppress(OSError):  # training continues if standard error fails
            self.bar.write(terminal.visible(text), file=logs.stream())


class SampleText(keras.callbacks.Callback):
    """Generates a sample after epochs and steps, shows it and appends it to the samples."""

    def __init__(
        self,
        records: Records,
        generator: Generator,
        show: ShowProgress,
        options: TrainingOptions,
    ) -> None:
        super().__init__()
        self.records, self.generator, self.show, self.options = records, generator, show, options

    def on_train_batch_end(self, batch, logs=None):
        every, step = self.options.sample_every_steps, self.show.progress.step
        if every and step % every == 0:
            loss = self.show.progress.smoothed_loss / self.show.data.characters_per_token
            self._say(f"step {step}: smoothed loss {loss_units.describe(loss)}")
            self._sample(step, "step")

    def on_epoch_end(self, epoch, logs=None):
        every = self.options.sample_every_epochs
        if every and (epoch + 1) % every == 0:
            self._sample(epoch + 1, "epoch")

    def _sample(self, number: int, unit: str) -> None:
        [result] = self.generator.generate(
            length=self.options.sample_chars,
            seed=self.options.seed,
            temperature=SAMPLE_TEMPERATURE,
        )
        lines = "\n".join("    " + line for line in result.text.splitlines())
        self._say(f"\n{lines}\n")
        self.records.append_sample(number, result.text, unit)

    def _say(self, text: str) -> None:
        if not logs.in_notebook():  # it shows the latest sample in place; see `Control.watch`
            self.show.say(text)


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


class WriteCard(keras.callbacks.Callback):
    """Updates the run card after each epoch."""

    def __init__(self, card: Card, progress: Progress) -> None:
        super().__init__()
        self.card, self.progress = card, progress

    def on_epoch_end(self, epoch, logs=None):
        self.card.write(best_checkpoint=self.progress.best_checkpoint)


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
