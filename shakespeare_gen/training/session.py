"""A whole training run, from options to the run card.

Combines corpus, tokenizer, windows, model, training and run folder. All checks that do not need
training come first, so that a user error creates no files; if a run cannot be resumed, its folder
is not changed.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
from absl import logging

from shakespeare_gen import models, runs
from shakespeare_gen.data import corpora, token_store, tokenizers, windows
from shakespeare_gen.data.corpora import Corpus
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.models import loss_units
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import (
    ComputeOptions,
    CorpusOptions,
    RunOptions,
    StartOptions,
    TrainingOptions,
    WindowOptions,
)
from shakespeare_gen.runs import CorpusFacts, Run, RunFolder, RunSpec, checkpoints, resuming
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import devices, extras
from shakespeare_gen.system.signals import SAVING, Interruption
from shakespeare_gen.training import fit
from shakespeare_gen.training.fit import TrainingData


def train(options: Options) -> Run:
    """Trains a model and returns the run.

    Raises:
      UserError: an option, the text or the run folder is invalid.
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    folder = RunFolder(options[RunOptions].run_dir)
    prepare = _resumed if options[StartOptions].resume else _new
    with Interruption(SAVING) as interruption, prepare(folder, options) as prepared:
        return _train(prepared, interruption)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A run that is ready to start: its folder is locked and its data is loaded.

    `before` is the saved spec of a resumed run.
    """

    folder: RunFolder
    options: Options
    corpus: Corpus
    data: TrainingData
    before: RunSpec | None


@contextlib.contextmanager
def _new(folder: RunFolder, options: Options) -> Iterator[_Prepared]:
    corpus = corpora.load(options[CorpusOptions])
    tokenizer = tokenizers.from_text(corpus.train, options)
    if tokenizer.size < 2:
        raise UserError(
            f"corpus={corpus.name}: expected at least 2 different tokens, "
            f"received {tokenizer.decode(range(tokenizer.size))!r} only"
        )
    data = _tokenized(corpus, tokenizer, options)
    folder.make()
    with folder.locked():
        folder.empty(options[StartOptions].overwrite)
        yield _Prepared(folder, runs.saved_options(options), corpus, data, None)


@contextlib.contextmanager
def _resumed(folder: RunFolder, given: Options) -> Iterator[_Prepared]:
    resuming.check_can_resume(folder)
    with folder.locked():
        spec = runs.read_spec(folder)
        options = resuming.resumed_options(spec, given)
        now = options[CorpusOptions]
        moved_to = now.corpus if "corpus" in given.given else ""
        corpus = corpora.load(resuming.corpus_options(spec, moved_to, now.data_dir))
        resuming.check_corpus(spec, corpus)
        data = _tokenized(corpus, spec.tokenizer, options)
        yield _Prepared(folder, options, corpus, data, spec)


def _tokenized(corpus: Corpus, tokenizer: tokenizers.Tokenizer, options: Options) -> TrainingData:
    """The tokens of a corpus; checks that they are compatible with the options."""
    texts = token_store.tokenize(corpus, tokenizer)
    plan = windows.plan(texts["train"].num_tokens, options[WindowOptions])
    models.spec_of(tokenizer.size, options)
    training = options[TrainingOptions]
    if training.tensorboard:
        extras.require("tensorboard", "tensorboard")
    if training.patience and not texts["validation"].num_tokens:
        raise UsageError(
            f"patience: expected 0 without validation text, received {training.patience}"
        )
    return TrainingData(tokenizer, texts, plan)


def _train(prepared: _Prepared, interruption: Interruption) -> Run:
    options, data = prepared.options, prepared.data
    # After the data is prepared, because TFDS draws random folder names.
    keras.utils.set_random_seed(options[TrainingOptions].seed)
    compute = options[ComputeOptions]
    # The resolved precision is stored, so that a run keeps it on every machine.
    precision = devices.choose_precision(compute.precision)
    options = options.replaced(precision=precision)
    spec = models.spec_of(data.tokenizer.size, options)
    model = models.build(spec, precision, compute.kernel)
    facts = {"parameters": f"{spec.num_parameters:,}", "precision": precision, **model.facts()}
    logging.info("%s", ", ".join(f"{name} {value}" for name, value in facts.items()))
    _log_epoch(options[WindowOptions].steps_per_epoch, data.plan)
    training_model = fit.compiled(model, data.plan, options)
    progress, run_spec = Progress(), _new_spec(prepared, options)
    if prepared.before:
        checkpoint = fit.restored(Run(prepared.folder, prepared.before), training_model, data.plan)
        progress = checkpoint.progress
        run_spec = resuming.resumed_spec(
            prepared.before, options, prepared.corpus, checkpoint.place.name
        )
    runs.write_spec(prepared.folder, run_spec)
    run = Run(prepared.folder, run_spec)
    with Card(run, model.facts()) as card:
        fit.train(run, training_model, data, progress, card, interruption)
        card.write(**evaluate_best(run, data))
    return run


def _log_epoch(requested: int, plan: windows.Plan) -> None:
    """Logs whether `steps_per_epoch` exceeds one pass over the text, or cuts it short."""
    steps = plan.steps_per_pass
    if requested > steps:
        logging.info("steps_per_epoch=%d: one pass over the text has only %d", requested, steps)
    elif 0 < requested < steps:
        logging.info(
            "steps_per_epoch=%d: an epoch reads a part of the text; one pass over it has %d",
            requested,
            steps,
        )


def _new_spec(prepared: _Prepared, options: Options) -> RunSpec:
    facts = CorpusFacts.of(prepared.corpus, options[CorpusOptions].corpus)
    return RunSpec(options, prepared.data.tokenizer, facts)


def evaluate_best(run: Run, data: TrainingData) -> dict:
    """The name of the best checkpoint and its `losses` in nats per character.

    Losses of validation, test, and both together; empty splits are left out.
    """
    checkpoint = checkpoints.read(run, "best")
    model = checkpoints.load_model(run, checkpoint)
    held_out = {name: data.texts[name] for name in ("validation", "test")}
    held_out = {name: text for name, text in held_out.items() if text.num_tokens}
    losses = {
        name: likelihood.nats_per_character(model, text, data.tokenizer.start_id)
        for name, text in held_out.items()
    }
    if len(losses) == 2:
        num_chars = [text.num_chars for text in held_out.values()]
        losses["both"] = float(np.average(list(losses.values()), weights=num_chars))
    for name, loss in losses.items():
        logging.info("%s: %s", name, loss_units.describe(loss))
    return {"best_checkpoint": checkpoint.place.name, "losses": losses}
