"""Optimizer, `compile`, `fit` and resume.

Knows ids, windows and networks; not where the text came from, nor flags.
"""

import dataclasses
import importlib.util
import math

import keras
import numpy as np
from absl import logging

from shakespeare_gen import callbacks, evaluation, metrics, windows
from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import Generator
from shakespeare_gen.model import TrainingModel


@dataclasses.dataclass(frozen=True)
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then constant, cosine or exponential to the last step."""

    schedule: str
    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
    num_steps: int

    def __call__(self, step):
        ops = keras.ops
        step = ops.cast(step, "float32")
        warmup = ops.minimum((step + 1) / (self.warmup_steps + 1), 1.0)
        decay_steps = max(self.num_steps - self.warmup_steps, 1)
        done = ops.clip((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        high, low = self.learning_rate, self.final_learning_rate
        if self.schedule == "cosine":
            return warmup * (low + (high - low) * 0.5 * (1 + ops.cos(math.pi * done)))
        if self.schedule == "exponential":
            return warmup * high * (low / high) ** done
        return warmup * high

    def get_config(self):
        return dataclasses.asdict(self)


def make_optimizer(
    num_steps: int,
    optimizer: str,
    learning_rate: float,
    schedule: str = "constant",
    warmup_steps: int = 0,
    final_learning_rate: float = 0.0,
    weight_decay: float = 0.0,
    beta_2: float = 0.99,
    momentum: float = 0.0,
    clip_norm: float = 0.0,
    clip_value: float = 0.0,
) -> keras.optimizers.Optimizer:
    """A Keras optimizer whose schedule ends at `num_steps`."""
    kinds = {
        "adam": (keras.optimizers.Adam, {"beta_2": beta_2}),
        "adamw": (keras.optimizers.AdamW, {"beta_2": beta_2}),
        "rmsprop": (keras.optimizers.RMSprop, {"momentum": momentum}),
        "adagrad": (keras.optimizers.Adagrad, {}),
        "sgd": (keras.optimizers.SGD, {"momentum": momentum}),
    }
    kind, options = kinds[optimizer]
    made = kind(
        Schedule(schedule, learning_rate, final_learning_rate, warmup_steps, num_steps),
        weight_decay=weight_decay,
        global_clipnorm=clip_norm or None,
        clipvalue=clip_value or None,
        **options,
    )
    made.exclude_from_weight_decay(var_names=["bias"])
    return made


def set_seed(seed: int) -> None:
    """Seeds weights and dropout; after the data is prepared (TFDS draws folder names)."""
    keras.utils.set_random_seed(seed)


def check(num_validation_chars: int, patience: int, tensorboard: bool, **_) -> None:
    """Refuses early stopping without validation text, and logs for a package that is missing."""
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UsageError(
            "--tensorboard: expected the package tensorboard, found none; "
            "install it with: pip install 'shakespeare_gen[tensorboard]'"
        )
    if patience and not num_validation_chars:
        raise UsageError(f"--patience: expected 0 without validation text, received {patience}")


def train(
    network: keras.Model,
    vocabulary,
    ids: dict,
    plan: windows.Plan,
    run,
    optimizer_options: dict,
    resume: bool,
    epochs: int,
    patience: int = 0,
    seed: int = 0,
    sample_every_epochs: int = 0,
    sample_chars: int = 200,
    tensorboard: bool = False,
) -> None:
    """Trains `network` into the run folder of `run`, to the end of `epochs`.

    Args:
      ids: int [num_chars] of the splits `train` and `validation`.
      resume: continue from the newest checkpoint of `run`.

    Raises:
      NotFiniteError: the loss became NaN or infinite.
    """
    model = TrainingModel(network, plan.batch_size if plan.carry_state else None)
    optimizer = make_optimizer(epochs * plan.steps_per_epoch, **optimizer_options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    model.build((plan.batch_size, plan.window_chars))
    progress = callbacks.Progress(**run.restore(model)) if resume else callbacks.Progress()
    run.drop_metrics_after(progress.step)
    if progress.epoch >= epochs or 0 < patience <= progress.epochs_without_improvement:
        logging.info("Nothing to train: the run ended after epoch %d.", progress.epoch)
        return
    throughput = callbacks.Throughput(plan.chars_per_step)
    show = callbacks.ShowProgress(progress, throughput, plan.steps_per_epoch)
    generator = Generator(network, vocabulary)
    hooks = [
        callbacks.StopWhenNotFinite(optimizer_options["learning_rate"], run.path),
        callbacks.ResetCarriedState(),
        throughput,
        callbacks.Validate(progress, ids["validation"], vocabulary.start_id, plan.steps_per_epoch),
        callbacks.LogMetrics(run, progress, throughput),
        callbacks.SaveCheckpoint(run, progress),
        callbacks.StopEarly(progress, patience),
        show,
        callbacks.SampleText(run, generator, show, sample_every_epochs, sample_chars, seed),
    ]
    if tensorboard:
        hooks.append(keras.callbacks.TensorBoard(run.tensorboard_dir))
    model.fit(
        windows.batches(ids["train"], plan, seed, first_step=progress.step),
        epochs=epochs,
        initial_epoch=progress.epoch,
        steps_per_epoch=plan.steps_per_epoch,
        callbacks=hooks,
        shuffle=False,
        verbose=0,
    )


def final_losses(run, ids: dict) -> dict[str, float]:
    """Nats per character of the best checkpoint: validation, test, and both as one text."""
    network, _ = run.load_network("best")
    start_id = run.read_vocabulary().start_id
    held_out = {split: ids[split] for split in ("validation", "test") if len(ids[split])}
    losses = {
        split: evaluation.nats_per_character(network, split_ids, start_id)
        for split, split_ids in held_out.items()
    }
    if len(losses) == 2:
        num_chars = [len(split_ids) for split_ids in held_out.values()]
        losses["both"] = float(np.average(list(losses.values()), weights=num_chars))
    for split, loss in losses.items():
        logging.info("%s: %s", split, metrics.describe(loss))
    return losses
