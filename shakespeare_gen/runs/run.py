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
from typing import Any

from absl import logging

from shakespeare_gen.options import groups
from shakespeare_gen.options import fields
from shakespeare_gen.system import storage
from shakespeare_gen.errors import UsageError
from shakespeare_gen.errors import UserError
from shakespeare_gen.runs.folder import RunFolder
from shakespeare_gen.data.tokenizers.characters import Vocabulary

FORMAT_VERSION = 1
SAVED_GROUPS: dict[str, type[fields.OptionGroup]] = {
    "corpus": groups.CorpusOptions,
    "vocabulary": groups.VocabularyOptions,
    "windows": groups.WindowOptions,
    "model": groups.ModelOptions,
    "engine": groups.EngineOptions,
    "optimizer": groups.OptimizerOptions,
    "training": groups.TrainingOptions,
}
# What a resumed run may change: how long and how fast it trains, what it shows.
CHANGEABLE = frozenset(
    {f.name for f in dataclasses.fields(groups.TrainingOptions)}
    | {f.name for f in dataclasses.fields(groups.OptimizerOptions)}
    | {"data_dir", "fallback_corpus", "kernel"}
) - {"seed", "optimizer", "momentum"}  # momentum decides what the optimizer keeps
MAX_CONFIG_BYTES = 1 << 18
MAX_RESUMPTIONS = 100
MAX_VOCABULARY_BYTES = 5 << 20  # every code point there is fits
MAX_METRICS_BYTES = 4 << 20
MAX_SAMPLES_BYTES = 1 << 30
CORPUS_TYPES = {
    "name": str,
    "requested": str,
    "sha256": str,
    "train_chars": int,
    "validation_chars": int,
    "test_chars": int,
}
ROW_KEYS = (
    "epoch",
    "step",
    "loss",
    "loss_bits_per_character",
    "validation_loss",
    "validation_loss_bits_per_character",
    "learning_rate",
    "characters_per_second",
    "seconds",
)
_SAMPLE = re.compile(r"^=== epoch (\d{1,9})$", re.MULTILINE)


