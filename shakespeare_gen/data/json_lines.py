"""Documents in JSON lines (`.jsonl`, `.ndjson`): one object per line, whose text is under a key.

    for document in documents(lines, path, "text"): ...

Knows nothing about files besides their names.
"""

import json
import pathlib
from collections.abc import Iterable, Iterator

from shakespeare_gen.data import compression, texts
from shakespeare_gen.errors import UserError

SUFFIXES = (".jsonl", ".ndjson")
MAX_LINE_BYTES = 2**28


def is_json_lines(path: pathlib.Path) -> bool:
    """Whether a file contains JSON lines, by its name; it may be compressed."""
    return compression.plain_name(path).endswith(SUFFIXES)


def documents(chunks: Iterable[bytes], path: pathlib.Path, key: str) -> Iterator[str]:
    """The text of each line; blank lines are skipped.

    Args:
      chunks: the content of the file, in pieces of any length.
      path: the file, for messages.

    Raises:
      UserError: a line is no object, has no text under `key`, or is not UTF-8; names the line.
    """
    for number, line in enumerate(_lines(chunks, path), 1):
        if line.strip():
            yield _document(line, key, f"{path}, line {number}")


def _lines(chunks: Iterable[bytes], path: pathlib.Path) -> Iterator[bytes]:
    rest = bytearray()
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest += first
        if len(rest) > MAX_LINE_BYTES:
            raise UserError(f"{path}: expected lines of at most {MAX_LINE_BYTES:,} bytes")
        for line in others:
            yield bytes(rest)
            rest[:] = line
    yield bytes(rest)


def _document(line: bytes, key: str, place: str) -> str:
    try:
        value = json.loads(line.removeprefix(b"\xef\xbb\xbf").decode())
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: expected UTF-8, received 0x{line[error.start]:02x} at its byte "
            f"{error.start + 1}"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:80]
        raise UserError(
            f"{place}: expected a JSON object, received {_shown(line)}: {reason}"
        ) from None
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a JSON object, received {_shown(line)}")
    if key not in value:
        keys = ", ".join(list(map(str, value))[:8]) or "none"
        raise UserError(
            f"{place}: expected the key {key!r}, received {keys}; `text_feature` names the key"
        )
    text = value[key]
    if not isinstance(text, str):
        raise UserError(f"{place}: expected text under {key!r}, received {type(text).__name__}")
    if texts.first_surrogate(text) is not None:
        raise UserError(f"{place}: expected Unicode text under {key!r}, received a surrogate")
    return text


def _shown(line: bytes) -> str:
    return repr(line[:40].decode("utf-8", "replace"))
