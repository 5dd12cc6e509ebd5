"""Distribution of a model's loss: by character class, by line, by probability.

Knows a reading (`likelihood.Reading`) and the texts of its tokens, but no model. The loss of a
token is spread evenly over its characters; the loss of a token that completes no character is added
to the next one that does, and such a character counts as predicted if all of its tokens were.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shakespeare_gen.evaluation.likelihood import Reading

CLASSES = (
    "lower-case letter",
    "capital letter",
    "digit",
    "space",
    "line end",
    "punctuation",
    "other",
)
MIN_LINE_CHARS, SHOWN_LINE_CHARS = 20, 200


def class_of(character: str) -> str:
    """One of `CLASSES`."""
    if character == "\n":
        return "line end"
    if character.isspace():
        return "space"
    if character.isdigit():
        return "digit"
    if character.isalpha():
        return "capital letter" if character.isupper() else "lower-case letter"
    return "punctuation" if character.isprintable() else "other"


def by_character(nats: np.ndarray, pieces: Sequence[str]) -> np.ndarray:
    """Converts the losses of tokens [N] to losses of the characters of `pieces`, their texts."""
    sums, sizes = _combined(np.add, np.asarray(nats, np.float64), pieces)
    return np.repeat(sums / sizes, sizes)


def _combined(
    operation: np.ufunc, values: np.ndarray, pieces: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Combines the values of the tokens of each character, or group of characters.

    Tokens at the end that complete no character are left out.

    Returns:
      the combined values [M], and the number of characters of each group [M].
    """
    sizes = np.array([len(piece) for piece in pieces], np.int64)
    ends = np.flatnonzero(sizes)  # the token that completes each group
    if not len(ends):
        return values[:0], sizes[:0]
    starts = np.concatenate([[0], ends[:-1] + 1])
    return operation.reduceat(values[: ends[-1] + 1], starts), sizes[ends]


def by_class(reading: Reading, pieces: Sequence[str]) -> list[dict]:
    """For each character class: its share of the text and of the loss, mean loss, accuracy."""
    text, nats = "".join(pieces), by_character(reading.nats, pieces)
    total = float(nats.sum()) or 1.0  # the loss may be 0
    names = {character: class_of(character) for character in set(text)}
    kinds = np.array([CLASSES.index(names[character]) for character in text])
    is_best = reading.candidate_ids[:, 0] == reading.ids
    is_hit = np.repeat(*_combined(np.logical_and, is_best, pieces))
    found = []
    for i, name in enumerate(CLASSES):
        chosen = kinds == i
        if chosen.any():
            found.append(
                {
                    "class": name,
                    "share_of_characters": float(chosen.mean()),
                    "share_of_loss": float(nats[chosen].sum()) / total,
                    "nats_per_character": float(nats[chosen].mean()),
                    "top_1_accuracy": float(is_hit[chosen].mean()),
                }
            )
    return found


def by_line(reading: Reading, pieces: Sequence[str], num_lines: int = 8) -> dict[str, list[dict]]:
    """The `hardest` and `easiest` lines of at least 20 characters, including the line end.

    `begin` is the position of the first character that is shown. Lines are cut to 200 characters;
    of equal lines, only the first one counts.
    """
    text, losses = "".join(pieces), by_character(reading.nats, pieces)
    found: dict[str, dict[str, Any]] = {}
    begin = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        end = begin + len(line)
        if len(line.strip()) >= MIN_LINE_CHARS:
            shown = line.strip()[:SHOWN_LINE_CHARS]
            row = {
                "line": number,
                "begin": begin + len(line) - len(line.lstrip()),
                "text": shown,
                "nats_per_character": float(losses[begin:end].mean()),
            }
            found.setdefault(shown, row)
        begin = end
    rows = sorted(found.values(), key=lambda row: row["nats_per_character"])
    return {"hardest": rows[: -num_lines - 1 : -1], "easiest": rows[:num_lines]}


def calibration(reading: Reading, num_bins: int = 20) -> list[dict]:
    """Observed frequency of tokens by predicted probability, in bins.

    Computed over the most likely tokens at each position. A model is calibrated if `probability`
    and `frequency` agree.
    """
    p = np.exp(-reading.candidate_nats).ravel()
    hits = (reading.candidate_ids == reading.ids[:, None]).ravel()
    bins = np.minimum((p * num_bins).astype(int), num_bins - 1)
    return [
        {
            "probability": float(p[bins == i].mean()),
            "frequency": float(hits[bins == i].mean()),
            "count": int((bins == i).sum()),
        }
        for i in range(num_bins)
        if (bins == i).any()
    ]


def calibration_error(rows: list[dict]) -> float:
    """Mean absolute difference of probability and frequency, weighted by counts."""
    counts = np.array([row["count"] for row in rows])
    gaps = np.array([abs(row["probability"] - row["frequency"]) for row in rows])
    return float(gaps @ counts / counts.sum())
