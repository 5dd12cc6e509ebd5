"""Checkpoint folders: files that are written whole or not at all.

A folder is written aside, each file synced, a manifest with sizes and
SHA-256 last; then the folder is renamed and its parent synced. A folder whose
manifest doesn't verify is damaged. A whole one is never replaced. Knows the names
and sizes of files, not what they hold.

    step-00001200/
      weights.safetensors  training.safetensors  state.json  manifest.json
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Collection, Mapping

from shakespeare_gen.system import storage
from shakespeare_gen.errors import UserError

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 16
_NAME = re.compile(r"step-[0-9]{8,12}(-epoch-[0-9]{4,9})?")

_LEFTOVER = re.compile(r"\.step-.*\.(partial|deleted)")


def save(folder: pathlib.Path, name: str, files: Mapping[str, bytes]) -> pathlib.Path:
    """Writes the checkpoint `name` below `folder`; one that is there and whole stays.

    Raises:
      UserError: the disk is full or the folder can't be written; nothing
        temporary stays and older checkpoints are untouched.
    """
    final, partial = folder / name, folder / f".{name}.partial"
    if (
        final.exists()
        and find_damage(final, {file: len(data) for file, data in files.items()}) is None
    ):
        return final
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            storage.sync_folder(folder.parent)
        remove_leftovers(folder)
        partial.mkdir()
        for file, data in files.items():
            storage.write_synced(partial / file, data)
        storage.write_synced(partial / MANIFEST, storage.to_json(_manifest(files)))
        storage.sync_folder(partial)
        if final.exists():
            _discard(final)
        partial.rename(final)
        storage.sync_folder(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"{folder}: the checkpoint can't be written: {storage.reason(error)}; "
            "earlier ones are untouched"
        ) from None
    return final


def names(folder: pathlib.Path) -> list[str]:
    """The checkpoints here, oldest first; damaged ones too."""
    return sorted(filter(_NAME.fullmatch, storage.listed(folder)), key=_numbers)


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall("[0-9]+", name)]


def strangers(folder: pathlib.Path) -> list[str]:
    """What is here beside checkpoints and what an interrupted save left."""
    found = storage.listed(folder)
    return [n for n in found if not (_NAME.fullmatch(n) or _LEFTOVER.fullmatch(n))]


def prune(folder: pathlib.Path, keep: set[str]) -> None:
    """Deletes every checkpoint but those of `keep`; what can't be deleted stays."""
    with contextlib.suppress(OSError):
        remove_leftovers(folder)
        for name in set(names(folder)) - keep:
            _discard(folder / name)


def remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes what an interrupted save or deletion left."""
    for name in os.listdir(folder):
        if _LEFTOVER.fullmatch(name):
            shutil.rmtree(folder / name, ignore_errors=True)


def find_damage(
    place: pathlib.Path, max_bytes: Mapping[str, int], unread: Collection[str] = ()
) -> str | None:
    """What is wrong with a checkpoint folder, or None.

    Args:
      max_bytes: the files that must be there, each with its largest size.
      unread: those of them that nobody will read now, and that are not looked at.
    """
    try:
        if place.is_symlink():
            return "expected a folder, found a symbolic link"
        data = storage.read_bytes(place / MANIFEST, MAX_MANIFEST_BYTES)
        manifest = storage.parse_json(data)
        # A manifest is compared as it is written, so that not one bit of it is free.
        if storage.to_json(manifest) != data or set(manifest) != {"files"}:
            return f"{MANIFEST}: expected a manifest, found something else"
        if set(manifest["files"]) != set(max_bytes):
            found_files = str(list(manifest["files"]))[:200]
            return f"{MANIFEST}: expected {', '.join(max_bytes)}, found {found_files}"
        for file, limit in max_bytes.items():
            if file in unread:
                continue
            found = {
                "size_bytes": os.lstat(place / file).st_size,
                "sha256": storage.sha256(place / file, limit),
            }
            if found != manifest["files"][file]:
                return f"{file} is not the one that was saved"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (UserError, ValueError, TypeError, RecursionError) as error:
        return str(error)
    return None


def _manifest(files: Mapping[str, bytes]) -> dict:
    return {
        "files": {
            file: {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for file, data in files.items()
        }
    }


def _discard(place: pathlib.Path) -> None:
    """Deletes a checkpoint; out of sight first, so that no half of one is ever seen."""
    deleted = place.with_name(f".{place.name}.deleted")
    place.rename(deleted)
    shutil.rmtree(deleted, ignore_errors=True)
