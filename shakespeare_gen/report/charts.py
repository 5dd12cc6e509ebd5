"""The geometry of the page's charts: lines, ticks and a table of the same values.

The page draws them as inline SVG in its own colors and fonts. Positions are percentages of the
plot, from the left and from the top. Knows lists of numbers, but nothing about models or markup.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.report import formatting

MAX_POINTS = 400  # per line; a run may have any number of epochs
MAX_ROWS = 40

Points = Sequence[tuple[float, float]]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
      style: a class of the page: `first`, `second`, `faint`, `reference` or `layer`.
      points: as in the attribute `points` of an SVG polyline.
      dots: the positions of the points to mark.
      shade: of a `layer`, its place between the colors of the first and the last one, in percent.
    """

    label: str
    style: str
    points: str
    dots: tuple[tuple[str, str], ...] = ()
    shade: str = ""


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart, and its values as a table.

    Attributes:
      x_ticks, y_ticks: positions in percent, and labels.
      header, rows: the table.
    """

    x_label: str
    y_label: str
    x_ticks: list[tuple[str, str]]
    y_ticks: list[tuple[str, str]]
    lines: list[Line]
    header: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Maps the values from `low` to `high` to percentages."""

    low: float
    high: float
    is_log: bool = False

    @classmethod
    def of(cls, values: Sequence[float]) -> "Scale":
        """A scale that holds all values, with some space at both ends."""
        low, high = min(values), max(values)
        space = 0.06 * (high - low) or max(abs(low) * 0.1, 0.1)
        return cls(max(low - space, 0), high + space)

    def percent(self, value: float) -> float:
        if self.is_log:
            value, low, high = math.log(value), math.log(self.low), math.log(self.high)
        else:
            low, high = self.low, self.high
        return 100 * (value - low) / (high - low) if high > low else 50.0

    def ticks(self, num: int = 5) -> list[float]:
        """Round values, about `num` of them."""
        if self.is_log:
            return [2.0**k for k in range(int(math.log2(self.high)) + 1) if 2**k >= self.low]
        if self.high <= self.low:
            return [self.low]
        step = _round_step((self.high - self.low) / num)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def training(rows: Sequence[dict[str, Any]]) -> Chart | None:
    """Training and validation loss by epoch; None without epochs."""
    if not rows:
        return None
    rows = thinned(rows, MAX_POINTS)
    lines = {
        name: [(row["epoch"], bits_per_character(row[key])) for row in rows if key in row]
        for name, key in (("training", "loss"), ("validation", "validation_loss"))
    }
    epochs = [row["epoch"] for row in rows]
    x, y = Scale(min(epochs), max(epochs)), _scale_of(*lines.values())
    names = ("loss", "validation_loss")
    return Chart(
        "epoch",
        "bits per character",
        _x_ticks(x, [t for t in x.ticks() if t == int(t)] or epochs[:1]),
        y_ticks(y),
        [
            _line(name, style, points, (x, y), has_dots=len(points) <= 30)
            for (name, points), style in zip(lines.items(), ("second", "first"), strict=True)
            if points
        ],
        ["epoch", "training", "validation"],
        [
            [f"{row['epoch']:,}", *(_bits(row.get(name)) for name in names)]
            for row in thinned(rows, MAX_ROWS)
        ],
    )


def loss_by_position(nats: Sequence[float]) -> Chart | None:
    """The loss of the first, second, ... token after a reset of the state; None without any."""
    if not len(nats):
        return None
    single = [(i, bits_per_character(value)) for i, value in enumerate(nats, 1)]
    means = _means(single)
    x, y = Scale(1, len(nats), is_log=True), _scale_of(single)
    return Chart(
        "token after the reset",
        "bits per token",
        _x_ticks(x, x.ticks()),
        y_ticks(y),
        [
            _line("each position", "faint", single, (x, y)),
            _line("mean over 1, 2, 4, … positions", "first", means, (x, y), has_dots=True),
        ],
        ["about position", "bits per token"],
        [[f"{position:g}", f"{bits:.3f}"] for position, bits in means],
    )


def calibration(rows: Sequence[dict[str, Any]]) -> Chart:
    """The observed frequency of tokens against their predicted probability."""
    scale = Scale(0, 1)
    points = [(row["probability"], row["frequency"]) for row in rows]
    ticks = [0, 0.25, 0.5, 0.75, 1]
    return Chart(
        "predicted probability",
        "observed frequency",
        [(position(100 * tick), f"{100 * tick:.0f} %") for tick in ticks],
        [(position(100 - 100 * tick), f"{100 * tick:.0f} %") for tick in ticks],
        [
            _line("perfect calibration", "reference", [(0, 0), (1, 1)], (scale, scale)),
            _line("this model", "first", points, (scale, scale), has_dots=True),
        ],
        ["predicted", "observed", "predictions"],
        [
            [formatting.percent(p), formatting.percent(f), f"{row['count']:,}"]
            for (p, f), row in zip(points, rows, strict=True)
        ],
    )


def _line(
    label: str, style: str, points: Points, scales: tuple[Scale, Scale], has_dots: bool = False
) -> Line:
    x, y = scales
    places = [(position(x.percent(a)), position(100 - y.percent(b))) for a, b in points]
    return Line(label, style, " ".join(map(",".join, places)), tuple(places) if has_dots else ())


def _scale_of(*lines: Points) -> Scale:
    return Scale.of([value for points in lines for _, value in points])


def _x_ticks(scale: Scale, values: Sequence[float]) -> list[tuple[str, str]]:
    return [(position(scale.percent(value)), f"{value:,.0f}") for value in values]


def y_ticks(scale: Scale) -> list[tuple[str, str]]:
    """The positions and labels of round values of a vertical scale."""
    values = scale.ticks()
    step = values[1] - values[0] if len(values) > 1 else 1
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(position(100 - scale.percent(v)), f"{v:,.{decimals}f}") for v in values]


def _round_step(step: float) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _means(points: Points) -> list[tuple[float, float]]:
    """Means over 1, 2, 4, ... points."""
    found, begin, size = [], 0, 1
    while begin < len(points):
        part = points[begin : begin + size]
        found.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
        begin, size = begin + size, begin + size
    return found


def thinned(rows: Sequence[T], num: int) -> list[T]:
    """At most `num` of the rows, evenly spaced, with the first and the last one."""
    if len(rows) <= num:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (num - 1))] for i in range(num)]


def _bits(nats: float | None) -> str:
    return "" if nats is None else f"{bits_per_character(nats):.3f}"


def position(percent: float) -> str:
    """A percentage as an attribute of the page."""
    return f"{percent:.2f}".rstrip("0").rstrip(".")
