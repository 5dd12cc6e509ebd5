"""The progress of a run: shared by the training callbacks and stored in every checkpoint."""

import dataclasses
import math
from typing import Any

from shakespeare_gen.errors import UserError
from shakespeare_gen.runs import store

SMOOTHING = 0.999  # the part of the smoothed loss that a step keeps
# Fields that may be None, and those that earlier versions did not store.
OPTIONAL_NUMBERS = ("best_validation_loss", "smoothed_loss")
ADDED_FIELDS = {"smoothed_loss": None}


@dataclasses.dataclass
class Progress:
    """Finished epochs, steps of all epochs, and the best validation loss so far.

    An epoch is finished once it is validated; `step` may be ahead of `epoch`. The sums are those of
    Keras's mean loss in the unfinished epoch. The smoothed loss is in nats per token, None before
    the first step and in checkpoints of earlier versions.
    """

    epoch: int = 0
    step: int = 0
    best_checkpoint: str | None = None
    best_validation_loss: float | None = None
    epochs_without_improvement: int = 0
    loss_sum: float = 0.0
    loss_count: float = 0.0
    smoothed_loss: float | None = None

    def checkpoint_name(self, steps_per_epoch: int) -> str:
        """The name of a checkpoint in `store`.

        The name at the end of an epoch differs before and after validation, so that checkpoints
        never replace each other.
        """
        at_end = self.epoch and self.step == self.epoch * steps_per_epoch
        return store.name_of(self.step, self.epoch if at_end else None)

    def finish_step(self, loss: float, guessing_loss: float) -> None:
        """Counts a step; `loss` is that of its batch, before the update.

        Args:
          guessing_loss: the loss of guessing at random, with which the smoothed loss starts.
        """
        self.step += 1
        before = guessing_loss if self.smoothed_loss is None else self.smoothed_loss
        self.smoothed_loss = SMOOTHING * before + (1 - SMOOTHING) * loss

    def finish_epoch(self, loss: float | None, steps_per_epoch: int) -> None:
        """Counts an epoch; `loss` is its validation loss, or None without validation text."""
        self.epoch += 1
        self.loss_sum = self.loss_count = 0.0
        best = self.best_validation_loss
        better = loss is None or best is None or loss < best
        self.epochs_without_improvement = 0 if better else self.epochs_without_improvement + 1
        if better:
            self.best_checkpoint = self.checkpoint_name(steps_per_epoch)
            self.best_validation_loss = loss

    @classmethod
    def from_json(cls, value: Any) -> "Progress":
        """The progress of a checkpoint.

        Raises:
          UserError: a field is missing, unknown or out of bounds.
        """
        value = {**ADDED_FIELDS, **value} if isinstance(value, dict) else value
        if not isinstance(value, dict) or set(value) != {f.name for f in dataclasses.fields(cls)}:
            raise UserError("progress: expected the fields of `Progress`, found others")
        for name in ("epoch", "step", "epochs_without_improvement"):
            if type(value[name]) is not int or not 0 <= value[name] < 2**53:
                raise UserError(f"progress: expected {name} to be a count, found {value[name]!r}")
        name = value["best_checkpoint"]
        if name is not None and not (isinstance(name, str) and store.is_name(name)):
            raise UserError(
                f"progress: expected the name of a checkpoint, found {str(name)[:80]!r}"
            )
        for key in (*OPTIONAL_NUMBERS, "loss_sum", "loss_count"):
            number = value[key]
            is_number = type(number) is float and math.isfinite(number)
            if not is_number and not (number is None and key in OPTIONAL_NUMBERS):
                raise UserError(f"progress: expected {key} to be a number, found {number!r}")
        return cls(**value)
