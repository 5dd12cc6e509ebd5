"""The folder of a run: the paths of its parts, its lock, and its deletion.

Deletes only files that are written by a run, and only in a folder that is known to be a run's.
Knows nothing about options, tokenizers or the contents of a checkpoint.

    folder = RunFolder("runs/quick")
    folder.make()
    with folder.locked():
        folder.empty(overwrite=False)
"""

import contextlib
import os
import pathlib
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

from absl import logging

from shakespeare_gen import pretrained
from shakespeare_gen.errors import UserError
from shakespeare_gen.runs import history, store
from shakespeare_gen.system import storage

RUNS = "runs"  # the folder of all runs, unless an option names another one
MAX_TRAINER_BYTES = 1 << 12
MAX_CARD_BYTES = 8 << 20
MAX_SPEC_BYTES = (
    5 << 20
)  # limit for config.json and the tokenizer; large enough for all code points


class RunFolder:
    """The paths of a run's parts, its lock, and its records.

    If `path` is a symbolic link to a folder, it is resolved once, here. Links inside a run folder
    are rejected. `path` may be the name of a pretrained model, such as
    `pretrained:tiny-shakespeare`, whose folder is only read.

    Raises:
      UserError: `path` is not a valid path, or there is no such model.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _resolved(path)
        self.name = os.fspath(path) if pretrained.is_name(path) else str(self.path)
        self.checkpoints = self.path / "checkpoints"
        self.config_path = self.path / "config.json"
        self.tokenizer_path = self.path / "tokenizer.json"
        self.vocabulary_path = self.path / "vocabulary.json"  # format 1
        self.train_lines_path = self.path / "train_lines.safetensors"
        self.metrics_path = self.path / "metrics.jsonl"
        self.samples_path = self.path / "samples.txt"
        self.loss_curve_path = self.path / "loss.png"
        self.internals_path = self.path / "internals.png"
        self.card_path = self.path / "run.json"
        self.readme_path = self.path / "README.md"
        self.tensorboard_dir = self.path / "tensorboard"
        self.evaluation_dir = self.report_path / "evaluation"
        self._lock_path = self.path / ".lock"
        self._trainer_path = self.path / ".trainer.json"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def is_pretrained(self) -> bool:
        """Whether the folder ships with the package."""
        return pretrained.is_name(self.name)

    @property
    def report_path(self) -> pathlib.Path:
        """The folder for what is written about the run after training."""
        if not self.is_pretrained:
            return self.path
        return pathlib.Path(RUNS) / self.name.replace(":", "-")

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, possibly a damaged one."""
        return bool(store.names(self.checkpoints))

    def is_a_run(self) -> bool:
        """Whether a run wrote this folder; file names alone are not sufficient evidence."""
        sealed = (self.config_path, self.tokenizer_path, self.vocabulary_path)
        return self.has_checkpoint() or any(_is_sealed(path) for path in sealed)

    def make(self) -> None:
        """Creates the folder; accepts an existing one if it is empty or a run's.

        Raises:
          UserError: the folder contains anything else, or cannot be created.
        """
        self._check_is_writable()
        if stranger := self._stranger():
            raise UserError(
                f"run_dir={self.path}: expected a run, an empty folder or nothing, "
                f"found {stranger!r}"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"run_dir={self.path}: cannot be created: {storage.reason(error)}"
            ) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Reserves the run for one training process.

        Raises:
          UserError: another process is training the run (the message names it), or a part of the
            run is a symbolic link.
        """
        import filelock

        self._check_is_writable()
        self._check_parts()
        lock = filelock.FileLock(self._lock_path)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise UserError(
                f"{self.path}: expected a run that no process is training, found {self._trainer()}"
            ) from None
        except NotImplementedError:
            logging.warning(
                "%s: this file system has no locks; do not train here in two processes", self.path
            )
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {storage.reason(error)}") from None
        try:
            trainer = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.ctime()}
            storage.write(self._trainer_path, storage.to_json(trainer))
            yield
        finally:
            with contextlib.suppress(OSError):
                self._trainer_path.unlink()
            lock.release()

    def empty(self, overwrite: bool) -> None:
        """Deletes all parts of the run except the lock, for a new run.

        Raises:
          UserError: there is a checkpoint, and `overwrite` is false.
        """
        if self.has_checkpoint() and not overwrite:
            raise UserError(
                f"{self.path}: expected no run, found one; continue it with `resume`, "
                "replace it with `overwrite`, or choose another `run_dir`"
            )
        try:
            for part in self._parts():
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"run_dir={self.path}: cannot be written: {storage.reason(error)}"
            ) from None

    # Records of training

    def card(self) -> dict[str, Any]:
        """The values of `run.json`; empty if the file is missing or damaged."""
        with contextlib.suppress(UserError):
            return storage.read_json(self.card_path, MAX_CARD_BYTES)
        return {}

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics so far, one row per epoch."""
        return [row for row in history.read_rows(self.metrics_path) if "epoch" in row]

    def step_metrics(self) -> list[dict[str, Any]]:
        """The metrics of single steps so far, one row every `log_every_steps`."""
        return [row for row in history.read_rows(self.metrics_path) if "epoch" not in row]

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Appends the row of an epoch or of a step."""
        storage.append(self.metrics_path, history.metrics_record(row))

    def append_sample(self, number: int, text: str, unit: str = "epoch") -> None:
        """Appends the text that was generated after an epoch, or with `unit="step"` a step."""
        storage.append(self.samples_path, history.sample_record(number, text, unit))

    def samples(self, unit: str = "epoch") -> list[tuple[int, str]]:
        """The texts generated after epochs so far, or after steps, with their numbers."""
        if not os.path.lexists(self.samples_path):
            return []
        return history.read_samples(self.samples_path, unit)

    def drop_after(self, epoch: int, step: int) -> None:
        """Removes the rows and samples of later epochs and steps, which a resumed run repeats."""
        rows = history.read_rows(self.metrics_path)
        kept = [row for row in rows if row.get("epoch", 0) <= epoch and row["step"] <= step]
        storage.write(self.metrics_path, "".join(map(history.metrics_record, kept)).encode())
        if not os.path.lexists(self.samples_path):
            return
        samples = storage.read_bytes(self.samples_path, history.MAX_SAMPLES_BYTES)
        size = history.size_of_samples(samples, epoch, step)
        if size < len(samples):
            storage.write(self.samples_path, samples[:size])

    def _parts(self) -> list[pathlib.Path]:
        # config.json is last, because it identifies the other files as a run's.
        return [
            self.checkpoints,
            self.vocabulary_path,
            self.tokenizer_path,
            self.train_lines_path,
            self.metrics_path,
            self.samples_path,
            self.loss_curve_path,
            self.internals_path,
            self.card_path,
            self.readme_path,
            self.tensorboard_dir,
            self.evaluation_dir,
            self.config_path,
        ]

    def _check_is_writable(self) -> None:
        if self.is_pretrained:
            raise UserError(
                f"run_dir: expected a folder to train in, received {self.name}, which is read only"
            )

    def _check_parts(self) -> None:
        for part in (*self._parts(), self._lock_path, self._trainer_path):
            if os.path.islink(part):
                raise UserError(f"{part}: expected a part of a run, found a symbolic link")
        for folder in (self.tensorboard_dir, self.evaluation_dir):
            if os.path.isfile(folder):
                raise UserError(f"{folder}: expected a folder, found a file")

    def _stranger(self) -> str | None:
        """An entry of the folder that does not belong to a run; None if there is none."""
        if not os.path.isdir(self.path):
            return str(self.path) if os.path.lexists(self.path) else None
        ours = {part.name for part in (*self._parts(), self._lock_path, self._trainer_path)}
        found = storage.listed(self.path)
        strangers = [n for n in found if n not in ours and not n.endswith(".partial")]
        if self.checkpoints.name in found:
            strangers += [f"checkpoints/{n}" for n in store.strangers(self.checkpoints)]
        visible = [name for name in found if not name.startswith(".")]
        if not strangers and visible and not self.is_a_run():
            strangers = visible
        return strangers[0] if strangers else None

    def _trainer(self) -> str:
        with contextlib.suppress(UserError):
            trainer = storage.read_json(self._trainer_path, MAX_TRAINER_BYTES)
            pid, host, since = (str(trainer.get(k))[:80] for k in ("pid", "host", "since"))
            return f"process {pid} on {host}, since {since}"
        return "another process"


def _resolved(path: str | os.PathLike[str]) -> pathlib.Path:
    text = os.fspath(path)
    if pretrained.is_name(text):
        return pretrained.path(text)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"run_dir: expected a path in UTF-8, received {text!r}")
    try:
        found = pathlib.Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"run_dir={text}: expected a known user, found none") from None
    if not os.path.islink(found):
        return found
    target = pathlib.Path(os.path.realpath(found))
    if os.path.islink(target):
        raise UserError(f"run_dir={text}: expected a folder, found a loop of symbolic links")
    return target


def _is_sealed(path: pathlib.Path) -> bool:
    try:
        storage.read_sealed(path, MAX_SPEC_BYTES, lambda value: None)
    except UserError:
        return False
    return True
