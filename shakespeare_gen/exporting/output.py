"""New files and folders of an export: written whole, or not at all.

    with output.written(output.checked(path, is_file=False, overwrite=False), is_file=False) as new:
        (new / "config.json").write_bytes(...)

An existing folder is replaced only if it is an export. Knows nothing about formats.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.system import storage

CONFIG = "config.json"
MARK = "exported_by"  # a key of the config of every export
MAX_CONFIG_BYTES = 1 << 20
_ADVICE = "`overwrite` replaces it"


def checked(path: str, is_file: bool, overwrite: bool) -> pathlib.Path:
    """The path of a new export.

    Raises:
      UserError: it exists and may not be replaced, or its folder does not exist.
    """
    if not path:
        raise UsageError("output_path: expected a path for the export, received none")
    label = f"output_path={path}"
    if is_file:
        return storage.new_file(label, path, overwrite, _ADVICE)
    found = pathlib.Path(path).expanduser()
    if not found.name or not found.absolute().parent.is_dir():
        raise UserError(f"{label}: expected a new folder in an existing one")
    if not os.access(found.absolute().parent, os.W_OK):
        raise UserError(f"{label}: cannot be written: Permission denied")
    if os.path.lexists(found):
        if found.is_symlink() or not found.is_dir():
            raise UserError(f"{label}: expected a new folder, found something else")
        if not overwrite:
            raise UserError(f"{label}: expected a new folder, found an existing one; {_ADVICE}")
        if not _is_export(found):
            raise UserError(f"{label}: expected an export to replace, found another folder")
    return found


def _is_export(folder: pathlib.Path) -> bool:
    try:
        return MARK in storage.read_json(folder / CONFIG, MAX_CONFIG_BYTES)
    except UserError:
        return False


@contextlib.contextmanager
def written(path: pathlib.Path, is_file: bool) -> Iterator[pathlib.Path]:
    """A temporary path for the export, which is moved to `path` at the end.

    After an error, nothing is left behind, and an export that was there before is still there.

    Raises:
      UserError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        _remove(partial)
        if not is_file:
            partial.mkdir()
        yield partial
        _sync(partial)
        _replace(partial, path)
        storage.sync_folder(path.absolute().parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {storage.reason(error)}") from None
    finally:
        _remove(partial)


def _replace(partial: pathlib.Path, path: pathlib.Path) -> None:
    if not path.is_dir():
        partial.replace(path)
        return
    old = path.with_name(f".{path.name}.deleted")
    _remove(old)
    path.rename(old)
    partial.rename(path)
    _remove(old)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: pathlib.Path) -> None:
    """Waits until a file, or every file in a folder, is on disk."""
    for found in [path] if path.is_file() else sorted(path.rglob("*")):
        if found.is_file():
            with found.open("rb") as file:
                os.fsync(file.fileno())
        else:
            storage.sync_folder(found)


def size_bytes(path: pathlib.Path) -> int:
    """The size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
