"""Picture files of learning curves, drawn with matplotlib.

Knows rows of `metrics.jsonl`, but nothing about models.
"""

import io
from collections.abc import Sequence
from typing import Any

from shakespeare_gen.models.loss_units import bits_per_character


def learning_curves(runs: dict[str, list[dict]], formats: Sequence[str] = ("png",)) -> list[bytes]:
    """Plots training and validation loss by epoch for one or more runs, once per format."""
    figure, axes = _figure((7, 4))
    for number, (name, rows) in enumerate(runs.items()):
        for key, label, style in (
            ("loss", "training", "--"),
            ("validation_loss", "validation", "-"),
        ):
            points = [(row["epoch"], row[key]) for row in rows if key in row]
            if points:
                # matplotlib reads text between dollar signs as a formula.
                shown = name.replace("$", r"\$")
                label = label if len(runs) == 1 else f"{label}, {shown}"
                colour = f"C{number}" if len(runs) > 1 else None
                axes.plot(*zip(*points, strict=True), style, color=colour, marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="loss (nats per character)")
    _whole_numbers(axes.xaxis)
    axes.legend()
    _add_bits(axes)
    return [_saved(figure, kind) for kind in formats]


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes


def _whole_numbers(axis) -> None:
    import matplotlib.ticker

    axis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))


def _add_bits(axes) -> None:
    to_bits: Any = bits_per_character
    right = axes.secondary_yaxis("right", functions=(to_bits, lambda bits: bits / to_bits(1)))
    right.set_ylabel("bits per character")


def _saved(figure, kind: str) -> bytes:
    import matplotlib

    picture = io.BytesIO()
    # Text is stored as text, and equal figures give equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "shakespeare_gen"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(picture, format=kind, dpi=120, metadata=metadata)
    return picture.getvalue()
