"""An open run: its folder and its spec. Knows nothing about checkpoints."""

import dataclasses
import os
import pathlib
from typing import Any

from shakespeare_gen.errors import UsageError
from shakespeare_gen.runs.folder import RunFolder
from shakespeare_gen.runs.spec import RunSpec
from shakespeare_gen.runs.spec_files import read_spec


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder and its spec, which is read and verified only once."""

    folder: RunFolder
    spec: RunSpec

    @property
    def path(self) -> pathlib.Path:
        """The path of the folder."""
        return self.folder.path

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics so far, one row per epoch."""
        return self.folder.metrics()


def open_run(path: str | os.PathLike[str]) -> Run:
    """Opens a run folder without importing TensorFlow.

    Raises:
      UserError: the folder is not a run folder, or it is damaged.
    """
    folder = RunFolder(path)
    return Run(folder, read_spec(folder))


def split_paths(run_dir: str | os.PathLike[str]) -> list[str]:
    """Splits an option `run_dir` into one or several run folders, separated by commas.

    Folder names may contain commas: the value is split so that the folders exist, if possible.

    Raises:
      UsageError: a path is empty.
    """
    value = os.fspath(run_dir)
    parts = value.split(",")
    paths = _existing(parts) or parts
    if len(paths) > 1 and not all(paths):
        raise UsageError(f"run_dir: expected run folders between commas, received {value!r}")
    return paths


def _existing(parts: list[str]) -> list[str] | None:
    """Joins neighboring parts to existing folders, the longest first; None if that fails."""
    found: list[list[str] | None] = [*([None] * len(parts)), []]
    for begin in reversed(range(len(parts))):
        for end in range(len(parts), begin, -1):
            path, rest = ",".join(parts[begin:end]), found[end]
            if rest is not None and path and os.path.isdir(os.path.expanduser(path)):
                found[begin] = [path, *rest]
                break
    return found[0]
