"""Bounded reads and atomic writes of files.

Input is not trusted: only regular files of bounded size are read, and JSON must not contain
duplicate keys, NaN or deep nesting. Output goes to a temporary file that is synced and renamed, so
that readers see either the old file or the new one. Knows nothing about file contents.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import pathlib
import stat
from collections.abc import Callable, Collection, Iterator
from typing import Any

from shakespeare_gen.errors import UserError

# More lists and objects than any file of this package contains: deep or wide JSON is rejected
# before it is parsed into memory.
MAX_CONTAINERS = 10_000
MAX_DIGITS = 1000  # of an integer in JSON; the time to convert one grows with their square

# Without O_NONBLOCK, opening a pipe would wait for its writer.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def open_regular(
    path: pathlib.Path, max_bytes: int, *, follow_links: bool = False, label: str = ""
) -> Iterator[io.BufferedReader]:
    """Opens a regular file of at most `max_bytes` for reading.

    Args:
      follow_links: accept symbolic links; in an untrusted folder they could point anywhere.
      label: name of the file in messages; empty: its path.

    Raises:
      UserError: the file is missing, too large, or not a regular file.
    """
    label = label or str(path)
    try:
        if not follow_links and path.is_symlink():
            raise UserError(f"{label}: expected a regular file, found a symbolic link")
        flags = _READ_FLAGS | (0 if follow_links else _NO_FOLLOW)
        file = os.fdopen(os.open(path, flags), "rb")
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UserError(f"{label}: cannot be read: {reason(error)}") from None
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{label}: expected a regular file, found something else")
        if status.st_size > max_bytes:
            raise UserError(
                f"{label}: expected at most {max_bytes:,} bytes, found {status.st_size:,}"
            )
        yield file


def read_bytes(
    path: pathlib.Path, max_bytes: int, *, follow_links: bool = False, label: str = ""
) -> bytes:
    """The content of a regular file of at most `max_bytes`; see `open_regular`."""
    with open_regular(path, max_bytes, follow_links=follow_links, label=label) as file:
        try:
            # None: a kernel file, such as /proc/kmsg, that would block the reader.
            return file.read(max_bytes) or b""
        except OSError as error:
            raise UserError(f"{label or path}: cannot be read: {reason(error)}") from None


def sha256(path: pathlib.Path, max_bytes: int) -> str:
    """The hexadecimal SHA-256 of a regular file, computed in constant memory."""
    with open_regular(path, max_bytes) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: pathlib.Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a file of at most `max_bytes`."""
    return _parsed(read_bytes(path, max_bytes), path)


