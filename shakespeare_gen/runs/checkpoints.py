"""Checkpoints of a run: the weights, the state needed to resume training, and the progress.

    weights.safetensors    the model's weights
    training.safetensors   optimizer variables, dropout seeds, carried state
    state.json             `Progress`, the options of the model, the tokenizer's hash

The spec of the run determines the name, type, shape and offset of every tensor, or bounds a length
that depends on the training text, and nothing else is read. Knows nothing about layers; `store`
writes the folders.

    checkpoint = read(run, "best")             # without TensorFlow
    model = load_model(run, checkpoint)
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from absl import logging

from shakespeare_gen import models
from shakespeare_gen.errors import NotFiniteError, UsageError, UserError
from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import WindowOptions
from shakespeare_gen.options.groups.limits import CHECKPOINTS
from shakespeare_gen.runs import format_1, store, tensors
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.runs.run import Run
from shakespeare_gen.runs.spec import model_options
from shakespeare_gen.runs.spec_files import checked_model_options
from shakespeare_gen.system import storage

WEIGHTS, TRAINING, STATE = "weights.safetensors", "training.safetensors", "state.json"
MAX_STATE_BYTES = 1 << 16
MAX_TRIED = 100  # maximum number of damaged checkpoints to skip


class Restorable(Protocol):
    """A model that can be saved and restored; see `training.model.TrainingModel`."""

    @property
    def language_model(self) -> LanguageModel:
        """The model in training."""

    def training_state(self) -> dict[str, Any]:
        """Variables other than the weights that are needed to resume training, by name."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
      place: its folder.
      weights: by name.
      training: the state needed to resume training, by name; empty if it was not read.
    """

    place: pathlib.Path
    progress: Progress
    weights: dict[str, np.ndarray]
    training: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def assign_to(self, training_model: Restorable) -> None:
        """Assigns all values to a compiled and built model."""
        _assign(training_model.language_model.weights, self.weights)
        _assign(training_model.training_state(), self.training)


def save(
    run: Run, training_model: Restorable, progress: Progress, steps_per_epoch: int, num_kept: int
) -> None:
    """Saves a model; keeps the `num_kept` most recent checkpoints and the best one.

    Raises:
      NotFiniteError: a weight or an output of the model is NaN or infinite; nothing is saved.
      UserError: the files cannot be written; older checkpoints are not affected.
    """
    weights = arrays_of(training_model.language_model.weights)
    training = arrays_of(training_model.training_state())
    # The loss of a step is computed before its update, so the updated weights are checked here.
    outputs = {"the loss": _log_probabilities(training_model.language_model, run)}
    for name, array in (*weights.items(), *training.items(), *outputs.items()):
        if not np.isfinite(array).all():
            raise NotFiniteError(f"{name} became NaN or infinite in step {progress.step}")
    state = {
        "progress": dataclasses.asdict(progress),
        "model": model_options(run.spec.options).by_name(),
        "tokenizer_sha256": run.spec.tokenizer_sha256,
    }
    files = {
        WEIGHTS: tensors.encode(weights),
        TRAINING: tensors.encode(training),
        STATE: storage.to_json(state),
    }
    name = progress.checkpoint_name(steps_per_epoch)
    checkpoints = run.folder.checkpoints
    store.save(checkpoints, name, files)
    newest = store.names(checkpoints)[-num_kept:]
    store.prune(checkpoints, {*newest, name, progress.best_checkpoint or name})


def read(run: Run, which: str = "best", verify_training: bool = False) -> Checkpoint:
    """Reads the best or the last checkpoint; skips damaged ones.

    Args:
      which: `best` or `last`. Without an intact best checkpoint, the last intact one is read.
      verify_training: also verify the training state, which is used only to resume training.

    Raises:
      UserError: there is no intact checkpoint, it does not belong to the run, or a weight is
        invalid, such as NaN.
    """
    if which not in CHECKPOINTS:
        expected = ", ".join(CHECKPOINTS)
        raise UsageError(f"checkpoint: expected one of {expected}, received {which!r}")
    kinds = weight_kinds(run.spec.model_spec)
    unread = () if verify_training else (TRAINING,)
    search = _Search(run, _size_limits(run, tensors.max_bytes(kinds)), unread)
    place = search.newest()
    progress = _read_progress(run, place)
    best = run.folder.checkpoints / (progress.best_checkpoint or place.name)
    if which == "best" and best != place and search.is_intact(best):
        place, progress = best, _read_progress(run, best)
    weights = _decoded(place / WEIGHTS, kinds)
    if damage := run.spec.model_spec.find_damage(weights):
        raise UserError(f"{place / WEIGHTS}: {damage}")
    return Checkpoint(place, progress, weights)


def load_model(run: Run, checkpoint: Checkpoint, precision: str = "float32") -> LanguageModel:
    """The model of a run with the weights of `checkpoint`; see `models.build`."""
    return models.loaded(run.spec.model_spec, checkpoint.weights, precision)


def read_to_resume(run: Run, training_model: Restorable) -> Checkpoint:
    """Reads the last checkpoint, with the training state of a compiled and built model."""
    checkpoint = read(run, "last", verify_training=True)
    training = _decoded(checkpoint.place / TRAINING, training_kinds(training_model))
    return dataclasses.replace(checkpoint, training=training)


def restore(run: Run, training_model: Restorable) -> Checkpoint:
    """Loads the last checkpoint into a compiled and built model."""
    checkpoint = read_to_resume(run, training_model)
    checkpoint.assign_to(training_model)
    return checkpoint


def training_kinds(training_model: Restorable) -> tensors.Kinds:
    """The type and the shape of each array of the training state."""
    variables = training_model.training_state()
    return {n: (_stored_dtype(v.dtype), tuple(v.shape)) for n, v in variables.items()}


def weight_kinds(spec: models.Spec) -> tensors.Kinds:
    """The type and the shape of each weight."""
    dtypes = spec.weight_dtypes()
    return {name: (dtypes[name], shape) for name, shape in spec.weight_shapes().items()}


@dataclasses.dataclass(frozen=True)
class _Search:
    """Searches for intact checkpoints of a run."""

    run: Run
    max_bytes: Mapping[str, int]
    unread: tuple[str, ...]

    def newest(self) -> pathlib.Path:
        folder = self.run.folder.checkpoints
        # A training process may delete checkpoints after they are listed; list again if so.
        while listed := store.names(folder):
            for name in listed[: -MAX_TRIED - 1 : -1]:
                if self.is_intact(folder / name):
                    return folder / name
            if listed == store.names(folder):
                break
        raise UserError(f"{self.run.path}: expected a run with an intact checkpoint, found none")

    def is_intact(self, place: pathlib.Path) -> bool:
        damage = store.find_damage(place, self.max_bytes, self.unread)
        if damage and os.path.lexists(place):
            logging.warning("skipping damaged checkpoint %s: %s", place, damage)
        return damage is None


def _size_limits(run: Run, weights_size: int) -> dict[str, int]:
    """The maximum size of each file; an optimizer keeps at most two numbers per weight."""
    batch_size = run.spec.options[WindowOptions].batch_size
    state_shapes = run.spec.model_spec.state_shapes(batch_size)
    carried_size = sum(4 * math.prod(shape) for shape in state_shapes)
    return {
        WEIGHTS: weights_size,
        TRAINING: 3 * weights_size + carried_size,
        STATE: MAX_STATE_BYTES,
    }


def _read_progress(run: Run, place: pathlib.Path) -> Progress:
    """The progress of a checkpoint; checks that its model and tokenizer are those of the run."""
    path, spec = place / STATE, run.spec
    state = storage.read_json(path, MAX_STATE_BYTES)
    state = format_1.upgraded_state(state, spec.tokenizer, spec.tokenizer_sha256)
    storage.check_keys(state, ("progress", "model", "tokenizer_sha256"), path)
    trained, found = checked_model_options(state["model"], path), model_options(spec.options)
    _check_model(run, place, trained, found)
    if state["tokenizer_sha256"] != spec.tokenizer_sha256:
        raise UserError(
            f"{run.folder.tokenizer_path}: expected the tokenizer that {place.name} was trained "
            f"with (SHA-256 {str(state['tokenizer_sha256'])[:16]!r}…), found another "
            f"({spec.tokenizer_sha256[:16]!r}…)"
        )
    try:
        return Progress.from_json(state["progress"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _check_model(run: Run, place: pathlib.Path, trained: Options, found: Options) -> None:
    expected = trained.by_name()
    for name, value in found.by_name().items():
        if expected.get(name) != value:
            raise UserError(
                f"{run.folder.config_path}: expected {name} {expected.get(name)!r}, as in "
                f"{place.name}, found {value!r}"
            )


def _decoded(path: pathlib.Path, kinds: tensors.Kinds) -> dict[str, np.ndarray]:
    data = storage.read_bytes(path, tensors.max_bytes(kinds))
    return tensors.decode(data, kinds, str(path))


def _log_probabilities(model: LanguageModel, run: Run) -> np.ndarray:
    """Log-probabilities of the first token of a text: [1, V]."""
    ids = np.array([[run.spec.tokenizer.start_id]], np.int32)
    logits = np.asarray(model.read(ids)[0])[0]
    with np.errstate(over="ignore", invalid="ignore"):
        return arrays.log_softmax(np, logits)


def _stored_dtype(dtype: Any) -> str:
    # NumPy has no bfloat16; float32 represents it exactly.
    name = getattr(dtype, "name", dtype)
    return "float32" if name == "bfloat16" else name


def arrays_of(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The values of variables by name, as they are stored."""
    return {n: np.asarray(v).astype(_stored_dtype(v.dtype)) for n, v in variables.items()}


def _assign(variables: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    for name, variable in variables.items():
        variable.assign(arrays[name])
