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
from collections.abc import Callable, Collection, Iterator
from typing import Any

from shakespeare_gen.errors import UserError

# More objects and lists than any file of ours holds: what is nested or wide without end is
# refused before it costs memory.
MAX_CONTAINERS = 10_000

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
        raise UserError(f"{path}: can't be read: {reason(error)}") from None
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
      ValueError: no JSON, no object, a duplicate key, NaN, or too many containers.
    """
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS:,} lists and objects")

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
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise UserError(f"{path}: expected {', '.join(keys)}, found {str(found)[:200]}")


def to_json(value: Any) -> bytes:
    """The one form in which values are written."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with a hash of itself, by which damage is seen later."""
    return {**value, "sha256": hashlib.sha256(to_json(value)).hexdigest()}


def read_sealed(
    path: pathlib.Path, max_bytes: int, check: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """A value that was written sealed, without its hash.

    Args:
      check: looks at the value before its seal does, and raises `UserError`.

    Raises:
      UserError: it is not, to the byte, what was sealed.
    """
    data = read_bytes(path, max_bytes)
    try:
        value = parse_json(data)
    except ValueError as error:
        raise UserError(f"{path}: expected a JSON object, found {error}") from None
    check(value)
    rest = {key: item for key, item in value.items() if key != "sha256"}
    try:
        is_whole = to_json(sealed(rest)) == data
    except (ValueError, RecursionError):
        is_whole = False
    if not is_whole:
        raise UserError(
            f"{path}: expected what its sha256 says, found something else: "
            "the file is damaged or was edited"
        )
    return rest


def listed(folder: pathlib.Path) -> list[str]:
    """The names in a folder, sorted; none where it is missing.

    Raises:
      UserError: it is a link, no folder, or may not be read.
    """
    try:
        if folder.is_symlink():
            raise UserError(f"{folder}: expected a folder, found a symbolic link")
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder}: can't be read: {reason(error)}") from None


def reason(error: OSError) -> str:
    """What the system says of a failure."""
    return error.strerror or str(error)


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
        raise UserError(f"{path}: can't be written: {reason(error)}") from None


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
        raise UserError(f"{path}: can't be written: {reason(error)}") from None


def write_synced(path: pathlib.Path, data: bytes) -> None:
    """Writes a file anew and waits until the disk has it; follows no link."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
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
