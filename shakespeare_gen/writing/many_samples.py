"""A file of many samples that is written in batches, and continued after an interruption.

    with SampleFile.open(path, description, seed=1) as file:
        for results in generator.sample_batches(request, file.num_done):
            file.append(samples.lines("text", request, results, source))

Until all samples are there, the text is in a hidden file next to `path`, with a JSON file that says
what it is and how far it is. Knows nothing about samples.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

from absl import logging

from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage

MAX_STATE_BYTES = 1 << 26  # mostly the prompt


class SampleFile:
    """An unfinished file of samples; made by `open`.

    Attributes:
      num_done: the complete samples.
    """

    def __init__(self, path: pathlib.Path, description: dict[str, Any], seed: int) -> None:
        self._path, self.seed = path, seed
        self._description = storage.parse_json(storage.to_json(description))  # without tuples
        self._partial, self._state = _hidden_paths(path)
        self.num_done = self._num_bytes = 0

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: pathlib.Path, description: dict[str, Any], seed: int) -> Iterator[Self]:
        """A context with the file, which gets its name at the end unless there was an exception.

        Args:
          path: the file to write; see `samples.output_path`.
          description: what determines the samples besides the seed, as JSON values. An unfinished
            file with the same description is continued.
          seed: of the samples; -1: that of the file to continue.

        Raises:
          UserError: another process writes the file, or it cannot be written.
        """
        import filelock

        file = cls(path, description, seed)
        lock = filelock.FileLock(file._state.with_suffix(".lock"))
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise UserError(
                f"output_path={path}: expected a file that no other process writes, found one "
                "that is being written"
            ) from None
        try:
            file._continue()
            yield file
            file._finish()
        finally:
            lock.release()

    def append(self, lines: Sequence[str], separator: str = "") -> None:
        """Adds complete samples, and waits until they are on disk."""
        text = separator * bool(self.num_done) + separator.join(lines)
        try:
            with self._partial.open("r+b" if self._num_bytes else "wb") as file:
                file.seek(self._num_bytes)
                file.truncate()
                self._num_bytes += file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{self._path}: cannot be written: {storage.reason(error)}; run the command again "
                "to continue"
            ) from None
        self.num_done += len(lines)
        self._save()

    def start(self, seed: int) -> None:
        """Chooses the seed of a new file."""
        self.seed = seed
        self._save()

    def _save(self) -> None:
        state = {
            "description": self._description,
            "seed": self.seed,
            "num_done": self.num_done,
            "num_bytes": self._num_bytes,
        }
        storage.write(self._state, storage.to_json(storage.sealed(state)))

    def _continue(self) -> None:
        with contextlib.suppress(UserError, OSError, KeyError):
            state = storage.read_sealed(self._state, MAX_STATE_BYTES, lambda value: None)
            is_whole = self._partial.stat().st_size >= state["num_bytes"]
            is_same = state["description"] == self._description
            if is_whole and is_same and self.seed in (-1, state["seed"]):
                self.seed, self.num_done = state["seed"], state["num_done"]
                self._num_bytes = state["num_bytes"]
                logging.info("%s: continuing after %s samples", self._path, f"{self.num_done:,}")

    def _finish(self) -> None:
        try:
            self._partial.replace(self._path)
            storage.sync_folder(self._path.parent)
            self._state.unlink()
            self._state.with_suffix(".lock").unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {storage.reason(error)}") from None


def _hidden_paths(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Of the unfinished text, and of the JSON file."""
    return path.with_name(f".{path.name}.unfinished"), path.with_name(f".{path.name}.json")
