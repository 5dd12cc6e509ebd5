"""Checkpoints of a run: weights, what training needs to go on, and where it stands.

    weights.safetensors    the network's weights
    training.safetensors   optimizer, dropout seeds, carried state
    state.json             `Progress`, the model's options, the vocabulary's hash

Options and vocabulary are read first; they imply the name, type, shape and
place of every tensor, and nothing else is read. Knows how a network is stored;
`atomic` knows how a folder is.
"""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np
from absl import logging

from shakespeare_gen.models import specs
from shakespeare_gen.runs import store
from shakespeare_gen.system import storage
from shakespeare_gen.runs import tensors
from shakespeare_gen.errors import NotFiniteError
from shakespeare_gen.errors import UserError
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.runs.run import Run
from shakespeare_gen.runs.run import checked_options

WEIGHTS, TRAINING, STATE = "weights.safetensors", "training.safetensors", "state.json"
MAX_STATE_BYTES = 1 << 16
MAX_TRIED = 100  # checkpoints that are looked at before a folder is given up


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was verified; `weights` by name."""

    place: pathlib.Path
    progress: Progress
    weights: dict[str, np.ndarray]


def save(run: Run, training_model, progress: Progress, steps_per_epoch: int, num_kept: int) -> None:
    """Saves a compiled model; keeps the newest `num_kept` checkpoints and the best.

    Raises:
      NotFiniteError: a weight or what it computes is NaN or infinite; nothing is saved.
      UserError: it can't be written; older checkpoints are untouched.
    """
    from shakespeare_gen.models import recurrent

    weights = _arrays(recurrent.weights_of(training_model.network))
    training = _arrays(training_model.training_state())
    # The loss of a step is that of the weights before it; these are the weights after it.
    computed = {"the loss": recurrent.first_log_probabilities(training_model.network)}
    for name, array in (*weights.items(), *training.items(), *computed.items()):
        if not np.isfinite(array).all():
            raise NotFiniteError(f"{name} became NaN or infinite in step {progress.step}")
    state = {
        "progress": dataclasses.asdict(progress),
        "model": run.read_config()["model"],
        "vocabulary_sha256": _vocabulary_sha256(run),
    }
    files = {
        WEIGHTS: tensors.encode(weights),
        TRAINING: tensors.encode(training),
        STATE: storage.to_json(state),
    }
    name = progress.checkpoint_name(steps_per_epoch)
    store.save(run.checkpoints, name, files)
    newest = store.names(run.checkpoints)[-num_kept:]
    store.prune(run.checkpoints, {*newest, name, progress.best_checkpoint or name})


def read(run: Run, which: str = "best") -> Checkpoint:
    """The best checkpoint or the last one; the newest that is whole where that one is damaged.

    Raises:
      UserError: there is none, or it does not fit the run.
    """
    return _read(run, which, unread=(TRAINING,))


def _read(run: Run, which: str, unread: tuple[str, ...] = ()) -> Checkpoint:
    options = run.read_config()
    shapes = specs.weight_shapes(run.read_vocabulary().size, **options["model"])
    kinds: tensors.Kinds = {name: ("float32", shape) for name, shape in shapes.items()}
    limits = _size_limits(tensors.max_bytes(kinds), options)
    place = _newest(run, limits, unread)
    progress = _read_progress(run, place)
    best = run.checkpoints / (progress.best_checkpoint or place.name)
    if which == "best" and best != place and _is_whole(best, limits, unread):
        place, progress = best, _read_progress(run, best)
    path = place / WEIGHTS
    weights = tensors.decode(storage.read_bytes(path, limits[WEIGHTS]), kinds, str(path))
    return Checkpoint(place, progress, weights)


def _size_limits(weights_size: int, options: dict) -> dict[str, int]:
    """The largest size of each file; an optimizer keeps two numbers a weight at most."""
    network = options["model"]
    carried = 2 * 4 * options["windows"]["batch_size"] * network["units"] * network["num_layers"]
    return {WEIGHTS: weights_size, TRAINING: 3 * weights_size + carried, STATE: MAX_STATE_BYTES}


def load_network(run: Run, checkpoint: Checkpoint):
    """Builds the run's network with the weights of `checkpoint`."""
    from shakespeare_gen.models import recurrent

    network = recurrent.build(run.read_vocabulary().size, **run.read_config()["model"])
    _assign(recurrent.weights_of(network), checkpoint.weights)
    return network


def restore(run: Run, training_model) -> Checkpoint:
    """Loads the last checkpoint into a compiled model."""
    from shakespeare_gen.models import recurrent

    checkpoint = _read(run, "last")
    training_model.optimizer.build(training_model.trainable_variables)
    variables = training_model.training_state()
    kinds = {n: (_stored_dtype(v.dtype), tuple(v.shape)) for n, v in variables.items()}
    path = checkpoint.place / TRAINING
    data = storage.read_bytes(path, tensors.max_bytes(kinds))
    training = tensors.decode(data, kinds, str(path))
    _assign(recurrent.weights_of(training_model.network), checkpoint.weights)
    _assign(variables, training)
    return checkpoint


def _newest(run: Run, limits: dict[str, int], unread: tuple[str, ...]) -> pathlib.Path:
    # A trainer may delete the ones that were listed: list again as long as that happens.
    while listed := store.names(run.checkpoints):
        for name in listed[: -MAX_TRIED - 1 : -1]:
            if _is_whole(run.checkpoints / name, limits, unread):
                return run.checkpoints / name
        if listed == store.names(run.checkpoints):
            break
    raise UserError(f"{run.path}: expected a run with a checkpoint, found none that is whole")


def _is_whole(place: pathlib.Path, limits: dict[str, int], unread: tuple[str, ...]) -> bool:
    damage = store.find_damage(place, limits, unread)
    if damage and os.path.lexists(place):
        logging.warning("%s is damaged and passed over: %s", place, damage)
    return damage is None


def _read_progress(run: Run, place: pathlib.Path) -> Progress:
    """The progress of a checkpoint; refuses one of another model or vocabulary."""
    path = place / STATE
    state = storage.read_json(path, MAX_STATE_BYTES)
    storage.check_keys(state, ("progress", "model", "vocabulary_sha256"), path)
    trained, found = checked_options("model", state["model"], path), run.read_config()["model"]
    for name, value in found.items():
        if trained[name] != value:
            raise UserError(
                f"{run.config_path}: expected {name} {trained[name]!r}, as {place.name} was "
                f"trained, found {value!r}"
            )
    expected, hashed = state["vocabulary_sha256"], _vocabulary_sha256(run)
    if expected != hashed:
        raise UserError(
            f"{run.vocabulary_path}: expected the vocabulary that {place.name} was trained with "
            f"(SHA-256 {str(expected)[:16]!r}…), found another ({hashed[:16]!r}…)"
        )
    return Progress.from_json(state["progress"])


def _vocabulary_sha256(run: Run) -> str:
    return hashlib.sha256(storage.to_json(run.read_vocabulary().to_json())).hexdigest()


def _stored_dtype(dtype: str) -> str:
    # safetensors and NumPy disagree on bfloat16; float32 holds it without loss.
    return "float32" if dtype == "bfloat16" else dtype


def _arrays(variables: dict) -> dict[str, np.ndarray]:
    return {n: np.asarray(v).astype(_stored_dtype(v.dtype)) for n, v in variables.items()}


def _assign(variables: dict, arrays: dict[str, np.ndarray]) -> None:
    for name, variable in variables.items():
        variable.assign(arrays[name])
