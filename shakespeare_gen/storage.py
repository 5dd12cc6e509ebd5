"""Files that are read with bounds and written whole.

Reading trusts nothing: a regular file of a bounded size; JSON without duplicate
keys, NaN or endless nesting. Writing goes aside, is synced and moves into place,
so that readers see the old file or the new one. Knows not what a file means.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import stat
from collections.abc import Collection, Iterator
from typing import Any

from shakespeare_gen.errors import UserError

# A symbolic link could lead anywhere, and opening a pipe would wait for its writer.
_READ_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
)


@contextlib.contextmanager
def open_regular(path: pathlib.Path, max_bytes: int) -> Iterator[Any]:
    """Opens a regular file of at most `max_bytes` for reading.

    Raises:
      UserError: it is missing, larger, or a link, folder, pipe or device.
    """
    try:
        if path.is_symlink():
            raise UserError(f"{path}: expected a regular file, found a symbolic link")
        file = os.fdopen(os.open(path, _READ_FLAGS), "rb")
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: expected a regular file, found something else")
        if status.st_size > max_bytes:
            raise UserError(
                f"{path}: expected at most {max_bytes:,} bytes, found {status.st_size:,}"
            )
        yield file


def read_bytes(path: pathlib.Path, max_bytes: int) -> bytes:
    """The whole of a regular file of at most `max_bytes`."""
    with open_regular(path, max_bytes) as file:
        return file.read(max_bytes)


def sha256(path: pathlib.Path, max_bytes: int) -> str:
    """Hash of a regular file, in constant memory."""
    with open_regular(path, max_bytes) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: pathlib.Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object of a file of at most `max_bytes`."""
    try:
        return parse_json(read_bytes(path, max_bytes))
    except ValueError as error:
        raise UserError(f"{path}: expected a JSON object, found {error}") from None


def parse_json(data: bytes) -> dict[str, Any]:
    """One JSON object.

    Raises:
      ValueError: no JSON, no object, a duplicate key, NaN, or nested too deeply.
    """

    def unique(pairs):
        value = dict(pairs)
        if len(value) < len(pairs):
            raise ValueError("a duplicate key")
        return value

    def refuse(constant):
        raise ValueError(f"{constant}, which is no JSON")

    def finite(digits):
        number = float(digits)
        return number if math.isfinite(number) else refuse(digits[:20])

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=refuse,
            parse_float=finite,
        )
    except RecursionError:
        raise ValueError("values nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"a value of type {type(value).__name__}")
    return value


def check_keys(value: Any, keys: Collection[str], path: pathlib.Path) -> None:
    """Refuses anything but an object with exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(keys):
        found = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
        raise UserError(f"{path}: expected {', '.join(keys)}, found {found[:200]}")


def to_json(value: Any) -> bytes:
    """The one form in which values are written."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with a hash of itself, by which damage is seen later."""
    return {**value, "sha256": hashlib.sha256(to_json(value)).hexdigest()}


def unsealed(value: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """A sealed value without its hash.

    Raises:
      UserError: the value is not the one that was sealed.
    """
    rest = {key: item for key, item in value.items() if key != "sha256"}
    try:
        expected = sealed(rest)["sha256"]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected values that can be written, found {error}") from None
    if value.get("sha256") != expected:
        raise UserError(
            f"{path}: expected the sha256 of what it holds, {expected[:16]}…, "
            f"found {str(value.get('sha256'))[:16]}…: the file is damaged or was edited"
        )
    return rest


def write(path: pathlib.Path, data: bytes) -> None:
    """Puts `data` at `path` in one move.

    Raises:
      UserError: it can't be written; what was there stays, nothing temporary does.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        write_synced(partial, data)
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(f"{path}: can't be written: {error.strerror}") from None


def append(path: pathlib.Path, text: str) -> None:
    """Adds `text` to the end of a file, synced.

    Raises:
      UserError: it can't be written.
    """
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror}") from None


def write_synced(path: pathlib.Path, data: bytes) -> None:
    """Writes a file and waits until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: pathlib.Path) -> None:
    """Waits until the disk has the names in a folder."""
    if os.name == "nt":  # folders can't be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
