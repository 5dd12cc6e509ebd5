"""What happened inside a network: gradients, updates and gates by layer; drawn with matplotlib.

Knows rows of `metrics.jsonl`, but nothing about models.
"""

from collections.abc import Sequence
from typing import Any

from shakespeare_gen.report import figures
from shakespeare_gen.runs import history

# The label of each kind of values, and the scale of its axis.
LABELS = {
    "gradient_norm": ("gradient norm before clipping", "log"),
    "update_to_weight_ratio": ("update norm / weight norm", "log"),
    "saturation": ("share of saturated gate values", "linear"),
}


def plot(name: str, steps: Sequence[dict[str, Any]]) -> bytes | None:
    """A PNG with one panel per kind of values and one line per layer; None without values."""
    panels = history.by_layer(steps)
    if not panels:
        return None
    figure = figures.empty(7, 1 + 2.6 * len(panels))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (kind, lines) in zip(axes, panels.items(), strict=True):
        _draw(panel, kind, lines)
    axes[0].set_title(figures.text(name))
    axes[-1].set_xlabel("step")
    return figures.saved(figure, "png")


def _draw(panel: Any, kind: str, lines: dict[str, list[tuple[int, float]]]) -> None:
    label, scale = LABELS[kind]
    for name, points in lines.items():
        panel.plot(
            *zip(*points, strict=True), linewidth=0.9, label=figures.text(name.replace("/", ", "))
        )
    panel.set_ylabel(label, fontsize="small")
    panel.set_yscale(scale)
    if scale == "linear":
        panel.set_ylim(0, 1)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="x-small", ncols=2)
