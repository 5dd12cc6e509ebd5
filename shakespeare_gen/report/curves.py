"""Learning curves: of one run, and of several side by side; drawn with matplotlib.

Knows rows of `metrics.jsonl` and groups of runs, but nothing about models.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.report import figures, internals
from shakespeare_gen.report.comparison import Group
from shakespeare_gen.runs import Run
from shakespeare_gen.system import storage

Rows = Sequence[dict[str, Any]]
STYLES = {"loss": ("training", "--"), "validation_loss": ("validation", "-")}
# The panels below the loss: the key of a row, its label, the scale of its axis.
STEP_PANELS = (
    ("gradient_norm", "gradient norm", "log"),
    ("update_to_weight_ratio", "update / weight norm", "log"),
    ("learning_rate", "learning rate", "linear"),
    ("characters_per_second", "characters/s", "linear"),
)


# While a run is trained: the losses of single steps, and those after epochs. Losses of the first
# part of an epoch, in which the loss falls most, do not determine the scale.
LIVE_STEPS: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.5}
LIVE_EPOCHS: dict[str, Any] = {"marker": "o"}
FIRST_STEPS = 0.25


def write(run: Run) -> None:
    """Writes the curves of a run into its folder."""
    picture = of_run(run.path.name, run.metrics(), run.step_metrics())
    storage.write(run.folder.loss_curve_path, picture)
    if by_layer := internals.plot(run.path.name, run.step_metrics()):
        storage.write(run.folder.internals_path, by_layer)


def of_run(name: str, epochs: Rows, steps: Rows) -> bytes:
    """Plots the losses of a run by epoch and, if there are rows of steps, their metrics; a PNG."""
    figure, axes = _panels(len(STEP_PANELS) if steps and epochs else 0)
    axes[0].set_title(figures.text(name))
    if epochs:
        per_epoch = epochs[-1]["step"] / epochs[-1]["epoch"]
        _plot_steps(axes, steps, per_epoch)
        for key, (label, style) in STYLES.items():
            points = [(row["epoch"], row[key]) for row in epochs if key in row]
            if points:
                axes[0].plot(*zip(*points, strict=True), style, color="C0", marker=".", label=label)
        axes[0].legend()
    axes[0].set(ylabel="loss (nats per character)")
    for lowest in axes[-2:] if len(axes) > 1 else axes:
        lowest.set_xlabel("epoch")
        _whole_numbers(lowest.xaxis)
    _add_bits(axes[0])
    return figures.saved(figure, "png")


class Curve(NamedTuple):
    """The rows of a run in training, and its steps per epoch."""

    name: str
    epochs: Rows
    steps: Rows
    steps_per_epoch: float


def live(title: str, found: Sequence[Curve]) -> bytes:
    """Plots the losses so far of runs in training, by epoch; a PNG."""
    figure, [axes] = _panels(0)
    axes.set_title(figures.text(title))
    heights = [
        height for number, curve in enumerate(found) for height in _live(axes, number, curve)
    ]
    if heights:
        axes.set_ylim(0.95 * min(heights), 1.05 * max(heights))
    for label, style in (("training, one step", LIVE_STEPS), ("validation", LIVE_EPOCHS)):
        axes.plot([], color="black" if len(found) > 1 else "C0", label=label, **style)
    for number, curve in enumerate(found if len(found) > 1 else ()):
        axes.plot([], color=f"C{number}", label=figures.text(curve.name))
    axes.legend(loc="upper right")
    axes.set(xlabel="epoch", ylabel="loss (nats per character)")
    _whole_numbers(axes.xaxis)
    _add_bits(axes)
    return figures.saved(figure, "png")


def _live(axes, number: int, curve: Curve) -> list[float]:
    """Plots a run; returns its losses but those of the first steps, which would hide the rest."""
    training = [(row["step"] / curve.steps_per_epoch, row["loss"]) for row in curve.steps]
    held_out = [(r["epoch"], r["validation_loss"]) for r in curve.epochs if "validation_loss" in r]
    for points, style in ((training, LIVE_STEPS), (held_out, LIVE_EPOCHS)):
        if points:
            axes.plot(*zip(*points, strict=True), color=f"C{number}", **style)
    return [loss for at, loss in (*training, *held_out) if at > FIRST_STEPS]


def of_runs(groups: Sequence[Group], formats: Sequence[str]) -> list[bytes]:
    """Plots the losses of several runs by the tokens seen, once per format.

    A curve of several seeds is their mean, in a band of one standard deviation.
    """
    figure, [axes] = _panels(0)
    for number, group in enumerate(groups):
        for key, (_, style) in STYLES.items():
            _plot_mean(axes, group, key, {"linestyle": style, "color": f"C{number}"})
        seeds = f" ({len(group.results)} seeds)" if len(group.results) > 1 else ""
        axes.plot([], color=f"C{number}", label=figures.text(group.name + seeds))
    for label, style in STYLES.values():
        axes.plot([], style, color="black", label=label)
    axes.set(xlabel="training tokens seen (millions)", ylabel="loss (nats per character)")
    num_runs = sum(len(group.results) for group in groups)
    axes.set_title(f"Learning curves of {num_runs} run{'s' * (num_runs > 1)}")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    _add_bits(axes)
    return [figures.saved(figure, kind) for kind in formats]


def _panels(num_small: int) -> tuple[Any, list[Any]]:
    """A figure with one large panel and, below it, `num_small` small ones in two columns."""
    num_rows = num_small // 2
    figure = figures.empty(7, 4.5 + 1.7 * num_rows)
    grid = figure.add_gridspec(1 + num_rows, 2, height_ratios=[4.5, *[1.7] * num_rows])
    large = figure.add_subplot(grid[0, :])
    axes = [large]
    for number in range(num_small):
        place = grid[1 + number // 2, number % 2]
        axes.append(figure.add_subplot(place, sharex=large))
    for panel in axes:
        panel.grid(alpha=0.3)
    return figure, axes


def _plot_steps(axes: Sequence[Any], steps: Rows, per_epoch: float) -> None:
    keys = [("loss", "training, one step", "linear"), *STEP_PANELS]
    for panel, (key, label, scale) in zip(axes, keys, strict=False):
        points = [(row["step"] / per_epoch, row[key]) for row in steps if key in row]
        if points:
            panel.plot(*zip(*points, strict=True), color="C1", linewidth=0.8, label=label)
        if panel is not axes[0]:
            panel.set_yscale(scale)
            panel.set_ylabel(label, fontsize="small")


def _plot_mean(axes, group: Group, key: str, look: dict[str, Any]) -> None:
    by_step: dict[int, list[float]] = {}
    for row in (row for result in group.results for row in result.rows if key in row):
        by_step.setdefault(row["step"], []).append(row[key])
    xs = np.array(sorted(by_step)) * group.results[0].tokens_per_step / 1e6
    values = [by_step[step] for step in sorted(by_step)]
    means = np.array([np.mean(v) for v in values])
    axes.plot(xs, means, marker=".", **look)
    deviations = np.array([np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values])
    if deviations.any():
        band = (means - deviations, means + deviations)
        axes.fill_between(xs, *band, color=look["color"], alpha=0.2, linewidth=0)


def _whole_numbers(axis) -> None:
    import matplotlib.ticker

    axis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))


def _add_bits(axes) -> None:
    """Adds an axis in bits on the right of a plot in nats."""
    to_bits: Any = bits_per_character
    right = axes.secondary_yaxis("right", functions=(to_bits, lambda bits: bits / to_bits(1)))
    right.set_ylabel("bits per character")
