"""The folder of a run: where its parts are, who may train in it, when it may be emptied.

Only what a run leaves behind is ever deleted, and only where it is surely a
run's. Knows no options and no checkpoint's contents.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import time
from collections.abc import Iterator

from absl import logging

from shakespeare_gen.runs import store
from shakespeare_gen.system import storage
from shakespeare_gen.errors import UserError

MAX_TRAINER_BYTES = 1 << 12


class RunFolder:
    """The paths of a run's parts, and its lock."""

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
        self.evaluation_dir = self.path / "evaluation"
        self._lock_path = self.path / ".lock"
        self._trainer_path = self.path / ".trainer.json"

    def has_checkpoint(self) -> bool:
        """Whether there is anything to resume or generate from."""
        return bool(store.names(self.checkpoints))

    def is_a_run(self) -> bool:
        """Whether what is here was written by us; a name alone says little."""
        raise NotImplementedError

    def make(self) -> None:
        """Makes the folder, or takes one that is empty or a run's.

        Raises:
          UserError: something else is there.
        """
        if stranger := self._stranger():
            raise UserError(
                f"--run_dir={self.path}: expected a run, an empty folder or nothing, "
                f"found {stranger!r}"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--run_dir={self.path}: can't be made: {storage.reason(error)}"
            ) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for one trainer.

        Raises:
          UserError: another process holds it, and the message names that one; or
            a part of it is a link to somewhere else.
        """
        import filelock

        for part in (*self._parts(), self._lock_path, self._trainer_path):
            if os.path.islink(part):
                raise UserError(f"{part}: expected a part of a run, found a symbolic link")
        for folder in (self.tensorboard_dir, self.evaluation_dir):
            if os.path.isfile(folder):
                raise UserError(f"{folder}: expected a folder, found a file")
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
            raise UserError(f"{self.path}: can't be written: {storage.reason(error)}") from None
        try:
            trainer = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.ctime()}
            storage.write(self._trainer_path, storage.to_json(trainer))
            yield
        finally:
            with contextlib.suppress(OSError):
                self._trainer_path.unlink()
            lock.release()

    def empty(self, overwrite: bool) -> None:
        """Empties the folder for a new run; the lock stays.

        A run that was stopped before its first checkpoint holds nothing and may
        be started again.

        Raises:
          UserError: there is a checkpoint, and `overwrite` is off.
        """
        if self.has_checkpoint() and not overwrite:
            raise UserError(
                f"{self.path}: expected no run here, found one; continue it with --resume, "
                "start again with --overwrite, or take another --run_dir"
            )
        try:
            for part in self._parts():
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"--run_dir={self.path}: can't be written: {storage.reason(error)}"
            ) from None

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
            self.evaluation_dir,
            self.config_path,
        ]

    def _stranger(self) -> str | None:
        """What in the folder is not a run's; None where all of it is, or nothing is there."""
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
