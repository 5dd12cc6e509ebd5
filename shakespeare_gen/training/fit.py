"""Optimizer, `compile`, `fit` and resume.

Knows ids, windows and networks; not where the text came from, nor flags.
"""

import dataclasses
import math

import keras
import numpy as np
from absl import logging

from shakespeare_gen.data import windows
from shakespeare_gen.errors import Interrupted, NotFiniteError, UsageError, UserError
from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.generation.generator import Generator
from shakespeare_gen.models import loss_units
from shakespeare_gen.models.recurrent import TrainingModel
from shakespeare_gen.runs import checkpoints
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import extras
from shakespeare_gen.system.signals import Interruption
from shakespeare_gen.training import callbacks


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
    if tensorboard:
        extras.require("tensorboard", "--tensorboard")
    if patience and not num_validation_chars:
        raise UsageError(f"--patience: expected 0 without validation text, received {patience}")


def compiled(
    network: keras.Model, plan: windows.Plan, epochs: int, optimizer_options: dict
) -> TrainingModel:
    """The model as `fit` and a checkpoint want it: compiled and built."""
    model = TrainingModel(network, plan.batch_size if plan.carry_state else None)
    optimizer = make_optimizer(epochs * plan.steps_per_epoch, **optimizer_options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    model.build((plan.batch_size, plan.window_chars))
    return model


def restored_progress(run, model: TrainingModel, plan: windows.Plan) -> tuple[Progress, str]:
    """Loads the last checkpoint into `model`; returns where it stood, and its name."""
    checkpoint = checkpoints.restore(run, model)
    progress, steps = checkpoint.progress, plan.steps_per_epoch
    if not progress.epoch * steps <= progress.step <= (progress.epoch + 1) * steps:
        raise UserError(
            f"{checkpoint.place}: expected a step of epoch {progress.epoch + 1} "
            f"of {steps} steps, found {progress.step}"
        )
    return progress, checkpoint.place.name


def train(
    model: TrainingModel,
    vocabulary,
    ids: dict,
    plan: windows.Plan,
    run,
    card,
    progress: Progress,
    interruption: Interruption,
    learning_rate: float,
    epochs: int,
    patience: int = 0,
    seed: int = 0,
    save_every_steps: int = 0,
    save_every_minutes: float = 0.0,
    keep_checkpoints: int = 2,
    sample_every_epochs: int = 0,
    sample_chars: int = 200,
    tensorboard: bool = False,
) -> None:
    """Trains `model` into the run folder of `run`, from `progress` to the end of `epochs`.

    Args:
      ids: int [num_chars] of the splits `train` and `validation`.
      card: the run card, written anew after each epoch.
      learning_rate: the one that was asked for, of which a smaller one is advised.

    Raises:
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: a signal came; the step is finished and saved.
    """
    run.drop_after(progress.epoch)
    if progress.epoch >= epochs or 0 < patience <= progress.epochs_without_improvement:
        logging.info("Nothing to train: the run ended after epoch %d.", progress.epoch)
        return
    steps = plan.steps_per_epoch
    throughput = callbacks.Throughput(plan.chars_per_step)
    show = callbacks.ShowProgress(progress, throughput, epochs, steps)
    generator = Generator([model.network], vocabulary)
    saver = callbacks.SaveCheckpoint(
        run, progress, steps, save_every_steps, save_every_minutes, keep_checkpoints
    )
    hooks = [
        callbacks.StartEpoch(progress, steps),
        callbacks.CountSteps(progress),
        throughput,
        callbacks.Validate(progress, ids["validation"], vocabulary.start_id, steps, interruption),
        callbacks.LogMetrics(run, progress, throughput),
        show,
        callbacks.SampleText(run, generator, show, sample_every_epochs, sample_chars, seed),
        saver,
        callbacks.WriteCard(card, progress),
        callbacks.StopEarly(progress, patience),
        callbacks.StopWhenInterrupted(interruption),
    ]
    if tensorboard:
        hooks.append(keras.callbacks.TensorBoard(run.tensorboard_dir))
    try:
        with show:
            _fit_or_save(
                model, ids["train"], plan, progress, epochs, seed, hooks, interruption, saver
            )
    except NotFiniteError as error:
        raise NotFiniteError(f"{error}; {_way_out(run, learning_rate)}") from None


def _fit_or_save(model, train_ids, plan, progress, epochs, seed, hooks, interruption, saver):
    """`fit` in which a signal waits for the step to end, and for the checkpoint."""
    try:
        with interruption.deferred():
            _fit(model, train_ids, plan, progress, epochs, seed, hooks)
    except Interrupted as stop:
        saver.save()
        message = f"interrupted and saved after step {progress.step}"
        raise Interrupted(stop.signal_number, message) from None


def _way_out(run, learning_rate: float) -> str:
    advice = f"try --learning_rate={learning_rate / 3:.2g}"
    if not run.has_checkpoint():
        return advice
    return f"the last good checkpoint in {run.path} is kept, --resume goes on from it; {advice}"


def _fit(model, train_ids, plan: windows.Plan, progress: Progress, epochs: int, seed: int, hooks):
    """`fit`, first to the end of an epoch that was begun, then over the whole ones."""

    def fit(last_epoch: int, steps: int) -> None:
        model.fit(
            windows.batches(train_ids, plan, seed, first_step=progress.step),
            epochs=last_epoch,
            initial_epoch=progress.epoch,
            steps_per_epoch=steps,
            callbacks=hooks,
            shuffle=False,
            verbose=0,
        )

    steps_left = (progress.epoch + 1) * plan.steps_per_epoch - progress.step
    if steps_left == 0:  # every step is done, but it was never validated
        # In float32, as Keras divides.
        loss = float(np.float32(progress.loss_sum) / np.float32(progress.loss_count))
        every = keras.callbacks.CallbackList(hooks, model=model)
        every.on_train_begin()
        every.on_epoch_begin(progress.epoch)
        every.on_epoch_end(progress.epoch, {"loss": loss})
        every.on_train_end()
    elif steps_left < plan.steps_per_epoch:
        fit(progress.epoch + 1, steps_left)
    if progress.epoch < epochs and not model.stop_training:
        fit(epochs, plan.steps_per_epoch)


def evaluate_best(run, ids: dict) -> dict:
    """The best checkpoint's name and its `losses` in nats per character: validation, test, and
    both together; empty splits are left out."""
    checkpoint = checkpoints.read(run, "best")
    network = checkpoints.load_network(run, checkpoint)
    start_id = run.read_vocabulary().start_id
    held_out = {split: ids[split] for split in ("validation", "test") if len(ids[split])}
    losses = {
        split: likelihood.nats_per_character(network, split_ids, start_id)
        for split, split_ids in held_out.items()
    }
    if len(losses) == 2:
        num_chars = [len(split_ids) for split_ids in held_out.values()]
        losses["both"] = float(np.average(list(losses.values()), weights=num_chars))
    for split, loss in losses.items():
        logging.info("%s: %s", split, loss_units.describe(loss))
    return {"best_checkpoint": checkpoint.place.name, "losses": losses}
