"""Excerpts of texts as runs of characters with a style: by loss, by the output of a unit.

The page writes each run as one element, so that an excerpt of a thousand characters is small. Knows
nothing about markup.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from shakespeare_gen.evaluation import breakdown, neurons
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.report import heat

MAX_STRENGTH = 4
SHOWN_SPAN_CHARS = 600


@dataclasses.dataclass(frozen=True)
class Run:
    """Consecutive characters of one style, the name of a class of the page."""

    text: str
    style: str


def lines(reading: Reading, pieces: list[str], rows: Sequence[dict]) -> list[dict[str, Any]]:
    """Rows of `breakdown.by_line` with `runs`: their characters, styled by loss."""
    losses = bits_per_character(1) * breakdown.by_character(reading.nats, pieces)
    found = []
    for row in rows:
        bits = losses[row["begin"] : row["begin"] + len(row["text"])]
        found.append(
            {
                **row,
                "runs": _runs(
                    (c, f"h{heat.level(b)}") for c, b in zip(row["text"], bits, strict=True)
                ),
            }
        )
    return found


def unit(row: dict[str, Any], pieces: list[str], activations: np.ndarray) -> dict[str, Any]:
    """A row of `neurons.rank` with `runs`, and whether its property either holds or does not.

    The styles tell how far the output of the unit is from its mean (1 to 4), and to which side:
    `with` the property or `against` it; `holds` marks where the property holds. Line ends are
    visible, because some units track them.
    """
    pieces = pieces[: len(activations)]
    outputs = activations[:, row["unit"]] * np.sign(row["correlation"])
    outputs = outputs - outputs.mean()
    outputs = outputs / (np.abs(outputs).max() or 1)
    values = neurons.property_values(row["property"], pieces)
    is_flag = set(np.unique(values)) <= {0, 1}
    excerpt = range(row["begin"], min(row["begin"] + neurons.EXCERPT_TOKENS, len(pieces)))
    styled = [
        (
            pieces[i].replace("\n", "⏎\n"),
            _strength(outputs[i]) + " holds" * bool(is_flag and values[i]),
        )
        for i in excerpt
    ]
    return {**row, "runs": _runs(styled), "is_flag": is_flag}


def copied_spans(row: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """The longest copied span and its source: the text before, the span, the text after."""
    span = _shortened(row["longest_span"])
    places = {"text": row["around"], "source": row["around_in_training"]}
    return {name: (before, span, after) for name, (before, after) in places.items()}


def _shortened(span: str) -> str:
    left_out = len(span) - SHOWN_SPAN_CHARS
    if left_out <= 0:
        return span
    half = SHOWN_SPAN_CHARS // 2
    return f"{span[:half]} […{left_out:,} more characters…] {span[-half:]}"


def _runs(styled: Iterable[tuple[str, str]]) -> list[Run]:
    """Joins neighbours of the same style."""
    groups = itertools.groupby(styled, key=lambda pair: pair[1])
    return [Run("".join(text for text, _ in group), style) for style, group in groups]


def _strength(output: float) -> str:
    strength = round(abs(float(output)) * MAX_STRENGTH)
    return f"{'with' if output > 0 else 'against'}{strength}" if strength else ""
