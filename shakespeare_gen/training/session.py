"""A training run, from prepared data to the run card.

Combines model, training and run folder.
"""

import math
from typing import Any, NamedTuple

import keras
from absl import logging

from shakespeare_gen import models, runs
from shakespeare_gen.data import token_store
from shakespeare_gen.errors import UsageError
from shakespeare_gen.evaluation import kneser_ney, likelihood, style
from shakespeare_gen.evaluation.rows import ReadingPlan
from shakespeare_gen.models import LanguageModel, loss_units
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import ComputeOptions, TrainingOptions
from shakespeare_gen.runs import Run, RunSpec, checkpoints, resuming, train_lines
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.checkpoints import Checkpoint
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import devices
from shakespeare_gen.training import counting, fit
from shakespeare_gen.training.control import Control
from shakespeare_gen.training.data import TrainingData
from shakespeare_gen.training.preparation import Prepared
from shakespeare_gen.training.workers import sharing
from shakespeare_gen.training.workers.replicas import Replicas, replicas_of_devices
from shakespeare_gen.training.workers.team import Team


def train(prepared: Prepared, control: Control, uses_all_devices: bool = False) -> Run:
    """Trains a model and returns the run.

    Args:
      uses_all_devices: whether the devices of this process share each batch.

    Raises:
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    options = prepared.options
    # After the data is prepared, because TFDS draws random folder names.
    keras.utils.set_random_seed(options[TrainingOptions].seed)
    # The resolved precision is stored, so that a run keeps it on every machine.
    prepared = prepared.replaced(precision=_precision(options))
    replicas = _replicas(prepared, control.team, uses_all_devices)
    with control.deferred():  # an exception within a call of TensorFlow may crash it
        training_model, checkpoint = _started(prepared, control.team, replicas)
    run = Run(prepared.folder, _spec(prepared, checkpoint))
    progress = checkpoint.progress if checkpoint else Progress()
    if control.writes:
        _train_and_write(prepared, run, training_model, progress, control)
    else:
        fit.train(run, training_model, prepared.data, progress, None, control)
        _evaluate_best(run, prepared.data, control.team)
    return run


def _started(
    prepared: Prepared, team: Team | None, replicas: Replicas | None
) -> tuple[Any, Checkpoint | None]:
    """The model to train, and the checkpoint of a run that is resumed."""
    if models.is_counted(prepared.options):
        return counting.start(prepared, prepared.options)
    return fit.start(prepared, prepared.options, team, replicas)


def _replicas(prepared: Prepared, team: Team | None, uses_all: bool) -> Replicas | None:
    """The replicas that share each batch; None: the model itself reads it.

    Raises:
      UsageError: a batch has fewer windows.
    """
    batch_size = prepared.data.plan.batch_size
    found = team.replicas(batch_size) if team else None
    if uses_all and not team and not models.is_counted(prepared.options):
        found = replicas_of_devices(batch_size)
    if found and batch_size < found.num:
        raise UsageError(
            f"batch_size: expected at least {found.num}, one window for each device, "
            f"received {batch_size}"
        )
    return found


def _train_and_write(
    prepared: Prepared,
    run: Run,
    training_model: Any,
    progress: Progress,
    control: Control,
) -> None:
    options, data, model = prepared.options, prepared.data, training_model.language_model
    facts = {**model.facts(), **_replica_facts(control.team, training_model)}
    shown = {
        "parameters": f"{model.num_parameters:,}",
        "precision": options[ComputeOptions].precision,
    }
    logging.info("%s", ", ".join(f"{name} {value}" for name, value in {**shown, **facts}.items()))
    runs.write_spec(prepared.folder, run.spec)
    if prepared.lines:
        train_lines.write(prepared.folder, prepared.lines)
    method = counting if models.is_counted(options) else fit
    with Card(run, facts, model.num_parameters) as card, control.naming_the_lost():
        method.train(run, training_model, data, progress, card, control)
        with control.deferred():
            best = _evaluate_best(run, data, control.team)
        card.write(**best._asdict(), speakers=_speakers(data))
    if "validation" in best.losses and not models.is_counted(options):
        _log_baseline(best.losses["validation"], data)


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


def _replica_facts(team: Team | None, training_model: Any) -> dict[str, str]:
    """How many workers and devices share a batch."""
    replicas = getattr(training_model, "replicas", None)
    workers = {"workers": str(team.cluster.size)} if team else {}
    devices_here = replicas.num_here if replicas else 1
    return workers | ({"devices": str(devices_here)} if devices_here > 1 else {})


def _spec(prepared: Prepared, checkpoint: Checkpoint | None) -> RunSpec:
    if prepared.before and checkpoint:
        name = checkpoint.place.name
        return resuming.resumed_spec(prepared.before, prepared.options, prepared.corpus, name)
    return prepared.spec


class _Best(NamedTuple):
    """The results on the run card; see `card.Facts`."""

    best_checkpoint: str
    losses: dict[str, float]
    bytes_per_character: dict[str, float]


def _evaluate_best(run: Run, data: TrainingData, team: Team | None) -> _Best:
    """Scores validation, test, and both together; empty splits are left out.

    The workers of a team score together; only the chief knows the name of the checkpoint.
    """
    name, model = _best_model(run, team)
    held_out = {name: text for name, text in data.held_out.items() if text.num_tokens}
    plan = ReadingPlan(sharing=team)
    losses = likelihood.by_split(model, held_out, data.tokenizer.start_id, plan)
    sizes = {name: text.num_bytes / text.num_chars for name, text in held_out.items()}
    bytes_per_character = token_store.with_both(sizes, held_out)
    if team is None or team.is_chief:
        for split, loss in losses.items():
            logging.info("%s: %s", split, loss_units.describe(loss))
    return _Best(name, losses, bytes_per_character)


def _best_model(run: Run, team: Team | None) -> tuple[str, LanguageModel]:
    found = checkpoints.read(run, "best") if team is None or team.is_chief else None
    if team is None:
        assert found is not None
        return found.place.name, checkpoints.load_model(run, found)
    spec = run.spec.model_spec
    kinds = checkpoints.weight_kinds(spec)
    weights = sharing.arrays(team, kinds, lambda: found.weights if found else {})
    return found.place.name if found else "", models.loaded(spec, weights)
