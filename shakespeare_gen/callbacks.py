"""What happens around the batches and epochs of `fit`.

`Progress` is what a run knows of itself; the callbacks share one and a
checkpoint stores it. They run in the order of this file. Knows no flags.
"""

import dataclasses
import math
import sys
import time

import keras
import tqdm

from shakespeare_gen import evaluation, metrics
from shakespeare_gen.errors import NotFiniteError


@dataclasses.dataclass
class Progress:
    """Where a run stands: the last finished epoch and step, and the best so far."""

    epoch: int = 0
    step: int = 0
    best_step: int | None = None
    best_validation_loss: float | None = None
    epochs_without_improvement: int = 0

    def update(self, loss: float | None) -> None:
        """Takes the validation loss of the epoch that ended; None where there is none."""
        best = self.best_validation_loss
        better = loss is None or best is None or loss < best
        self.epochs_without_improvement = 0 if better else self.epochs_without_improvement + 1
        if better:
            self.best_step, self.best_validation_loss = self.step, loss


class StopWhenNotFinite(keras.callbacks.Callback):
    """Raises as soon as the loss is NaN or infinite; the last checkpoint stays."""

    def __init__(self, learning_rate: float, run_path) -> None:
        super().__init__()
        self.learning_rate, self.run_path = learning_rate, run_path

    def on_train_batch_end(self, batch, logs=None):
        loss = logs["loss"]
        if not math.isfinite(loss):
            raise NotFiniteError(
                f"the training loss became {loss} in batch {batch + 1} of the epoch; the last good "
                f"checkpoint in {self.run_path} is kept; "
                f"try --learning_rate={self.learning_rate / 3:.2g}"
            )


class ResetCarriedState(keras.callbacks.Callback):
    """Streams start at another place each epoch, so their state starts from zero."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.reset_state()


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
    """Adds the validation loss to the epoch's logs and brings `progress` up to date."""

    def __init__(self, progress: Progress, ids, start_id: int, steps_per_epoch: int) -> None:
        super().__init__()
        self.progress, self.ids, self.start_id = progress, ids, start_id
        self.steps_per_epoch = steps_per_epoch

    def on_epoch_end(self, epoch, logs=None):
        loss = None
        if len(self.ids):
            loss = evaluation.nats_per_character(self.model.network, self.ids, self.start_id)
            logs["validation_loss"] = loss
        self.progress.epoch = epoch + 1
        self.progress.step = (epoch + 1) * self.steps_per_epoch
        self.progress.update(loss)


class LogMetrics(keras.callbacks.Callback):
    """Appends the epoch's row to `metrics.jsonl`."""

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
                row[f"{name}_bits_per_character"] = metrics.bits_per_character(logs[name])
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["characters_per_second"] = round(self.throughput.characters_per_second)
        row["seconds"] = round(time.perf_counter() - self._began, 2)
        self.run.append_metrics(row)


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves the last epoch; the best one stays beside it."""

    def __init__(self, run, progress: Progress) -> None:
        super().__init__()
        self.run, self.progress = run, progress

    def on_epoch_end(self, epoch, logs=None):
        progress = dataclasses.asdict(self.progress)
        self.run.save_checkpoint(self.model, progress, keep_step=self.progress.best_step)


class StopEarly(keras.callbacks.Callback):
    """Ends training after `patience` epochs without a better validation loss."""

    def __init__(self, progress: Progress, patience: int) -> None:
        super().__init__()
        self.progress, self.patience = progress, patience

    def on_epoch_end(self, epoch, logs=None):
        if self.patience and self.progress.epochs_without_improvement >= self.patience:
            self.model.stop_training = True


class ShowProgress(keras.callbacks.Callback):
    """A bar with ETA, loss and speed on a terminal; one line an epoch everywhere."""

    def __init__(self, progress: Progress, throughput: Throughput, steps_per_epoch: int) -> None:
        super().__init__()
        self.progress, self.throughput = progress, throughput
        self.steps_per_epoch = steps_per_epoch

    def on_train_begin(self, logs=None):
        total = self.params["epochs"] * self.steps_per_epoch
        self.bar = tqdm.tqdm(
            total=total,
            initial=self.progress.step,
            disable=None,
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| ETA {remaining}{postfix}",
        )

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.set_description_str(f"epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()
        if not self.bar.disable:
            speed = f"{self.throughput.characters_per_second / 1000:.1f}k characters/s"
            self.bar.set_postfix_str(f"{metrics.describe(logs['loss'])}, {speed}", refresh=False)

    def on_epoch_end(self, epoch, logs=None):
        line = (
            f"epoch {epoch + 1}/{self.params['epochs']}: training {metrics.describe(logs['loss'])}"
        )
        if "validation_loss" in logs:
            best = " (best)" if self.progress.best_step == self.progress.step else ""
            line += f"; validation {metrics.describe(logs['validation_loss'])}{best}"
        speed = self.throughput.characters_per_second / 1000
        self.say(f"{line}; {speed:.1f}k characters/s")

    def on_train_end(self, logs=None):
        self.bar.close()

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
        result = self.generator.generate("", length=self.chars, seed=self.seed, temperature=0.8)
        text = result[0].text
        self.show.say("\n" + "\n".join("    " + line for line in text.splitlines()) + "\n")
        with self.run.samples_path.open("a", encoding="utf-8") as file:
            file.write(f"=== epoch {epoch + 1}\n{text}\n")