class Run(RunFolder):
    """One run: its folder, its options, its vocabulary and its rows."""

    def is_a_run(self) -> bool:
        if self.has_checkpoint():
            return True
        with contextlib.suppress(UserError):
            return bool(self.read_config())
        return False

    # Options and vocabulary

    def write_config(
        self, configs: list[fields.OptionGroup], corpus: dict[str, Any], resumed: list[dict]
    ) -> None:
        """Stores every option, `corpus` (name, hash, lengths) and the resumptions so far."""
        value = {
            "format_version": FORMAT_VERSION,
            **_by_group(configs),
            "data": corpus,
            "resumed": resumed[-MAX_RESUMPTIONS:],
        }
        storage.write(self.config_path, storage.to_json(storage.sealed(value)))

    def read_config(self) -> dict[str, Any]:
        """The stored options by group, `data` and `resumed`; every value is checked.

        Raises:
          UserError: a newer version wrote it, it is damaged, or no run's.
        """
        path = self.config_path
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"--run_dir={self.path}: expected a run folder, found no config.json"
            ) from None
        except OSError as error:
            raise UserError(f"{path}: can't be read: {storage.reason(error)}") from None
        value = storage.read_sealed(path, MAX_CONFIG_BYTES, self._check_version)
        storage.check_keys(value, ("format_version", *SAVED_GROUPS, "data", "resumed"), path)
        _check_types(value["data"], CORPUS_TYPES, path)
        for resumption in value["resumed"] if isinstance(value["resumed"], list) else [None]:
            _check_types(resumption, {"from": str, "changed": dict}, path)
        for name in SAVED_GROUPS:
            value[name] = checked_options(name, value[name], path)
        return value

    def _check_version(self, value: dict[str, Any]) -> None:
        version = value.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise UserError(
                f"{self.config_path}: expected format_version {FORMAT_VERSION} at most, "
                f"received {version}; a newer shakespeare_gen wrote it"
            )
        if type(version) is not int or version != FORMAT_VERSION:
            raise UserError(
                f"{self.config_path}: expected format_version {FORMAT_VERSION}, "
                f"received {str(version)[:20]!r}"
            )

    def check_can_resume(self) -> None:
        """Refuses a folder that holds nothing to go on from."""
        if not self.has_checkpoint():
            raise UserError(
                f"--resume: expected a run with a checkpoint in {self.path}, found none"
            )

    def resumed_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """The saved options with those `given` now.

        Raises:
          UsageError: a given option shapes the model or its data, and differs.
        """
        saved = self.read_config()
        options = {k: v for name in SAVED_GROUPS for k, v in saved[name].items()}
        for name, value in given.items():
            if name in options and name not in CHANGEABLE and value != options[name]:
                raise UsageError(
                    f"--{name}: expected {options[name]!r}, as in the run that is resumed, "
                    f"received {value!r}"
                )
        return options | given

    def resumptions(
        self, configs: list[fields.OptionGroup], checkpoint: str
    ) -> list[dict[str, Any]]:
        """Every resumption so far and this one: from which checkpoint, which options changed."""
        saved = self.read_config()
        changed = {
            field: [saved[name][field], value]
            for name, group in _by_group(configs).items()
            for field, value in group.items()
            if value != saved[name][field]
        }
        return [*saved["resumed"], {"from": checkpoint, "changed": changed}]

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
        types = {"characters": str, "has_unknown_id": bool, "sha256": str}
        value = storage.read_sealed(
            path, MAX_VOCABULARY_BYTES, lambda value: _check_types(value, types, path)
        )
        return Vocabulary(**value)

    # Rows and samples

    def append_metrics(self, row: dict) -> None:
        """Adds one epoch's row."""
        storage.append(self.metrics_path, json.dumps(row) + "\n")

    def metrics(self) -> list[dict]:
        """The rows so far, one an epoch; what is no row is left out with a warning."""
        if not os.path.lexists(self.metrics_path):
            return []
        rows = []
        data = storage.read_bytes(self.metrics_path, MAX_METRICS_BYTES)
        for line in data.splitlines(keepends=True):
            try:
                rows.append(_checked_row(storage.parse_json(line), line))
            except ValueError as error:  # a line cut short: what an interrupted run wrote last
                logging.warning("%s: a line is left out: %s", self.metrics_path, error)
        return rows

    def append_sample(self, epoch: int, text: str) -> None:
        """Adds what the model wrote after an epoch."""
        storage.append(self.samples_path, f"=== epoch {epoch}\n{text}\n")

    def drop_after(self, epoch: int) -> None:
        """Removes the rows and samples of epochs that a resumed run trains again."""
        rows = [json.dumps(row) + "\n" for row in self.metrics() if row["epoch"] <= epoch]
        storage.write(self.metrics_path, "".join(rows).encode())
        if not os.path.lexists(self.samples_path):
            return
        samples = storage.read_bytes(self.samples_path, MAX_SAMPLES_BYTES).decode(
            "utf-8", "replace"
        )
        later = (m for m in _SAMPLE.finditer(samples) if int(m[1]) > epoch)
        first_later = next(later, None)
        if first_later:
            storage.write(self.samples_path, samples[: first_later.start()].encode())


def checked_options(name: str, value: Any, path: pathlib.Path) -> dict[str, Any]:
    """Options of the group `name`; those that an older version did not know get their defaults."""
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected options by name, found {str(value)[:80]!r}")
    try:
        return dataclasses.asdict(fields.from_options((SAVED_GROUPS[name],), value)[0])
    except UserError as error:
        raise UserError(f"{path}: {str(error)[:400]}") from None


def _by_group(configs: list[fields.OptionGroup]) -> dict[str, dict[str, Any]]:
    by_type = {type(c): c for c in configs}
    return {name: dataclasses.asdict(by_type[g]) for name, g in SAVED_GROUPS.items()}  # type: ignore


def _checked_row(row: dict[str, Any], line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n") or not {"epoch", "step", "loss"} <= set(row) <= set(ROW_KEYS):
        raise ValueError(f"expected a row of metrics, found {line[:80]!r}")
    for key, value in row.items():
        whole = key in ("epoch", "step", "characters_per_second")
        if type(value) is not int and (whole or type(value) is not float):
            raise ValueError(f"expected {key} to be a number, found {str(value)[:80]!r}")
    return row


def _check_types(value: Any, types: dict[str, type], path: pathlib.Path) -> None:
    storage.check_keys(value, types, path)
    for key, expected in types.items():
        if type(value[key]) is not expected:
            raise UserError(
                f"{path}: expected {key} of type {expected.__name__}, "
                f"found {str(value[key])[:80]!r}"
            )
