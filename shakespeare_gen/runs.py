"""The run folder: everything a training run is and leaves behind.

    config.json      every option of the run, its corpus's hash, the format version
    vocabulary.json  characters in the order of their ids
    checkpoints/     the newest ones and the best one, see `checkpoints`
    metrics.jsonl    one row an epoch
    samples.txt      text sampled while training
    loss.png         the loss curve
    run.json, README.md   the run card, see `run_card`

`generate` needs nothing but this folder. What is read back is data that is checked
before it is used. Knows how a run is stored, not what its options do.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

from absl import logging

from shakespeare_gen import atomic, config, storage
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
MAX_JSON_BYTES = 1 << 16
MAX_VOCABULARY_BYTES = 5 << 20  # every code point there is fits
MAX_ROWS_BYTES = 1 << 26
CORPUS_KEYS = ("name", "requested", "sha256", "train_chars", "validation_chars", "test_chars")


class Run:
    """One run folder: the paths of its parts, its lock, its options and its rows."""

    def __init__(self, path: str | pathlib.Path) -> None:
        self.path = pathlib.Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.config_path = self.path / "config.json"
        self.vocabulary_path = self.path / "vocabulary.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.samples_path = self.path / "samples.txt"
        self.loss_curve_path = self.path / "loss.png"
        self.card_path = self.path / "run.json"
        self.readme_path = self.path / "README.md"
        self.tensorboard_dir = self.path / "tensorboard"
        self._lock_path = self.path / ".lock"
        self._trainer_path = self.path / ".trainer.json"

    # The folder

    def has_checkpoint(self) -> bool:
        """Whether there is anything to resume or generate from."""
        return bool(atomic.names(self.checkpoints))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for one trainer.

        Raises:
          UserError: another process holds it; the message names that one.
        """
        import filelock

        lock = filelock.FileLock(self._lock_path)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise UserError(
                f"{self.path}: expected a run that nobody trains, found {self._trainer()}"
            ) from None
        except NotImplementedError:
            logging.warning("%s: this file system has no locks; train here only once", self.path)
        except OSError as error:
            raise UserError(f"{self.path}: can't be written: {error.strerror}") from None
        try:
            trainer = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.ctime()}
            storage.write(self._trainer_path, storage.to_json(trainer))
            yield
        finally:
            with contextlib.suppress(OSError):
                self._trainer_path.unlink()
            lock.release()

    def _trainer(self) -> str:
        with contextlib.suppress(UserError):
            trainer = storage.read_json(self._trainer_path, MAX_JSON_BYTES)
            return "process {pid} on {host}, since {since}".format_map(
                {"pid": "?", "host": "?", "since": "?"} | trainer
            )
        return "another process"

    def make(self, overwrite: bool) -> None:
        """Makes the folder for a new run; `prepare` empties it, once it is locked.

        A run that was stopped before its first checkpoint holds nothing and may
        be started again.

        Raises:
          UserError: a run with a checkpoint is there and `overwrite` is off, or
            something that is no run.
        """
        if self.has_checkpoint() and not overwrite:
            raise UserError(
                f"{self.path}: expected no run here, found one; continue it with --resume, "
                "start again with --overwrite, or take another --run_dir"
            )
        if stranger := self._stranger():
            raise UserError(
                f"--run_dir={self.path}: expected a run, an empty folder or nothing, "
                f"found {stranger}"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--run_dir={self.path}: can't be made: {error.strerror}") from None

    def prepare(self) -> None:
        """Empties the folder of an earlier run; the lock stays."""
        try:
            for part in self._parts():
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"--run_dir={self.path}: can't be written: {error.strerror}") from None

    def _parts(self) -> list[pathlib.Path]:
        # The configuration last: it is what says that the rest is ours.
        return [
            self.checkpoints,
            self.vocabulary_path,
            self.metrics_path,
            self.samples_path,
            self.loss_curve_path,
            self.card_path,
            self.readme_path,
            self.tensorboard_dir,
            self.config_path,
        ]

    def _stranger(self) -> str | None:
        """What in the folder is not a run's; None where all of it is, or nothing is there."""
        if not self.path.is_dir():
            return str(self.path) if os.path.lexists(self.path) else None
        ours = {part.name for part in (*self._parts(), self._lock_path, self._trainer_path)}
        found = sorted(os.listdir(self.path))
        strangers = [n for n in found if n not in ours and not n.endswith(".partial")]
        if strangers:
            return strangers[0]
        # The names alone say little: somebody's own config.json and README.md stand side by side.
        visible = [name for name in found if not name.startswith(".")]
        return visible[0] if visible and not self._is_ours() else None

    def _is_ours(self) -> bool:
        if self.has_checkpoint():
            return True
        with contextlib.suppress(UserError):
            return bool(self.read_config())
        return False

    # Options and vocabulary

    def write_config(self, configs: list[config.Config], corpus: dict[str, Any]) -> None:
        """Stores every option, and `corpus` (name, hash, lengths)."""
        value = {"format_version": FORMAT_VERSION, **self._by_group(configs), "data": corpus}
        storage.write(self.config_path, storage.to_json(storage.sealed(value)))

    def read_config(self) -> dict[str, Any]:
        """The stored options by group, and `data`; every value is checked.

        Raises:
          UserError: a newer version wrote it, it is damaged, or no run's.
        """
        if not os.path.lexists(self.config_path):
            raise UserError(f"--run_dir={self.path}: expected a run folder, found no config.json")
        value = storage.read_json(self.config_path, MAX_JSON_BYTES)
        if value.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{self.config_path}: expected format_version {FORMAT_VERSION}, received "
                f"{str(value.get('format_version'))[:20]}; a newer shakespeare_gen wrote it"
            )
        value = storage.unsealed(value, self.config_path)
        storage.check_keys(value, ("format_version", *SAVED_GROUPS, "data"), self.config_path)
        storage.check_keys(value["data"], CORPUS_KEYS, self.config_path)
        for name, group in SAVED_GROUPS.items():
            value[name] = _checked_options(group, value[name], self.config_path)
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

    def resumptions(self, configs: list[config.Config]) -> list[dict[str, Any]]:
        """Every resumption so far and this one: where from, and which options changed how."""
        earlier: Any = None
        with contextlib.suppress(UserError):
            earlier = storage.read_json(self.card_path, MAX_ROWS_BYTES).get("resumed")
        saved = self.read_config()
        changed = {
            field: [saved[name][field], value]
            for name, group in self._by_group(configs).items()
            for field, value in group.items()
            if value != saved[name][field]
        }
        now = {"from": atomic.names(self.checkpoints)[-1], "changed": changed}
        return [*(earlier if isinstance(earlier, list) else []), now]

    @staticmethod
    def _by_group(configs: list[config.Config]) -> dict[str, dict[str, Any]]:
        by_type = {type(c): c for c in configs}
        return {name: dataclasses.asdict(by_type[g]) for name, g in SAVED_GROUPS.items()}  # type: ignore

    def check_corpus(self, corpus: dict[str, Any], vocabulary: Vocabulary) -> None:
        """Refuses to resume on another text than the run began with."""
        saved = self.read_config()["data"]
        for key in ("name", "sha256"):
            if saved[key] != corpus[key]:
                raise UserError(
                    f"--resume: expected the corpus {key} {saved[key]}, received {corpus[key]}"
                )
        expected = self.read_vocabulary()
        if vocabulary != expected:
            new = sorted(set(vocabulary.characters) - set(expected.characters))
            gone = sorted(set(expected.characters) - set(vocabulary.characters))
            raise UserError(
                f"--resume: expected the run's vocabulary of {expected.size}, received one of "
                f"{vocabulary.size}: new {new[:20]!r}, missing {gone[:20]!r}"
            )

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Stores the characters in the order of their ids."""
        value = storage.sealed(vocabulary.to_json())
        storage.write(self.vocabulary_path, storage.to_json(value))

    def read_vocabulary(self) -> Vocabulary:
        """The stored vocabulary.

        Raises:
          UserError: it is damaged, or no vocabulary.
        """
        path = self.vocabulary_path
        value = storage.read_json(path, MAX_VOCABULARY_BYTES)
        storage.check_keys(value, ("characters", "has_unknown_id", "sha256"), path)
        if (type(value["characters"]), type(value["has_unknown_id"])) != (str, bool):
            raise UserError(f"{path}: expected a string and true or false, found other types")
        return Vocabulary(**storage.unsealed(value, path))

    # Rows and samples

    def append_metrics(self, row: dict) -> None:
        """Adds one epoch's row."""
        storage.append(self.metrics_path, json.dumps(row) + "\n")

    def metrics(self) -> list[dict]:
        """The rows so far, one an epoch."""
        text = self._read_text(self.metrics_path)
        rows = []
        for line in text.splitlines(keepends=True):
            # A line that was cut short is the last thing an interrupted run wrote.
            with contextlib.suppress(ValueError):
                row = storage.parse_json(line.encode())
                rows += [row] if type(row.get("epoch")) is int and line.endswith("\n") else []
        return rows

    def append_sample(self, epoch: int, text: str) -> None:
        """Adds what the model wrote after an epoch."""
        storage.append(self.samples_path, f"=== epoch {epoch}\n{text}\n")

    def drop_after(self, epoch: int) -> None:
        """Removes the rows and samples of epochs that a resumed run trains again."""
        rows = [json.dumps(row) + "\n" for row in self.metrics() if row["epoch"] <= epoch]
        storage.write(self.metrics_path, "".join(rows).encode())
        samples = re.split(r"^(?==== epoch \d+$)", self._read_text(self.samples_path), flags=re.M)
        kept = [s for s in samples if s and int(re.findall(r"\d+", s + "0")[0]) <= epoch]
        storage.write(self.samples_path, "".join(kept).encode())

    def _read_text(self, path: pathlib.Path) -> str:
        if not path.exists():
            return ""
        return storage.read_bytes(path, MAX_ROWS_BYTES).decode("utf-8", "replace")


def _checked_options(group: type[config.Config], value: Any, path: pathlib.Path) -> dict[str, Any]:
    """Options of one group; those that an older version did not know get their defaults."""
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected options by name, found {str(value)[:80]}")
    try:
        return dataclasses.asdict(config.from_options((group,), value)[0])
    except UserError as error:
        raise UserError(f"{path}: {str(error)[:400]}") from None
