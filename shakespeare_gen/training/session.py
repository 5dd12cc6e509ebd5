"""A training run, from prepared data to the run card.

Combines model, training and run folder.
"""

import math
from typing import NamedTuple

import keras
from absl import logging

from shakespeare_gen import models, runs
from shakespeare_gen.data import token_store
from shakespeare_gen.evaluation import kneser_ney, likelihood, style
from shakespeare_gen.models import loss_units
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import (
    ComputeOptions,
    CorpusOptions,
    TrainingOptions,
)
from shakespeare_gen.runs import CorpusFacts, Run, RunSpec, checkpoints, resuming, train_lines
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import devices
from shakespeare_gen.training import counting, fit
from shakespeare_gen.training.control import Control
from shakespeare_gen.training.data import TrainingData
from shakespeare_gen.training.preparation import Prepared


def train(prepared: Prepared, control: Control) -> Run:
    """Trains a model and returns the run.

    Raises:
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    options, data = prepared.options, prepared.data
    # After the data is prepared, because TFDS draws random folder names.
    keras.utils.set_random_seed(options[TrainingOptions].seed)
    # The resolved precision is stored, so that a run keeps it on every machine.
    precision = _precision(options)
    options = options.replaced(precision=precision)
    method = counting if models.is_counted(options) else fit
    with control.interruption.deferred():  # an exception within a call of TensorFlow may crash it
        training_model, checkpoint = method.start(prepared, options)
    if prepared.start:
        prepared.start.assign(training_model.language_model, data.tokenizer)
    model = training_model.language_model
    facts = {"parameters": f"{model.num_parameters:,}", "precision": precision, **model.facts()}
    logging.info("%s", ", ".join(f"{name} {value}" for name, value in facts.items()))
    progress, run_spec = Progress(), _new_spec(prepared, options)
    if prepared.before and checkpoint:
        progress = checkpoint.progress
        run_spec = resuming.resumed_spec(
            prepared.before, options, prepared.corpus, checkpoint.place.name
        )
    runs.write_spec(prepared.folder, run_spec)
    run = Run(prepared.folder, run_spec)
    if prepared.lines:
        train_lines.write(prepared.folder, prepared.lines)
    with Card(run, model.facts(), model.num_parameters) as card:
        method.train(run, training_model, data, progress, card, control)
        with control.interruption.deferred():
            best = _evaluate_best(run, data)
        card.write(**best._asdict(), speakers=_speakers(data))
    if "validation" in best.losses and not models.is_counted(options):
        _log_baseline(best.losses["validation"], data)
    return run


def _precision(options: Options) -> str:
    if models.is_counted(options):
        return "float32"  # there are no matrix products
    return devices.choose_precision(options[ComputeOptions].precision)


def _log_baseline(loss: float, data: TrainingData) -> None:
    """Logs the loss of the model on the validation text next to that of n-grams."""
    if loss > math.log(data.tokenizer.size) / data.characters_per_token:
        logging.warning(
            "validation: the network is worse than guessing every token at random; try a smaller "
            "`learning_rate`, or train for longer"
        )
    found = kneser_ney.baseline(data.train, data.held_out["validation"], data.tokenizer)
    bits, baseline = map(loss_units.bits_per_character, (loss, found.nats))
    verdict = (
        f"the network is {abs(bits - baseline):.3f} {'better' if bits < baseline else 'worse'}"
    )
    logging.info(
        "validation: the network has %.3f bits/char, a Kneser-Ney %d-gram %.3f%s; %s",
        bits,
        found.order,
        baseline,
        f" ({found.limits})" if found.limits else "",
        verdict,
    )


def _speakers(data: TrainingData) -> list[str]:
    """The main speakers of a training text in memory."""
    if isinstance(data.train, token_store.TokenizedText):
        return style.main_speakers(data.train.text)
    return []


def _new_spec(prepared: Prepared, options: Options) -> RunSpec:
    facts = CorpusFacts.of(prepared.corpus, options[CorpusOptions].corpus)
    return RunSpec(options, prepared.data.tokenizer, facts)


class _Best(NamedTuple):
    """The results on the run card; see `card.Facts`."""

    best_checkpoint: str
    losses: dict[str, float]
    bytes_per_character: dict[str, float]


def _evaluate_best(run: Run, data: TrainingData) -> _Best:
    """Scores validation, test, and both together; empty splits are left out."""
    checkpoint = checkpoints.read(run, "best")
    model = checkpoints.load_model(run, checkpoint)
    held_out = {name: text for name, text in data.held_out.items() if text.num_tokens}
    losses = likelihood.by_split(model, held_out, data.tokenizer.start_id)
    sizes = {name: text.num_bytes / text.num_chars for name, text in held_out.items()}
    bytes_per_character = token_store.with_both(sizes, held_out)
    for name, loss in losses.items():
        logging.info("%s: %s", name, loss_units.describe(loss))
    return _Best(checkpoint.place.name, losses, bytes_per_character)
