"""The run folder: everything a training run is and leaves behind.

    config.json      every option of the run, its corpus's hash, the format version
    vocabulary.json  characters in the order of their ids
    checkpoints/     see `checkpoints`: the last one and the best one
    metrics.jsonl    one row an epoch
    samples.txt      text sampled while training
    loss.png         the loss curve
    run.json, README.md   the run card, see `run_card`

`generate` needs nothing but this folder. Knows how options are stored, not
what they do.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
from typing import Any

import numpy as np

from shakespeare_gen import checkpoints, config, model
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.vocabulary import Vocabulary

FORMAT_VERSION = 1
SAVED_GROUPS: dict[str, type[config.Config]] = {
    "corpus": config.CorpusConfig,
    "vocabulary": config.VocabularyConfig,
    "windows": config.WindowConfig,
    "model": config.ModelConfig,
    "engine": config.EngineConfig,
    "optimizer": config.OptimizerConfig,
    "training": config.TrainingConfig,
}
# What a resumed run may change: how long and how fast it trains, what it shows.
CHANGEABLE = frozenset(
    {f.name for f in dataclasses.fields(config.TrainingConfig)}
    | {f.name for f in dataclasses.fields(config.OptimizerConfig)}
    | {"data_dir", "fallback_corpus", "kernel"}
) - {"seed", "optimizer"}


class Run:
    """One run folder; the paths of its parts, its rows and its checkpoints."""

    def __init__(self, path: str | pathlib.Path) -> None:
        self.path = pathlib.Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.metrics_path = self.path / "metrics.jsonl"
        self.samples_path = self.path / "samples.txt"
        self.loss_curve_path = self.path / "loss.png"
        self.card_path = self.path / "run.json"
        self.readme_path = self.path / "README.md"
        self.tensorboard_dir = self.path / "tensorboard"

    def has_checkpoint(self) -> bool:
        """Whether there is anything to resume or generate from."""
        return bool(checkpoints.steps(self.checkpoints))

    def prepare(self, overwrite: bool) -> None:
        """Makes an empty run folder.

        Raises:
          UserError: a run or anything else is there, and `overwrite` is off.
        """
        try:
            if self.has_checkpoint() and not overwrite:
                raise UserError(
                    f"{self.path}: expected no run here, found one; continue it with --resume, "
                    "start again with --overwrite, or take another --run_dir"
                )
            strangers = self._strangers()
            if strangers:
                raise UserError(
                    f"--run_dir={self.path}: expected a run or nothing, found {strangers[0]}"
                )
            if self.path.exists():
                shutil.rmtree(self.path)
            self.checkpoints.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"--run_dir={self.path}: can't be written: {error}") from None

    def _strangers(self) -> list[str]:
        ours = {
            "config.json",
            "vocabulary.json",
            "checkpoints",
            "metrics.jsonl",
            "samples.txt",
            "loss.png",
            "run.json",
            "README.md",
            "tensorboard",
        }
        if self.path.exists() and not self.path.is_dir():
            return [str(self.path)]
        found = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        return [name for name in found if name not in ours and not name.endswith(".partial")]

    def write_config(self, configs: list[config.Config], corpus: dict[str, Any]) -> None:
        """Stores every option, and `corpus` (name, hash, lengths)."""
        by_type = {type(c): c for c in configs}
        groups = {
            name: dataclasses.asdict(by_type[group])  # type: ignore
            for name, group in SAVED_GROUPS.items()
        }
        value = {"format_version": FORMAT_VERSION, **groups, "data": corpus}
        checkpoints.write_json(self.path / "config.json", value)

    def read_config(self) -> dict[str, Any]:
        """The stored options by group, and `data`; every group is checked."""
        value = self._read_json("config.json")
        if value.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{self.path / 'config.json'}: expected format_version {FORMAT_VERSION}, "
                f"received {value.get('format_version')!r}; a newer shakespeare_gen wrote it"
            )
        for name, group in SAVED_GROUPS.items():
            config.from_options((group,), value.get(name, {}))
        return value

    def resumed_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """The saved options with those `given` now.

        Raises:
          UserError: there is nothing to resume.
          UsageError: a given option shapes the model or its data, and differs.
        """
        if not self.has_checkpoint():
            raise UserError(
                f"--resume: expected a run with a checkpoint in {self.path}, found none"
            )
        saved = self.read_config()
        options = {k: v for name in SAVED_GROUPS for k, v in saved[name].items()}
        for name, value in given.items():
            if name in options and name not in CHANGEABLE and value != options[name]:
                raise UsageError(
                    f"--{name}: expected {options[name]!r}, as in the run that is resumed, "
                    f"received {value!r}"
                )
        return options | given

    def check_corpus(self, corpus: dict[str, Any], vocabulary: Vocabulary) -> None:
        """Refuses to resume on another text than the run began with."""
        saved = self.read_config()["data"]
        for key in ("name", "sha256"):
            if saved[key] != corpus[key]:
                raise UserError(
                    f"--resume: expected the corpus {key} {saved[key]}, received {corpus[key]}"
                )
        if vocabulary != self.read_vocabulary():
            raise UserError("--resume: expected the run's vocabulary, received another")

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Stores the characters in the order of their ids."""
        checkpoints.write_json(self.path / "vocabulary.json", vocabulary.to_json())

    def read_vocabulary(self) -> Vocabulary:
        """The stored vocabulary."""
        try:
            return Vocabulary(**self._read_json("vocabulary.json"))
        except TypeError as error:
            raise UserError(f"{self.path / 'vocabulary.json'}: {error}") from None

    def save_checkpoint(self, training_model, progress: dict, keep_step: int | None) -> None:
        """Saves weights, optimizer and progress; keeps this step and `keep_step` only."""
        tensors = {
            "weights": _arrays(model.weights_of(training_model.network)),
            "training": _arrays(_training_variables(training_model)),
        }
        checkpoint = checkpoints.Checkpoint(progress["step"], tensors, progress)
        checkpoints.save(self.checkpoints, checkpoint)
        checkpoints.prune(self.checkpoints, {progress["step"], keep_step or 0})

    def restore(self, training_model) -> dict:
        """Loads the newest checkpoint into a compiled model; returns its progress."""
        checkpoint = self._checkpoint("last")
        _assign(model.weights_of(training_model.network), checkpoint.tensors["weights"])
        training_model.optimizer.build(training_model.trainable_variables)
        _assign(_training_variables(training_model), checkpoint.tensors["training"])
        return checkpoint.state

    def load_network(self, which: str = "best"):
        """Builds the network and loads the best or last checkpoint: (network, progress)."""
        options = self.read_config()["model"]
        network = model.build(self.read_vocabulary().size, **options)
        checkpoint = self._checkpoint(which)
        _assign(model.weights_of(network), checkpoint.tensors["weights"])
        return network, checkpoint.state

    def append_metrics(self, row: dict) -> None:
        """Adds one epoch's row."""
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict]:
        """The rows so far, one an epoch."""
        if not self.metrics_path.exists():
            return []
        return [json.loads(line) for line in self.metrics_path.read_text("utf-8").splitlines()]

    def drop_metrics_after(self, step: int) -> None:
        """Removes the rows of epochs that a resumed run trains again."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        self.metrics_path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    def _checkpoint(self, which: str) -> checkpoints.Checkpoint:
        last = checkpoints.load(self.checkpoints)
        if last is None:
            raise UserError(f"{self.path}: expected a run with a checkpoint, found none")
        best_step = last.state.get("best_step")
        if which == "best" and best_step not in (None, last.step):
            return checkpoints.load(self.checkpoints, best_step) or last
        return last

    def _read_json(self, name: str) -> dict:
        path = self.path / name
        with contextlib.suppress(OSError, ValueError):
            value = json.loads(path.read_text("utf-8"))
            if isinstance(value, dict):
                return value
        found = "no such file" if not path.exists() else "something else"
        raise UserError(f"{path}: expected a JSON object of a run, found {found}")


def _training_variables(training_model) -> dict:
    """What a checkpoint needs besides weights: optimizer, dropout seeds, carried state."""
    known = [*model.weights_of(training_model.network).values(), *training_model.metrics_variables]
    known_ids = {id(v) for v in known}
    others = [v for v in training_model.variables if id(v) not in known_ids]
    variables = [*training_model.optimizer.variables, *others]
    return {f"{i:04d}": variable for i, variable in enumerate(variables)}


def _arrays(variables: dict) -> dict[str, np.ndarray]:
    return {name: np.asarray(v) for name, v in variables.items()}


def _assign(variables: dict, tensors: dict[str, np.ndarray]) -> None:
    wanted = {name: tuple(v.shape) for name, v in variables.items()}
    found = {name: t.shape for name, t in tensors.items()}
    if wanted != found:
        name = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(
            f"checkpoint: expected tensor {name} of shape {wanted.get(name)}, "
            f"received {found.get(name)}"
        )
    for name, variable in variables.items():
        variable.assign(tensors[name])
