"""`model.fit` over the windows of a text, from any step to the end of the last epoch.

Knows tokens, windows and models, but not the source of the text.
"""

import dataclasses

import keras
import numpy as np
from absl import logging

from shakespeare_gen import models
from shakespeare_gen.data import windows
from shakespeare_gen.errors import Interrupted, NotFiniteError, UserError
from shakespeare_gen.generation import Generator
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import ComputeOptions, OptimizerOptions, TrainingOptions
from shakespeare_gen.runs import Run, checkpoints
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.training import (
    callbacks,
    optimizers,
    reporting,
    saving,
    step_metrics,
    stopping,
    tensorboard_logs,
    watching,
)
from shakespeare_gen.training.control import Control
from shakespeare_gen.training.data import TrainingData
from shakespeare_gen.training.internals import Internals
from shakespeare_gen.training.model import Regularization, TrainingModel
from shakespeare_gen.training.preparation import Prepared
from shakespeare_gen.training.teachers import Teachers
from shakespeare_gen.training.workers import sharing
from shakespeare_gen.training.workers.replicas import Replicas
from shakespeare_gen.training.workers.team import Team


def start(
    prepared: Prepared,
    options: Options,
    team: Team | None = None,
    replicas: Replicas | None = None,
) -> tuple[TrainingModel, checkpoints.Checkpoint | None]:
    """A model that is ready for `train`, and the checkpoint of a run that is resumed."""
    plan, before = prepared.data.plan, prepared.run_before
    spec = models.spec_of(prepared.data.tokenizer.size, options)
    training_model = compiled(spec, plan, options, prepared.teachers, replicas)

    def begin() -> checkpoints.Checkpoint | None:
        if prepared.start:
            prepared.start.assign(training_model.language_model, prepared.data.tokenizer)
        return restored(before, training_model, plan) if before else None

    if team:
        return training_model, sharing.start(team, training_model, spec, begin)
    return training_model, begin()


def compiled(
    spec: models.Spec,
    plan: windows.Plan,
    options: Options,
    teachers: Teachers | None = None,
    replicas: Replicas | None = None,
) -> TrainingModel:
    """A compiled and built model, ready for `fit` and for a checkpoint."""
    compute, optimization = options[ComputeOptions], options[OptimizerOptions]
    language_model = models.build(spec, compute.precision, compute.kernel)
    regularization = Regularization(
        weight_dropout=spec.weight_dropout,
        teacher=teachers.model(compute.precision) if teachers else None,
        teacher_weight=options[TrainingOptions].teacher_weight,
    )
    carry_batch_size = plan.batch_size if plan.carry_state else None
    model = TrainingModel(language_model, carry_batch_size, regularization, replicas)
    num_steps = options[TrainingOptions].epochs * plan.steps_per_epoch
    optimizer = optimizers.make_optimizer(optimization, num_steps, plan.steps_per_epoch)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    rows = replicas.rows(0) if replicas else windows.ALL_ROWS
    model.build((len(range(plan.batch_size)[rows]), plan.window_chars))
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
    card: Card | None,
    control: Control,
) -> None:
    """Trains `model` from `progress` to the last epoch, with the results in the run folder.

    Args:
      card: the run card, updated after each epoch; None in a worker that writes no files.
      control: what may end training before the last epoch.

    Raises:
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: a signal arrived; the step was finished and a checkpoint saved.
    """
    _Fit(run, model, data, progress, card, control).run_to_the_end()


