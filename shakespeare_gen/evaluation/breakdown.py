"""Where a model's loss is: by kind of character, by line, by how sure it was.

Knows a reading (`likelihood.Reading`) and its text, and no network.
"""

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


def by_class(reading: Reading, text: str) -> list[dict]:
    """For each kind of character: its share of the text and of the loss, loss, accuracy."""
    total = float(reading.nats.sum()) or 1.0  # a text of one character costs nothing
    names = {character: class_of(character) for character in set(text)}
    kinds = np.array([CLASSES.index(names[character]) for character in text])
    right = reading.candidate_ids[:, 0] == reading.ids
    found = []
    for i, name in enumerate(CLASSES):
        chosen = kinds == i
        if chosen.any():
            found.append(
                {
                    "class": name,
                    "share_of_characters": float(chosen.mean()),
                    "share_of_loss": float(reading.nats[chosen].sum()) / total,
                    "nats_per_character": float(reading.nats[chosen].mean()),
                    "top_1_accuracy": float(right[chosen].mean()),
                }
            )
    return found


def by_line(reading: Reading, text: str, num_lines: int = 8) -> dict[str, list[dict]]:
    """The `hardest` and `easiest` lines of at least 20 characters, line end included.

    Of long lines the first 200 characters are kept to be shown.
    """
    found: list[dict[str, Any]] = []
    begin = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        end = begin + len(line)
        if len(line.strip()) >= MIN_LINE_CHARS:
            nats = float(reading.nats[begin:end].mean())
            shown = line.strip()[:SHOWN_LINE_CHARS]
            found.append({"line": number, "text": shown, "nats_per_character": nats})
        begin = end
    found.sort(key=lambda row: row["nats_per_character"])
    return {"hardest": found[: -num_lines - 1 : -1], "easiest": found[:num_lines]}


def calibration(reading: Reading, num_bins: int = 20) -> list[dict]:
    """How often a character came that was given a probability, bin by bin.

    Over the likeliest characters of each place. A model is calibrated where `probability` and
    `frequency` agree.
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
    """Mean distance between probability and frequency, by counts."""
    counts = np.array([row["count"] for row in rows])
    gaps = np.array([abs(row["probability"] - row["frequency"]) for row in rows])
    return float(gaps @ counts / counts.sum())
