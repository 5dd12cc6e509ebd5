"""Checkpoint folders, written atomically.

The files of a checkpoint are written and synced in a folder with a temporary name, followed by a
manifest with sizes and SHA-256; then the folder is renamed and its parent synced. A folder that
does not match its manifest is damaged. An intact one is never replaced. Knows the names and sizes
of files but nothing about their contents.

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

from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 16
_NAME = re.compile(r"step-[0-9]{8,12}(-epoch-[0-9]{4,9})?")
_LEFTOVER = re.compile(r"\.step-.*\.(partial|deleted)")


def save(folder: pathlib.Path, name: str, files: Mapping[str, bytes]) -> pathlib.Path:
    """Writes the checkpoint `name` to `folder`, unless an intact one with that name exists.

    Raises:
      UserError: the disk is full or the folder cannot be written; temporary files are deleted and
        older checkpoints are not affected.
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
            f"{folder}: the checkpoint cannot be written: {storage.reason(error)}; "
            "earlier ones are not affected"
        ) from None
    return final


def name_of(step: int, epoch: int | None) -> str:
    """`step-00000490-epoch-0001` at the end of an epoch, `step-00000123` within one."""
    return f"step-{step:08d}" + (f"-epoch-{epoch:04d}" if epoch else "")


def is_name(name: str) -> bool:
    """Whether `name` is the name of a checkpoint."""
    return _NAME.fullmatch(name) is not None


def names(folder: pathlib.Path) -> list[str]:
    """The names of all checkpoints, including damaged ones, oldest first."""
    return sorted(filter(is_name, storage.listed(folder)), key=_numbers)


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall("[0-9]+", name)]


def strangers(folder: pathlib.Path) -> list[str]:
    """Entries that are neither checkpoints nor remains of an interrupted save."""
    found = storage.listed(folder)
    return [n for n in found if not (is_name(n) or _LEFTOVER.fullmatch(n))]


def prune(folder: pathlib.Path, keep: set[str]) -> None:
    """Deletes all checkpoints except those in `keep`; ignores those that cannot be deleted."""
    with contextlib.suppress(OSError):
        remove_leftovers(folder)
        for name in set(names(folder)) - keep:
            _discard(folder / name)


def remove_leftovers(folder: pathlib.Path) -> None:
    """Deletes the remains of an interrupted save or deletion."""
    for name in os.listdir(folder):
        if _LEFTOVER.fullmatch(name):
            shutil.rmtree(folder / name, ignore_errors=True)


def find_damage(
    place: pathlib.Path, max_bytes: Mapping[str, int], unread: Collection[str] = ()
) -> str | None:
    """Describes the damage of a checkpoint folder; None if it is intact.

    Args:
      max_bytes: the expected files, each with its maximum size.
      unread: files that will not be read; they may be missing, and their contents are not
        verified.
    """
    try:
        if place.is_symlink():
            return "expected a folder, found a symbolic link"
        data = storage.read_bytes(place / MANIFEST, MAX_MANIFEST_BYTES)
        manifest = storage.parse_json(data)
        # Compared as bytes: every bit of a manifest counts.
        if storage.to_json(manifest) != data or set(manifest) != {"files"}:
            return f"{MANIFEST}: expected a manifest, found something else"
        needed = set(max_bytes) - set(unread)
        if not needed <= set(manifest["files"]) <= set(max_bytes):
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
                return f"{file} differs from what was saved"
    except OSError as error:
        return f"{error.filename}: {storage.reason(error)}"
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
    """Deletes a checkpoint; renames it first, so that a partial one is never visible."""
    deleted = place.with_name(f".{place.name}.deleted")
    place.rename(deleted)
    shutil.rmtree(deleted, ignore_errors=True)
