"""`model.fit` over the windows of a text, from any step to the end of the last epoch.

Knows tokens, windows and models, but not the source of the text.
"""

import keras
import numpy as np
from absl import logging

from shakespeare_gen.data import windows
from shakespeare_gen.errors import Interrupted, NotFiniteError, UserError
from shakespeare_gen.generation import Generator
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import OptimizerOptions, TrainingOptions
from shakespeare_gen.runs import Run, checkpoints
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system.signals import Interruption
from shakespeare_gen.training import callbacks, optimizers
from shakespeare_gen.training.model import TrainingModel
from shakespeare_gen.training.preparation import TrainingData


def compiled(language_model: LanguageModel, plan: windows.Plan, options: Options) -> TrainingModel:
    """A compiled and built model, ready for `fit` and for a checkpoint."""
    model = TrainingModel(language_model, plan.batch_size if plan.carry_state else None)
    num_steps = options[TrainingOptions].epochs * plan.steps_per_epoch
    optimizer = optimizers.make_optimizer(options[OptimizerOptions], num_steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    model.build((plan.batch_size, plan.window_chars))
    optimizer.build(model.trainable_variables)
    return model


def restored(run: Run, model: TrainingModel, plan: windows.Plan) -> checkpoints.Checkpoint:
    """Loads the last checkpoint into `model`.

    Raises:
      UserError: there is no checkpoint, or it does not match the windows.
    """
    checkpoint = checkpoints.restore(run, model)
    progress, steps = checkpoint.progress, plan.steps_per_epoch
    if not progress.epoch * steps <= progress.step <= (progress.epoch + 1) * steps:
        raise UserError(
            f"{checkpoint.place}: expected a step of epoch {progress.epoch + 1} "
            f"of {steps} steps, found {progress.step}"
        )
    return checkpoint


def train(
    run: Run,
    model: TrainingModel,
    data: TrainingData,
    progress: Progress,
    card: Card,
    interruption: Interruption,
) -> None:
    """Trains `model` from `progress` to the last epoch, with the results in the run folder.

    Args:
      card: the run card, updated after each epoch.

    Raises:
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: a signal arrived; the step was finished and a checkpoint saved.
    """
    options = run.spec.options
    training = options[TrainingOptions]
    run.folder.drop_after(progress.epoch)
    if (
        progress.epoch >= training.epochs
        or 0 < training.patience <= progress.epochs_without_improvement
    ):
        logging.info("Nothing to train: the run ended after epoch %d.", progress.epoch)
        return
    show = callbacks.ShowProgress(progress, data, training.epochs)
    saver = callbacks.SaveCheckpoint(run, progress, data.plan.steps_per_epoch, training)
    hooks = _hooks(run, model, data, progress, (show, saver, card, interruption))
    try:
        with show:
            _fit_or_save(model, data, progress, training, hooks, interruption, saver)
    except NotFiniteError as error:
        advice = optimizers.divergence_advice(options[OptimizerOptions])
        if run.folder.has_checkpoint():
            kept = f"the last good checkpoint in {run.path} is kept; `resume` continues from it"
            advice = f"{kept}; {advice}"
        raise NotFiniteError(f"{error}; {advice}") from None


def _hooks(run: Run, model, data: TrainingData, progress: Progress, shared: tuple) -> list:
    """The callbacks, in the order of their execution."""
    show, saver, card, interruption = shared
    training, steps = run.spec.options[TrainingOptions], data.plan.steps_per_epoch
    generator = Generator(model.language_model, data.tokenizer)
    hooks = [
        callbacks.StartEpoch(progress, steps),
        callbacks.CountSteps(progress),
        show.throughput,
        callbacks.Validate(progress, data, interruption),
        callbacks.LogMetrics(run.folder, progress, show.throughput),
        show,
        callbacks.SampleText(run.folder, generator, show, training),
        saver,
        callbacks.WriteCard(card, progress),
        callbacks.StopEarly(progress, training.patience),
        callbacks.StopWhenInterrupted(interruption),
    ]
    if training.tensorboard:
        hooks.append(keras.callbacks.TensorBoard(run.folder.tensorboard_dir))
    return hooks


def _fit_or_save(model, data, progress, training, hooks, interruption, saver) -> None:
    """Runs `fit`; a signal takes effect after the step, once a checkpoint is saved."""
    try:
        with interruption.deferred():
            _fit(model, data, progress, training, hooks)
    except Interrupted as stop:
        saver.save()
        message = f"interrupted and saved after step {progress.step}"
        raise Interrupted(stop.signal_number, message) from None


def _fit(
    model: TrainingModel,
    data: TrainingData,
    progress: Progress,
    training: TrainingOptions,
    hooks: list,
) -> None:
    """Runs `fit` to the end of a partial epoch, then over whole epochs."""
    plan = data.plan

    def fit(last_epoch: int, steps: int) -> None:
        model.fit(
            windows.batches(data.texts["train"].ids, plan, training.seed, progress.step),
            epochs=last_epoch,
            initial_epoch=progress.epoch,
            steps_per_epoch=steps,
            callbacks=hooks,
            shuffle=False,
            verbose=0,
        )

    steps_left = (progress.epoch + 1) * plan.steps_per_epoch - progress.step
    if steps_left == 0:
        _finish_epoch(model, progress, hooks)
    elif steps_left < plan.steps_per_epoch:
        fit(progress.epoch + 1, steps_left)
    if progress.epoch < training.epochs and not model.stop_training:
        fit(training.epochs, plan.steps_per_epoch)


def _finish_epoch(model: TrainingModel, progress: Progress, hooks: list) -> None:
    """Finishes an epoch whose steps are complete but which was not validated."""
    # In float32, as Keras divides.
    loss = float(np.float32(progress.loss_sum) / np.float32(progress.loss_count))
    every = keras.callbacks.CallbackList(hooks, model=model)
    every.on_train_begin()
    every.on_epoch_begin(progress.epoch)
    every.on_epoch_end(progress.epoch, {"loss": loss})
    every.on_train_end()