def parse_json(data: bytes) -> dict[str, Any]:
    """Parses one JSON object.

    Raises:
      ValueError: not JSON, not an object, a duplicate key, NaN, or too many containers; names the
        key if there is one.
    """
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS:,} lists and objects")

    def unique(pairs):
        value = dict(pairs)
        for key, item in pairs:
            if found := _rejected(item):
                raise ValueError(f"{key!r}: {found}")
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"a duplicate key {next(k for k in keys if keys.count(k) > 1)!r}")
        return value

    def constant(name):
        return _Rejected(f"{name}, which is not valid JSON")

    def finite(digits):
        number = float(digits)
        return number if math.isfinite(number) else too_large(digits)

    def integer(digits):
        return int(digits) if len(digits) <= MAX_DIGITS else too_large(digits)

    def too_large(digits):
        return _Rejected(f"{digits[:20]}, which is too large")

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=constant,
            parse_float=finite,
            parse_int=integer,
        )
    except RecursionError:
        raise ValueError("values nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(_rejected(value) or f"a value of type {type(value).__name__}")
    return value


class _Rejected(str):
    """What stands for a number that is rejected: the number, and why."""


def _rejected(value: Any) -> _Rejected | None:
    """The first rejected number in a value, or in nested lists of it."""
    if isinstance(value, list):
        return next((found for item in value if (found := _rejected(item))), None)
    return value if isinstance(value, _Rejected) else None


def check_keys(value: Any, keys: Collection[str], path: pathlib.Path) -> None:
    """Checks that `value` is an object with exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(keys):
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise UserError(f"{path}: expected {', '.join(keys)}, found {str(found)[:200]}")


def to_json(value: Any) -> bytes:
    """The canonical JSON form: equal values give equal bytes."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with its own SHA-256, to detect later damage."""
    return {**value, "sha256": hashlib.sha256(to_json(value)).hexdigest()}


def read_sealed(
    path: pathlib.Path, max_bytes: int, check: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Reads a value that was written by `sealed`, and removes its hash.

    Args:
      check: validates the value before its hash is compared; raises `UserError`.

    Raises:
      UserError: the file differs from what was written, in any byte.
    """
    data = read_bytes(path, max_bytes)
    value = _parsed(data, path)
    check(value)
    content = {key: item for key, item in value.items() if key != "sha256"}
    try:
        is_intact = to_json(sealed(content)) == data
    except (ValueError, RecursionError):
        is_intact = False
    if not is_intact:
        raise UserError(
            f"{path}: expected content that matches its sha256, found other content: "
            "the file is damaged or was edited"
        )
    return content


def _parsed(data: bytes, path: pathlib.Path) -> dict[str, Any]:
    try:
        return parse_json(data)
    except ValueError as error:
        raise UserError(f"{path}: expected a JSON object, found {error}") from None


def listed(folder: pathlib.Path) -> list[str]:
    """The sorted names in a folder; empty if the folder does not exist.

    Raises:
      UserError: the path is a link or not a folder, or it cannot be read.
    """
    try:
        if folder.is_symlink():
            raise UserError(f"{folder}: expected a folder, found a symbolic link")
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {reason(error)}") from None


def reason(error: Exception) -> str:
    """The operating system's message for an error."""
    return getattr(error, "strerror", None) or str(error)


def write(path: pathlib.Path, data: bytes, mode: int = 0o666) -> None:
    """Writes a file atomically.

    Args:
      mode: the permissions of a new file, before those that the process never grants.

    Raises:
      UserError: the file cannot be written; an existing file is kept, the temporary one deleted.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        write_synced(partial, data, mode)
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(f"{path}: cannot be written: {reason(error)}") from None


def new_file(label: str, path: str, overwrite: bool, advice: str) -> pathlib.Path:
    """The path of a file that a person wants to be written; `write` writes it.

    Args:
      label: what names the file, for messages.
      overwrite: whether an existing regular file may be replaced.
      advice: how to replace it.

    Raises:
      UserError: the file exists, or its folder does not.
    """
    try:
        found = pathlib.Path(path).expanduser()
        status = _status(found)
        is_folder = found.parent.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # a null character, an unknown user
        raise UserError(f"{label}: cannot be written: {reason(error)}") from None
    if not found.name or not is_folder:
        raise UserError(f"{label}: expected a file in an existing folder")
    if status and not stat.S_ISREG(status.st_mode):
        raise UserError(f"{label}: expected a regular file, found something else")
    if status and not overwrite:
        raise UserError(f"{label}: expected a new file, found an existing one; {advice}")
    if not os.access(found.parent, os.W_OK):
        raise UserError(f"{label}: cannot be written: {os.strerror(errno.EACCES)}")
    return found


def _status(path: pathlib.Path) -> os.stat_result | None:
    """The status of a file, of a link without a target that of the link; None: it is missing."""
    try:
        return path.stat()
    except FileNotFoundError:
        return path.lstat() if path.is_symlink() else None


def append(path: pathlib.Path, text: str) -> None:
    """Appends `text` to a file and syncs it.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error)}") from None


def write_synced(path: pathlib.Path, data: bytes, mode: int = 0o666) -> None:
    """Creates or replaces a file and waits until it is on disk; does not follow links."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: pathlib.Path) -> None:
    """Waits until the entries of a folder are on disk."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
