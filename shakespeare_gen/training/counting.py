"""Training by counting: one pass over the training text instead of `fit`, in seconds.

For model families with `Family.count`. The pass is an epoch of one step: the run folder holds the
same files as after `fit`. Knows tokens and models, but not the source of the text.
"""

import dataclasses
import time
from typing import Any

from absl import logging

from shakespeare_gen import models
from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.evaluation.rows import ReadingPlan
from shakespeare_gen.generation import Generator
from shakespeare_gen.models import LanguageModel, loss_units
from shakespeare_gen.options import Options
from shakespeare_gen.options.fields import fields_of
from shakespeare_gen.options.groups import (
    OptimizerOptions,
    TrainingOptions,
    WindowOptions,
)
from shakespeare_gen.runs import Run, checkpoints
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.checkpoints import Checkpoint
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.training import tensorboard_logs
from shakespeare_gen.training.control import Control
from shakespeare_gen.training.data import TrainingData
from shakespeare_gen.training.preparation import Prepared
from shakespeare_gen.training.reporting import SAMPLE_TEMPERATURE

UNUSED_GROUPS = (WindowOptions, OptimizerOptions)
UNUSED = {"auto_size", "epochs", "patience", "save_every_steps", "save_every_minutes"}


@dataclasses.dataclass(frozen=True)
class CountedModel:
    """A model that was counted; see `checkpoints.Restorable`.

    Attributes:
      nats: mean loss of the training text, per token.
      seconds: how long counting took.
    """

    language_model: LanguageModel
    nats: float = 0.0
    seconds: float = 0.0

    def training_state(self) -> dict[str, Any]:
        """Nothing: a run that was counted has ended."""
        return {}


def start(prepared: Prepared, options: Options) -> tuple[CountedModel, Checkpoint | None]:
    """Counts the training text, or loads the last checkpoint of a run that is resumed."""
    data = prepared.data
    spec = models.spec_of(data.tokenizer.size, options)
    if prepared.run_before:
        checkpoint = checkpoints.read(prepared.run_before, "last", verify_training=True)
        return CountedModel(models.loaded(spec, checkpoint.weights)), checkpoint
    _log_unused(options)
    family = models.FAMILIES[spec.family]
    assert family.count is not None
    began = time.perf_counter()
    counted = family.count(spec, data.train.ids[:], data.tokenizer.start_id)
    seconds = time.perf_counter() - began
    return CountedModel(models.loaded(spec, counted.weights), counted.nats, seconds), None


def _log_unused(options: Options) -> None:
    """Names the given options that have no effect: a recipe may be used with any model."""
    names = UNUSED.union(*([f.name for f in fields_of(group)] for group in UNUSED_GROUPS))
    if found := sorted(options.given & names):
        logging.info(
            "model=%s counts the text once: no effect of %s",
            options[models.ModelOptions].model,
            ", ".join(found),
        )


def train(
    run: Run,
    model: CountedModel,
    data: TrainingData,
    progress: Progress,
    card: Card,
    control: Control,
) -> None:
    """Validates a model that was counted, and saves it; the arguments are those of `fit.train`."""
    run.folder.drop_after(progress.epoch, progress.step)
    if progress.epoch:
        logging.info("Nothing to train: the text was counted.")
        return
    training, validation = run.spec.options[TrainingOptions], data.held_out["validation"]
    language_model, began, loss = model.language_model, time.perf_counter(), None
    if validation.num_tokens:
        plan = ReadingPlan(poll=control.interruption.check)
        start_id = data.tokenizer.start_id
        loss = likelihood.nats_per_character(language_model, validation, start_id, plan)
    progress.step = 1
    progress.finish_epoch(loss, steps_per_epoch=1)
    seconds = model.seconds + time.perf_counter() - began
    records = tensorboard_logs.records(run, 1) if training.tensorboard else run.folder
    records.append_metrics(_row(model, data, loss, seconds))
    if training.sample_every_epochs:
        records.append_sample(progress.epoch, _sample(language_model, data, training))
    checkpoints.save(run, model, progress, 1, training.keep_checkpoints)
    card.write(best_checkpoint=progress.best_checkpoint)


def _row(
    model: CountedModel, data: TrainingData, validation_loss: float | None, seconds: float
) -> dict[str, Any]:
    """The row of metrics of the only epoch; logs its losses."""
    losses = {"loss": model.nats / data.characters_per_token, "validation_loss": validation_loss}
    row: dict[str, Any] = {"epoch": 1, "step": 1}
    for name, loss in losses.items():
        if loss is not None:
            row[name] = loss
            row[f"{name}_bits_per_character"] = loss_units.bits_per_character(loss)
    speed = data.train.num_chars / max(model.seconds, 1e-6)
    logging.info("counted in %.1f s: training %s", model.seconds, loss_units.describe(row["loss"]))
    return {**row, "characters_per_second": round(speed), "seconds": round(seconds, 2)}


def _sample(model: LanguageModel, data: TrainingData, options: TrainingOptions) -> str:
    [result] = Generator(model, data.tokenizer).generate(
        length=options.sample_chars, seed=options.seed, temperature=SAMPLE_TEMPERATURE
    )
    logging.info("a sample:\n\n%s\n", "\n".join("    " + x for x in result.text.splitlines()))
    return result.text
