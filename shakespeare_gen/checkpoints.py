"""Folders of named tensors and one JSON value, written whole or not at all.

A checkpoint is written aside, each file synced, a manifest with sizes and
SHA-256 last; then the folder is renamed and its parent synced. A folder whose
manifest doesn't verify is damaged, named in a warning and passed over. Knows
no Keras: tensors are NumPy arrays, in safetensors files.

    step-00001200/
      weights.safetensors  training.safetensors  state.json  manifest.json
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

import numpy as np
import safetensors.numpy
from absl import logging

from shakespeare_gen.errors import UserError

MANIFEST = "manifest.json"
STATE = "state.json"
_PREFIX = "step-"

Tensors = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What one folder holds: `tensors` by file stem, then by name."""

    step: int
    tensors: dict[str, Tensors]
    state: dict


def save(folder: pathlib.Path, checkpoint: Checkpoint) -> pathlib.Path:
    """Writes `checkpoint` below `folder`; replaces one of the same step.

    Raises:
      UserError: the disk is full or the folder can't be written; nothing
        temporary stays and older checkpoints are untouched.
    """
    final = folder / f"{_PREFIX}{checkpoint.step:08d}"
    partial = folder / f".{final.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write_files(partial, checkpoint)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"{folder}: the checkpoint can't be written: {error}") from None
    return final


def load(folder: pathlib.Path, step: int | None = None) -> Checkpoint | None:
    """The checkpoint of `step`, or the newest one that verifies; None where there is none."""
    for candidate in reversed(steps(folder)) if step is None else [step]:
        place = folder / f"{_PREFIX}{candidate:08d}"
        damage = find_damage(place)
        if damage is None:
            return _read(place, candidate)
        logging.warning("%s is damaged and passed over: %s", place, damage)
    return None


def steps(folder: pathlib.Path) -> list[int]:
    """The steps that have a folder here, sorted; damaged ones too."""
    names = [place.name.removeprefix(_PREFIX) for place in folder.glob(f"{_PREFIX}*")]
    return sorted(int(name) for name in names if name.isdecimal())


def prune(folder: pathlib.Path, keep: set[int]) -> None:
    """Deletes the checkpoints of all steps but `keep`."""
    for step in set(steps(folder)) - keep:
        shutil.rmtree(folder / f"{_PREFIX}{step:08d}", ignore_errors=True)


def find_damage(place: pathlib.Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        manifest = json.loads((place / MANIFEST).read_text("utf-8"))
        for name, expected in manifest["files"].items():
            data = (place / name).read_bytes()
            found = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if found != expected:
                return f"{name}: expected {expected}, received {found}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def write_json(path: pathlib.Path, value) -> None:
    """Writes `value` to `path` in one move: readers see the old file or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _sync(partial)
    partial.replace(path)


def _write_files(place: pathlib.Path, checkpoint: Checkpoint) -> None:
    for stem, tensors in checkpoint.tensors.items():
        (place / f"{stem}.safetensors").write_bytes(safetensors.numpy.save(tensors))
    write_json(place / STATE, checkpoint.state)
    files = sorted(place.iterdir())
    for file in files:
        _sync(file)
    manifest = {
        file.name: {
            "size_bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in files
    }
    write_json(place / MANIFEST, {"step": checkpoint.step, "files": manifest})
    _sync(place)


def _read(place: pathlib.Path, step: int) -> Checkpoint:
    tensors = {
        file.stem: safetensors.numpy.load(file.read_bytes())
        for file in sorted(place.glob("*.safetensors"))
    }
    return Checkpoint(step, tensors, json.loads((place / STATE).read_text("utf-8")))


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
