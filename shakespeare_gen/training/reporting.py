"""Keras callbacks that tell how training goes: progress, metrics, samples and the run card.

Knows nothing about where rows and samples are kept; see `Records`.
"""

import contextlib
import time
from typing import Any, Protocol

import keras
import tqdm

from shakespeare_gen.generation import Generator
from shakespeare_gen.models import loss_units
from shakespeare_gen.options.groups import TrainingOptions
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import logs, terminal
from shakespeare_gen.training.data import TrainingData

SAMPLE_TEMPERATURE = 0.8


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


class WriteCard(keras.callbacks.Callback):
    """Updates the run card after each epoch."""

    def __init__(self, card: Card, progress: Progress) -> None:
        super().__init__()
        self.card, self.progress = card, progress

    def on_epoch_end(self, epoch, logs=None):
        self.card.write(best_checkpoint=self.progress.best_checkpoint)
