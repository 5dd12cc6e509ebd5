"""The geometry of a study's charts: losses by trial, by option, and all options side by side.

Positions are percentages of the plot, as in `charts`. Knows trials as plain values, but no markup.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.report import outcome
from shakespeare_gen.report.charts import Chart, Line, Scale, position, y_ticks
from shakespeare_gen.report.outcome import Outcome, Trial

BITS = "bits per character"
SHARE_OF_BEST = 0.2  # of the trials, which the parallel coordinates emphasize
MAX_LOSS_RATIO = 1.5  # of the worst loss that is shown to the best one


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis of the parallel coordinates: its place, and the labels of values on it.

    Attributes:
      at: percent from the left.
      ticks: percent from the top, and labels.
    """

    label: str
    at: str
    ticks: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Parallel:
    """A chart of parallel coordinates, the best trial last."""

    axes: list[Axis]
    lines: list[Line]


class _Values:
    """Maps the values of an option to percentages; values without an order are spaced evenly."""

    def __init__(self, values: Sequence[Any], is_log: bool) -> None:
        self._numbers = all(_is_number(value) for value in values)
        self.names = [] if self._numbers else sorted(set(values), key=str)
        low, high = (min(values), max(values)) if self._numbers else (0, len(self.names) - 1)
        self._scale = Scale(low, high, is_log)
        self._ends = sorted({low, high}) if self._numbers else []

    def percent(self, value: Any) -> float:
        """From 4 to 96, so that dots do not lie on the border."""
        place = value if self._numbers else self.names.index(value)
        return 4 + 0.92 * self._scale.percent(place)

    def ticks(self) -> list[tuple[float, str]]:
        """The lowest and the highest value, or every name."""
        return [(self.percent(v), outcome.value(v)) for v in self.names or self._ends]


def history(found: Outcome) -> Chart | None:
    """The loss of each complete trial, and the best one so far; None without any."""
    trials = _shown(found.complete)
    if not trials:
        return None
    losses = [_bits(trial) for trial in trials]
    best = [min(losses[: i + 1]) for i in range(len(losses))]
    x, y = _Values(range(1, len(losses) + 1), False), Scale.of(losses)
    places = [x.percent(i) for i in range(1, len(losses) + 1)]
    return Chart(
        "complete trials",
        BITS,
        [(position(at), text) for at, text in x.ticks()],
        y_ticks(y),
        [
            _dots("trial", "first", zip(places, losses, strict=True), y),
            _steps("best so far", "second", zip(places, best, strict=True), y),
        ],
        ["trial", BITS],
        [[trial.name, outcome.loss(trial)] for trial in trials],
    )


def slices(found: Outcome) -> dict[str, Chart]:
    """The losses of complete trials by the value of each option."""
    trials = _shown(found.complete)
    return {name: _slice(found, trials, name) for name in found.options if trials}


def _slice(found: Outcome, trials: Sequence[Trial], name: str) -> Chart:
    x = _Values([trial.values[name] for trial in trials], name in found.log_options)
    y = Scale.of([_bits(trial) for trial in trials])
    points = [(x.percent(trial.values[name]), _bits(trial)) for trial in trials]
    best = [(x.percent(t.values[name]), _bits(t)) for t in trials if t is found.best]
    return Chart(
        name + (" (logarithmic)" if name in found.log_options else ""),
        BITS,
        [(position(at), text) for at, text in x.ticks()],
        y_ticks(y),
        [_dots("trial", "first", points, y), _dots("best", "second", best, y)],
        [name, BITS],
        [[outcome.value(trial.values[name]), outcome.loss(trial)] for trial in trials],
    )


def parallel(found: Outcome) -> Parallel | None:
    """All options and the loss of each complete trial, as a line; None with fewer than two."""
    trials = _shown(found.complete)
    if len(trials) < 2:
        return None
    ranked = sorted(trials, key=_bits, reverse=True)
    columns = {
        name: _Values([t.values[name] for t in ranked], name in found.log_options)
        for name in found.options
    }
    losses = _Values([_bits(trial) for trial in ranked], False)
    gap = 100 / len(columns)
    axes = [_axis(name, i * gap, values) for i, (name, values) in enumerate(columns.items())]
    num_best = max(1, round(SHARE_OF_BEST * len(ranked)))
    lines = []
    for i, trial in enumerate(ranked):
        heights = [values.percent(trial.values[name]) for name, values in columns.items()]
        heights.append(losses.percent(_bits(trial)))
        points = " ".join(f"{position(k * gap)},{position(100 - h)}" for k, h in enumerate(heights))
        is_best, rank = trial is found.best, len(ranked) - i
        style = "second" if is_best else "first" if rank <= num_best else "faint"
        lines.append(Line(f"{trial.name}: {outcome.loss(trial)}", style, points))
    return Parallel([*axes, _axis(BITS, 100, losses)], lines)


def _axis(label: str, at: float, values: _Values) -> Axis:
    ticks = [(position(100 - percent), text) for percent, text in values.ticks()]
    return Axis(label, position(at), ticks)


def _shown(trials: Sequence[Trial]) -> list[Trial]:
    """The trials without the worst ones, which would hide the differences between the others."""
    lowest = min((_bits(trial) for trial in trials), default=0.0)
    return [trial for trial in trials if _bits(trial) <= MAX_LOSS_RATIO * lowest]


def _bits(trial: Trial) -> float:
    assert trial.loss is not None
    return bits_per_character(trial.loss)


def _dots(label: str, style: str, points: Any, y: Scale) -> Line:
    places = tuple((position(at), position(100 - y.percent(loss))) for at, loss in points)
    return Line(label, style, "", places)


def _steps(label: str, style: str, points: Any, y: Scale) -> Line:
    """A line that falls where a value is lower than the one before it."""
    found: list[tuple[float, float]] = []
    for at, loss in points:
        height = 100 - y.percent(loss)
        found += [(at, found[-1][1])] if found else []
        found.append((at, height))
    return Line(label, style, " ".join(f"{position(a)},{position(b)}" for a, b in found))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
