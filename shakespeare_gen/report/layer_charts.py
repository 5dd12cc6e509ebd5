"""The geometry of the charts of a network's inside: gradients, updates and gates by layer.

Knows values by kind, layer and step, but nothing about models or markup.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from shakespeare_gen.report.charts import Chart, Line, Points, Scale, position, thinned, y_ticks
from shakespeare_gen.report.internals import LABELS

TITLES = {"gradient_norm": "Gradients", "update_to_weight_ratio": "Updates"}
MAX_RATIO = 1e4  # of the values on a logarithmic scale; the last update of a schedule is nearly 0
MAX_POINTS = 200  # per line
MAX_ROWS = 40


@dataclasses.dataclass(frozen=True)
class LayerChart:
    """A chart with one line per layer; its title says what is shown."""

    title: str
    chart: Chart


def of(internals: dict[str, dict[str, list[list[float]]]]) -> list[LayerChart]:
    """One chart per kind of values, and for gates one per gate.

    Args:
      internals: pairs of step and value by kind and name, such as `saturation`, `lstm_1/forget`.
    """
    found = []
    for kind, lines in internals.items():
        label, scale = LABELS[kind]
        for gate, by_layer in _by_gate(lines).items():
            title = f"{gate.capitalize()} gate" if gate else TITLES[kind]
            if chart := _chart(by_layer, label, scale == "log"):
                found.append(LayerChart(title, chart))
    return found


def _by_gate(lines: dict[str, list[list[float]]]) -> dict[str, dict[str, list[list[float]]]]:
    """The lines by gate and layer; the gate of values of whole layers is ""."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for name, points in lines.items():
        layer, _, gate = name.partition("/")
        found.setdefault(gate, {})[layer] = points
    return found


def _chart(by_layer: dict[str, list[list[float]]], label: str, is_log: bool) -> Chart | None:
    every = {layer: thinned(points, MAX_POINTS) for layer, points in by_layer.items()}
    highest = max((y for points in every.values() for _, y in points), default=0)
    lines = {
        layer: [(x, y) for x, y in points if not is_log or y > highest / MAX_RATIO]
        for layer, points in every.items()
    }
    lines = {layer: points for layer, points in lines.items() if points}
    if not lines:
        return None
    steps = [x for points in lines.values() for x, _ in points]
    x = Scale(min(steps), max(steps))
    y = _log_scale([y for points in lines.values() for _, y in points]) if is_log else Scale(0, 1)
    last = max(len(lines) - 1, 1)
    return Chart(
        "step",
        label,
        [(position(x.percent(tick)), f"{tick:,.0f}") for tick in _steps(x)],
        _decades(y) if is_log else y_ticks(y),
        [
            Line(layer, "layer", _places(points, x, y), shade=position(100 * i / last))
            for i, (layer, points) in enumerate(lines.items())
        ],
        ["step", *lines],
        _rows(lines),
    )


def _places(points: Points, x: Scale, y: Scale) -> str:
    return " ".join(f"{position(x.percent(a))},{position(100 - y.percent(b))}" for a, b in points)


def _log_scale(values: Sequence[float]) -> Scale:
    return Scale(min(values) / 1.3, max(values) * 1.3, is_log=True)


def _steps(scale: Scale) -> list[float]:
    return [tick for tick in scale.ticks() if tick == int(tick)] or [scale.low]


def _decades(scale: Scale) -> list[tuple[str, str]]:
    """Positions and labels of powers of ten, or of 1, 2, 5, 10, ... if they are few."""
    powers = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        values = [f * 10.0**k for k in powers for f in factors]
        shown = [value for value in values if scale.low <= value <= scale.high]
        if len(shown) >= 3:
            break
    return [(position(100 - scale.percent(value)), f"{value:g}") for value in shown]


def _rows(lines: Mapping[str, Points]) -> list[list[str]]:
    values = {layer: dict(points) for layer, points in lines.items()}
    steps: list[Any] = sorted({x for points in values.values() for x in points})
    return [
        [f"{step:,.0f}", *(_number(points.get(step)) for points in values.values())]
        for step in thinned(steps, MAX_ROWS)
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
