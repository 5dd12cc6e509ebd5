"""TensorBoard logs of a run: rows of metrics, samples and hyper-parameters.

    tensorboard/             options of the run, for the HParams tab
    tensorboard/train/       `loss`, `gradient_norm`, ... of single steps, `epoch_loss`, samples
    tensorboard/validation/  `epoch_loss`

The logs are a copy of `metrics.jsonl` and `samples.txt`: when a run is resumed, they are written
again, so that they contain each step once. Knows nothing about training.
"""

import contextlib
import shutil
from typing import Any

import tensorflow as tf

from shakespeare_gen.runs import Run

HPARAM_TYPES = (bool, int, float, str)


class Records:
    """Writes rows and samples to the run folder and to TensorBoard."""

    def __init__(self, run: Run, steps_per_epoch: int) -> None:
        self._folder, self._steps_per_epoch = run.folder, steps_per_epoch
        self._writers = {
            name: tf.summary.create_file_writer(str(run.folder.tensorboard_dir / name))
            for name in ("", "train", "validation")
        }

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Appends the row of an epoch or of a step."""
        self._folder.append_metrics(row)
        self.show_row(row)

    def append_sample(self, number: int, text: str, unit: str = "epoch") -> None:
        """Appends the text that was generated after an epoch or a step."""
        self._folder.append_sample(number, text, unit)
        self.show_sample(number, text, unit)

    def show_options(self, options: dict[str, Any]) -> None:
        """Writes hyper-parameters to TensorBoard."""
        from tensorboard.plugins.hparams import api

        values = {n: v if isinstance(v, HPARAM_TYPES) else str(v) for n, v in options.items()}
        with self._writers[""].as_default():
            api.hparams(values)
        self._writers[""].flush()

    def show_row(self, row: dict[str, Any]) -> None:
        """Writes a row to TensorBoard."""
        for split, numbers in _by_split(row).items():
            with self._writers[split].as_default(row["step"]):
                for name, number in numbers.items():
                    tf.summary.scalar(name, number)
            self._writers[split].flush()

    def show_sample(self, number: int, text: str, unit: str) -> None:
        """Writes a generated text to TensorBoard."""
        step = number if unit == "step" else number * self._steps_per_epoch
        with self._writers["train"].as_default(step):
            tf.summary.text("sample", _preformatted(text))
        self._writers["train"].flush()


def records(run: Run, steps_per_epoch: int) -> Records:
    """The records of a run, with all that the run folder contains so far in TensorBoard."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(run.folder.tensorboard_dir)
    found = Records(run, steps_per_epoch)
    found.show_options(run.spec.options.by_name())
    for row in (*run.step_metrics(), *run.metrics()):
        found.show_row(row)
    for unit in ("step", "epoch"):
        for number, text in run.folder.samples(unit):
            found.show_sample(number, text, unit)
    return found


def _by_split(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The numbers of a row, by the split that they belong to and by tag."""
    found: dict[str, dict[str, Any]] = {"train": {}, "validation": {}}
    prefix = "epoch_" if "epoch" in row else ""
    for name, number in row.items():
        split = "validation" if name.startswith("validation_") else "train"
        if name not in ("epoch", "step"):
            found[split][prefix + name.removeprefix("validation_")] = number
    return found


def _preformatted(text: str) -> str:
    """Text as Markdown that TensorBoard shows line by line, whatever it contains."""
    return "\n".join("    " + line for line in text.splitlines())