@dataclasses.dataclass(frozen=True)
class _Fit:
    """The training of a run; see `train`."""

    run: Run
    model: TrainingModel
    data: TrainingData
    progress: Progress
    card: Card | None
    control: Control

    @property
    def training(self) -> TrainingOptions:
        return self.run.spec.options[TrainingOptions]

    @property
    def steps_per_epoch(self) -> int:
        return self.data.plan.steps_per_epoch

    @property
    def _rows(self) -> slice:
        replicas = self.model.replicas
        return replicas.rows_here if replicas else windows.ALL_ROWS

    def run_to_the_end(self) -> None:
        """Trains unless the run has ended; adds advice to the error if it diverges."""
        if self.control.writes:
            self.run.folder.drop_after(self.progress.epoch, self.progress.step)
        if self._has_ended():
            logging.info("Nothing to train: the run ended after epoch %d.", self.progress.epoch)
            return
        try:
            if self.card is None:
                self._fit_or_save(None)
                return
            with reporting.ShowProgress(self.progress, self.data, self.training.epochs) as show:
                self._fit_or_save(show)
        except NotFiniteError as error:
            advice = optimizers.divergence_advice(self.run.spec.options[OptimizerOptions])
            if self.run.folder.has_checkpoint():
                kept = f"the last good checkpoint in {self.run.path} is kept"
                advice = f"{kept}; `resume` continues from it; {advice}"
            raise NotFiniteError(f"{error}; {advice}") from None

    def _has_ended(self) -> bool:
        patience, progress = self.training.patience, self.progress
        is_stopped_early = 0 < patience <= progress.epochs_without_improvement
        return is_stopped_early or progress.epoch >= self.training.epochs

    def _fit_or_save(self, show: reporting.ShowProgress | None) -> None:
        """Runs `fit`; a signal takes effect after the step, once a checkpoint is saved."""
        saver = saving.SaveCheckpoint(
            self.run, self.progress, self.steps_per_epoch, self.training, self.control.team
        )
        try:
            with self.control.deferred():
                self._fit(self._callbacks(show, saver))
        except Interrupted as stop:
            saver.save()
            message = f"interrupted and saved after step {self.progress.step}"
            raise Interrupted(stop.signal_number, message) from None

    def _callbacks(
        self, show: reporting.ShowProgress | None, saver: saving.SaveCheckpoint
    ) -> list[keras.callbacks.Callback]:
        """The callbacks, in the order of their execution; with `show`, those that write, too."""
        progress = self.progress
        return [
            saving.AskTeam(self.control, saver),
            callbacks.StartEpoch(progress, self.steps_per_epoch),
            callbacks.CountSteps(progress, self.data.tokenizer.size),
            callbacks.Validate(progress, self.data, self.control),
            *(self._records(show) if show else ()),
            saver,
            stopping.StopEarly(progress, self.training.patience),
            *(self._conclusions(self.card) if self.card else ()),
            stopping.StopWhenInterrupted(self.control),
        ]

    def _records(self, show: reporting.ShowProgress) -> list[keras.callbacks.Callback]:
        """Metrics and samples."""
        progress, training, steps = self.progress, self.training, self.steps_per_epoch
        generator = Generator(self.model.language_model, self.data.tokenizer)
        folder = self.run.folder
        records = tensorboard_logs.records(self.run, steps) if training.tensorboard else folder
        internals = Internals(self.model, self.data) if training.log_internals else None
        return [
            show.throughput,
            step_metrics.LogSteps(
                records, progress, self.data, training.log_every_steps, internals
            ),
            reporting.LogMetrics(records, progress, show.throughput),
            show,
            watching.Watch(self.run, progress, training.epochs * steps, self.control.watch),
            reporting.SampleText(records, generator, show, training),
        ]

    def _conclusions(self, card: Card) -> list[keras.callbacks.Callback]:
        """The run card, and what is decided by what has been written."""
        return [
            reporting.WriteCard(card, self.progress),
            stopping.StopOnRequest(self.run, card, self.control.reason_to_stop),
        ]

    def _fit(self, hooks: list[keras.callbacks.Callback]) -> None:
        """Runs `fit` to the end of a partial epoch, then over whole epochs."""
        progress = self.progress
        steps_left = (progress.epoch + 1) * self.steps_per_epoch - progress.step
        if steps_left == 0:
            self._finish_epoch(hooks)
        elif steps_left < self.steps_per_epoch:
            self._fit_epochs(progress.epoch + 1, steps_left, hooks)
        if progress.epoch < self.training.epochs and not self.model.stop_training:
            self._fit_epochs(self.training.epochs, self.steps_per_epoch, hooks)

    def _fit_epochs(
        self, last_epoch: int, steps: int, hooks: list[keras.callbacks.Callback]
    ) -> None:
        self.model.fit(
            self.data.batches(self.training.seed, self.progress.step, self._rows),
            epochs=last_epoch,
            initial_epoch=self.progress.epoch,
            steps_per_epoch=steps,
            callbacks=hooks,
            shuffle=False,
            verbose=0,
        )

    def _finish_epoch(self, hooks: list[keras.callbacks.Callback]) -> None:
        """Finishes an epoch whose steps are complete but which was not validated."""
        progress = self.progress
        # In float32, as Keras divides.
        loss = float(np.float32(progress.loss_sum) / np.float32(progress.loss_count))
        every = keras.callbacks.CallbackList(hooks, model=self.model)
        every.on_train_begin()
        every.on_epoch_begin(progress.epoch)
        every.on_epoch_end(progress.epoch, {"loss": loss})
        every.on_train_end()
