"""Plots of the evaluation page, and what all plots share; drawn with matplotlib.

Knows lists of numbers, but nothing about models.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.system import logs

# In a plot of a page, this color is replaced by the text color of the page.
_INK = "#010203"


def loss_by_position(nats: Sequence[float]) -> str:
    """Plots the loss of the first, second, ... token after a state reset, as SVG for the page."""
    figure, axes = _figure((7, 3), _INK)
    axes.semilogx(range(1, len(nats) + 1), nats, color="C0", linewidth=0.7, alpha=0.6)
    axes.semilogx(*_smoothed(nats), color="C0", marker=".")
    axes.set(xlabel="token after the reset", ylabel="nats per token")
    axes.xaxis.set_major_formatter("{x:.0f}")
    add_bits(axes, "bits per token")
    return _in_ink(saved(figure, "svg", transparent=True))


def calibration(rows: Sequence[dict]) -> str:
    """Plots observed frequency against predicted probability, as SVG for the page."""
    figure, axes = _figure((4, 4), _INK)
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, alpha=0.5)
    axes.plot([r["probability"] for r in rows], [r["frequency"] for r in rows], marker="o")
    axes.set(xlabel="predicted probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    return _in_ink(saved(figure, "svg", transparent=True))


def _figure(size: tuple[float, float], ink: str = "black") -> tuple[Any, Any]:
    with logs.errors_only("matplotlib"):  # it reports its font cache
        import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    _paint(axes, ink)
    return figure, axes


def _paint(axes, ink: str) -> None:
    axes.tick_params(which="both", colors=ink)
    for part in (axes.xaxis.label, axes.yaxis.label, *axes.spines.values()):
        part.set_color(ink)


def add_bits(axes, label: str = "bits per character") -> None:
    """Adds an axis in bits on the right of a plot in nats."""
    to_bits: Any = bits_per_character
    right = axes.secondary_yaxis("right", functions=(to_bits, lambda bits: bits / to_bits(1)))
    right.set_ylabel(label)
    _paint(right, axes.yaxis.label.get_color())


def _smoothed(nats: Sequence[float]) -> tuple[list[float], list[float]]:
    """Means over 1, 2, 4, ... positions, each placed at the middle of its positions."""
    xs, ys, begin, size = [], [], 0, 1
    while begin < len(nats):
        part = nats[begin : begin + size]
        xs.append(begin + (len(part) + 1) / 2)
        ys.append(sum(part) / len(part))
        begin, size = begin + size, begin + size
    return xs, ys


def saved(figure, kind: str, transparent: bool = False) -> bytes:
    """A figure as a file of type `png` or `svg`."""
    import matplotlib

    picture = io.BytesIO()
    # Text is stored as text, and equal figures give equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "shakespeare_gen"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(picture, format=kind, dpi=120, metadata=metadata, transparent=transparent)
    return picture.getvalue()


def _in_ink(svg: bytes) -> str:
    """The SVG element without XML declaration, in the text color of the page."""
    text = re.sub(r"^.*?(?=<svg)", "", svg.decode("utf-8"), flags=re.DOTALL)
    return text.replace(_INK, "currentColor")
