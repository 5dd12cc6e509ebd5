"""An open run: its folder and its spec. Knows nothing about checkpoints."""

import dataclasses
import glob
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, Literal

from shakespeare_gen.errors import UsageError
from shakespeare_gen.runs.folder import RunFolder
from shakespeare_gen.runs.spec import RunSpec
from shakespeare_gen.runs.spec_files import read_spec

_GLOB = re.compile(r"[*?]|\[.+\]")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder and its spec, which is read and verified only once."""

    folder: RunFolder
    spec: RunSpec

    def __fspath__(self) -> str:
        """A run may be passed where a path to a run folder is expected."""
        return self.name

    @property
    def name(self) -> str:
        """The path, or the name of a pretrained model."""
        return self.folder.name

    @property
    def path(self) -> pathlib.Path:
        """The path of the folder."""
        return self.folder.path

    @property
    def losses(self) -> dict[str, float]:
        """The losses of the best checkpoint in nats per character, by split; empty during
        training."""
        losses = self.folder.card().get("losses")
        known = losses.items() if isinstance(losses, dict) else ()
        return {split: loss for split, loss in known if isinstance(loss, float)}

    @property
    def stopped_by(self) -> str:
        """What ended training before its last epoch; see `card.Facts`."""
        return str(self.folder.card().get("stopped_by", ""))

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics so far, one row per epoch."""
        return self.folder.metrics()

    def step_metrics(self) -> list[dict[str, Any]]:
        """The metrics of single steps so far."""
        return self.folder.step_metrics()

    def samples(self, unit: Literal["epoch", "step"] = "epoch") -> list[tuple[int, str]]:
        """The texts that were generated after epochs or steps so far, each with their number."""
        return list(self.folder.samples(unit))


def open_run(path: str | os.PathLike[str]) -> Run:
    """Opens a run folder without importing TensorFlow.

    Raises:
      UserError: the folder is not a run folder, or it is damaged.
    """
    folder = RunFolder(path)
    return Run(folder, read_spec(folder))


def split_paths(run_dir: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    """The run folders that an option `run_dir` names.

    A value may name several folders, separated by commas. Folder names may contain commas: a value
    is split so that the folders exist, if possible. A path that does not exist may be a glob; it
    stands for the run folders that match, by name.

    Raises:
      UsageError: a path is empty, or a glob matches no run folder.
    """
    values = [os.fspath(run_dir)] if isinstance(run_dir, str | os.PathLike) else run_dir
    paths = []
    for value in values:
        parts = value.split(",")
        found = _existing(parts) or parts
        if len(found) > 1 and not all(found):
            raise UsageError(f"run_dir: expected run folders between commas, received {value!r}")
        paths += [path for part in found for path in _matching(part)]
    return paths


def _matching(path: str) -> list[str]:
    """The run folders that match `path`, if it is a glob and not the name of a folder."""
    pattern = os.path.expanduser(path)
    if not _GLOB.search(pattern) or os.path.lexists(pattern):
        return [path]
    folders = [os.path.dirname(p) for p in glob.glob(os.path.join(pattern, "config.json"))]
    if not folders:
        raise UsageError(f"run_dir={path}: expected a glob that matches run folders, found none")
    return sorted(folders)


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
