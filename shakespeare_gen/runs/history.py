"""Records of training: rows of metrics and, in `samples.txt`, generated text.

A row with the key `epoch` describes an epoch, any other row a single step:

    {"step": 450, "loss": 1.93, "learning_rate": 0.004, "gradient_norm": 0.31, ...}
    {"epoch": 1, "step": 490, "loss": 2.21, "validation_loss": 1.87, ...}

A killed run may have recorded steps and epochs after its last checkpoint; they are removed when the
run is resumed. Knows nothing about models.

    === epoch 4, 812 bytes
    the sample, 812 bytes in UTF-8
    === step 2000, 805 bytes
    a sample within an epoch
"""

import json
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from absl import logging

from shakespeare_gen.system import storage

MAX_METRICS_BYTES = 64 << 20
# After so many rows of steps, and each time that the number of steps doubles, the interval between
# rows doubles: 2**31 steps give fewer than 200,000 rows, of 200 bytes each.
NUM_EVEN_ROWS = 20_000
MAX_SAMPLES_BYTES = 1 << 30
EPOCH_KEYS = (
    "epoch",
    "step",
    "loss",
    "loss_bits_per_character",
    "validation_loss",
    "validation_loss_bits_per_character",
    "learning_rate",
    "characters_per_second",
    "seconds",
)
STEP_KEYS = (
    "step",
    "loss",
    "smoothed_loss",
    "learning_rate",
    "gradient_norm",
    "update_to_weight_ratio",
    "characters_per_second",
)
# Left out if there is no value, such as the validation loss without a text, or the learning rate of
# a model that is counted.
OPTIONAL_EPOCH_KEYS = {"validation_loss", "validation_loss_bits_per_character", "learning_rate"}
OPTIONAL_STEP_KEYS = {
    "smoothed_loss",
    "gradient_norm",
    "update_to_weight_ratio",
    "characters_per_second",
}
# By layer, and by gate: `gradient_norm/lstm_1`, `saturation/lstm_1/forget`.
INTERNALS = ("gradient_norm", "update_to_weight_ratio", "saturation")
_INTERNAL_KEY = re.compile(rf"(?:{'|'.join(INTERNALS)})(?:/[a-z0-9_]{{1,60}}){{1,2}}")
COUNT_KEYS = {"epoch", "step", "characters_per_second"}
MAX_COUNT = 2**53  # larger numbers cannot be formatted as floats
# Format 1 did not store the number of bytes.
_HEADER = re.compile(rb"^=== (epoch|step) ([0-9]{1,9})(?:, ([0-9]{1,10}) bytes)?\n", re.MULTILINE)


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a file of metrics; skips a damaged line with a warning."""
    if not os.path.lexists(path):
        return []
    rows = []
    for line in storage.read_bytes(path, MAX_METRICS_BYTES).splitlines(keepends=True):
        try:
            rows.append(_checked_row(storage.parse_json(line), line))
        except ValueError as error:  # such as the last line of a killed run
            logging.warning("%s: skipping damaged line: %s", path, error)
    return rows


def by_layer(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Steps and values of rows of steps, by kind and name, such as `saturation`, `lstm_1/forget`.

    Kinds without values are left out.
    """
    found: dict[str, dict[str, list[tuple[int, float]]]] = {kind: {} for kind in INTERNALS}
    for row in rows:
        for key, value in row.items():
            kind, slash, name = key.partition("/")
            if slash:
                found[kind].setdefault(name, []).append((row["step"], value))
    return {kind: lines for kind, lines in found.items() if lines}


def metrics_record(row: dict[str, Any]) -> str:
    """The line of a row of metrics."""
    return json.dumps(row) + "\n"


def sample_record(number: int, text: str, unit: str = "epoch") -> str:
    """The record of a sample after epoch or step `number`; `unit` is `epoch` or `step`.

    The size in its header determines the end of the record, because the text may contain a line
    that looks like a header.
    """
    return f"=== {unit} {number}, {len(text.encode())} bytes\n{text}\n"


def read_samples(path: pathlib.Path, unit: str) -> list[tuple[int, str]]:
    """The numbers and texts of the samples of one unit, up to the first damaged record."""
    data, position, found = storage.read_bytes(path, MAX_SAMPLES_BYTES), 0, []
    while header := _HEADER.search(data, position):
        end = _end_of_record(data, header)
        if end is None:
            break
        if header[1] == unit.encode():
            text = data[header.end() : end - 1].decode("utf-8", "replace")
            found.append((int(header[2]), text))
        position = end
    return found


def size_of_samples(data: bytes, epoch: int, step: int) -> int:
    """The number of bytes of the samples up to the end of `epoch` and up to `step`."""
    position, last = 0, {b"epoch": epoch, b"step": step}
    while header := _HEADER.search(data, position):
        if int(header[2]) > last[header[1]]:
            return header.start()
        end = _end_of_record(data, header)
        if end is None:  # truncated when the process was killed
            return header.start()
        position = end
    return position


def _end_of_record(data: bytes, header: re.Match[bytes]) -> int | None:
    if header[3]:
        end = header.end() + int(header[3]) + 1
        return end if data[end - 1 : end] == b"\n" else None
    # Format 1: search for the header of the next epoch; a text may contain other headers.
    later = [h for h in _HEADER.finditer(data, header.end()) if int(h[2]) > int(header[2])]
    following = min(reversed(later), key=lambda h: int(h[2]), default=None)
    return following.start() if following else len(data)


def _checked_row(row: dict[str, Any], line: bytes) -> dict[str, Any]:
    every, optional = set(STEP_KEYS), OPTIONAL_STEP_KEYS
    if "epoch" in row:
        every, optional = set(EPOCH_KEYS), OPTIONAL_EPOCH_KEYS
    named = {key for key in row if "epoch" in row or not _INTERNAL_KEY.fullmatch(key)}
    if not line.endswith(b"\n") or not every - optional <= named <= every:
        raise ValueError(f"expected a row of metrics, found {line[:80]!r}")
    for key, value in row.items():
        is_count = type(value) is int and abs(value) <= MAX_COUNT
        if not is_count and (key in COUNT_KEYS or type(value) is not float):
            raise ValueError(f"expected {key} to be a number, found {str(value)[:80]!r}")
    return row
