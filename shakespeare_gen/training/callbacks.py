"""What happens around the batches and epochs of `fit`.

The callbacks share one `Progress`, which a checkpoint stores. They run in the
order of this file. Knows no flags.
"""

import math
import sys
import time

import keras
import tqdm

from shakespeare_gen.errors import NotFiniteError
from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.models import loss_units
from shakespeare_gen.runs import checkpoints
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system.signals import Interruption


class StartEpoch(keras.callbacks.Callback):
    """Streams start from a zero state; an epoch that was interrupted goes on as it was."""

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
    """Brings `progress` up to date after each step; stops when the loss is NaN or infinite."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch, logs=None):
        self.progress.step += 1
        if not math.isfinite(logs["loss"]):
            raise NotFiniteError(
                f"the training loss became {logs['loss']} in step {self.progress.step}"
            )


class Throughput(keras.callbacks.Callback):
    """Characters per second of an epoch's training steps, without the first of the run."""

    def __init__(self, chars_per_step: int) -> None:
        super().__init__()
        self.chars_per_step = chars_per_step
        self.characters_per_second = 0.0
        self._first_step_done = False

    def on_epoch_begin(self, epoch, logs=None):
        self._began, self._steps = time.perf_counter(), 0

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if not self._first_step_done:  # it holds the tracing
            self._first_step_done, self._began = True, now
            return
        self._steps += 1
        self.characters_per_second = self._steps * self.chars_per_step / (now - self._began)


class Validate(keras.callbacks.Callback):
    """Adds the validation loss to the epoch's logs and finishes the epoch in `progress`."""

    def __init__(
        self,
        progress: Progress,
        ids,
        start_id: int,
        steps_per_epoch: int,
        interruption: Interruption,
    ) -> None:
        super().__init__()
        self.progress, self.ids, self.start_id = progress, ids, start_id
        self.steps_per_epoch, self.interruption = steps_per_epoch, interruption

    def on_epoch_end(self, epoch, logs=None):
        loss = None
        if len(self.ids):
            loss = likelihood.nats_per_character(
                self.model.network, self.ids, self.start_id, poll=self.interruption.check
            )
            if not math.isfinite(loss):
                raise NotFiniteError(f"the validation loss became {loss} in epoch {epoch + 1}")
            logs["validation_loss"] = loss
        self.progress.finish_epoch(loss, self.steps_per_epoch)


class LogMetrics(keras.callbacks.Callback):
    """Appends the epoch's row to `loss_units.jsonl`."""

    def __init__(self, run, progress: Progress, throughput: Throughput) -> None:
        super().__init__()
        self.run, self.progress, self.throughput = run, progress, throughput

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
        self.run.append_metrics(row)


class ShowProgress(keras.callbacks.Callback):
    """A bar with ETA, loss and speed on a terminal; one line an epoch everywhere.

    A context manager, so that the bar goes before anything else is printed.
    """

    def __init__(
        self, progress: Progress, throughput: Throughput, epochs: int, steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.progress, self.throughput, self.epochs = progress, throughput, epochs
        self.bar = tqdm.tqdm(
            total=epochs * steps_per_epoch,
            initial=progress.step,
            disable=None,
            leave=False,
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
            speed = f"{self.throughput.characters_per_second / 1000:.1f}k characters/s"
            self.bar.set_postfix_str(f"{loss_units.describe(logs['loss'])}, {speed}", refresh=False)

    def on_epoch_end(self, epoch, logs=None):
        line = f"epoch {epoch + 1}/{self.epochs}: training {loss_units.describe(logs['loss'])}"
        if "validation_loss" in logs:
            best = "" if self.progress.epochs_without_improvement else " (best)"
            line += f"; validation {loss_units.describe(logs['validation_loss'])}{best}"
        speed = self.throughput.characters_per_second / 1000
        self.say(f"{line}; {speed:.1f}k characters/s")

    def say(self, text: str) -> None:
        """Prints above the bar."""
        self.bar.write(text, file=sys.stderr)


class SampleText(keras.callbacks.Callback):
    """Shows what the model writes, and keeps it in `samples.txt`."""

    def __init__(
        self, run, generator, show: ShowProgress, every_epochs: int, chars: int, seed: int
    ):
        super().__init__()
        self.run, self.generator, self.show = run, generator, show
        self.every_epochs, self.chars, self.seed = every_epochs, chars, seed

    def on_epoch_end(self, epoch, logs=None):
        if not self.every_epochs or (epoch + 1) % self.every_epochs:
            return
        self.generator.reader.refresh()
        result = self.generator.generate("", length=self.chars, seed=self.seed, temperature=0.8)
        text = result[0].text
        self.show.say("\n" + "\n".join("    " + line for line in text.splitlines()) + "\n")
        self.run.append_sample(epoch + 1, text)


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves after each epoch, and within one every so many steps or minutes."""

    def __init__(
        self,
        run,
        progress: Progress,
        steps_per_epoch: int,
        every_steps: int,
        every_minutes: float,
        num_kept: int,
    ) -> None:
        super().__init__()
        self.run, self.progress, self.steps_per_epoch = run, progress, steps_per_epoch
        self.every_steps, self.num_kept = every_steps, num_kept
        self.every_seconds = 60 * every_minutes or math.inf
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        step = self.progress.step
        if step == (self.progress.epoch + 1) * self.steps_per_epoch:
            return  # the epoch ends, and saves, in a moment
        due = self.every_steps and step % self.every_steps == 0
        if due or time.monotonic() - self._saved_at >= self.every_seconds:
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self.save()

    def save(self) -> None:
        """Saves the model as it is."""
        progress = self.progress
        if progress.step > progress.epoch * self.steps_per_epoch:
            progress.loss_sum, progress.loss_count = map(float, self.model.metrics_variables)
        checkpoints.save(self.run, self.model, progress, self.steps_per_epoch, self.num_kept)
        self._saved_at = time.monotonic()


class WriteCard(keras.callbacks.Callback):
    """Brings the run card up to date after each epoch."""

    def __init__(self, card, progress: Progress) -> None:
        super().__init__()
        self.card, self.progress = card, progress

    def on_epoch_end(self, epoch, logs=None):
        self.card.write(best_checkpoint=self.progress.best_checkpoint)


class StopEarly(keras.callbacks.Callback):
    """Ends training after `patience` epochs without a better validation loss."""

    def __init__(self, progress: Progress, patience: int) -> None:
        super().__init__()
        self.progress, self.patience = progress, patience

    def on_epoch_end(self, epoch, logs=None):
        if self.patience and self.progress.epochs_without_improvement >= self.patience:
            self.model.stop_training = True


class StopWhenInterrupted(keras.callbacks.Callback):
    """Raises `Interrupted` after the step in which a signal came."""

    def __init__(self, interruption: Interruption) -> None:
        super().__init__()
        self.interruption = interruption

    def on_train_batch_end(self, batch, logs=None):
        self.interruption.check()
