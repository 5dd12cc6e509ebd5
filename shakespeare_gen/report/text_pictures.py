"""Pictures of what a model does at each token: maps below a text, colored text, and bars.

    text_pictures.map_of(pieces, {"forget gate": values})       # rows [U, N] above their text
    text_pictures.colored(pieces, values)                       # a text on a colored ground
    text_pictures.bars(labels, {"before": p, "after": q})       # distributions

Drawn with matplotlib for the notebooks and the documentation. Knows no models. Shapes: N tokens,
U rows of a map, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shakespeare_gen.report import figures

BEFORE, AFTER = "#c9c9c9", "#2f6db3"
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥"}


def visible(piece: str) -> str:
    """A token as a label: blanks and line ends are visible."""
    return figures.text("".join(_VISIBLE.get(character, character) for character in piece))


def map_of(
    pieces: Sequence[str],
    maps: Mapping[str, np.ndarray],
    limits: tuple[float, float] = (0.0, 1.0),
    colors: str = "viridis",
) -> Any:
    """One panel per map, one column per token, with the tokens below.

    Args:
      maps: by title, each [U, N].
      limits: the values of the first and the last color.
    """
    heights = [max(len(values), 2) for values in maps.values()]
    total = sum(max(0.11 * height, 1.2) for height in heights)
    figure = figures.empty(max(0.17 * len(pieces) + 1.4, 5), total + 0.4 * len(maps) + 0.3)
    panels = figure.subplots(len(maps), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (title, values) in zip(panels, maps.items(), strict=True):
        low, high = limits
        image = panel.imshow(values, aspect="auto", cmap=colors, vmin=low, vmax=high)
        panel.set_title(figures.text(title), fontsize=10, loc="left")
        panel.set_xticks(range(len(pieces)), [visible(piece) for piece in pieces])
        panel.tick_params(axis="x", labelfontfamily="monospace", labelsize=9, length=0)
        panel.set_yticks([])
    figure.colorbar(image, ax=panels, fraction=0.02, pad=0.01)
    return figure


def colored(
    pieces: Sequence[str],
    values: np.ndarray,
    title: str = "",
    limits: tuple[float, float] | None = None,
    line_chars: int = 72,
) -> Any:
    """A text whose ground shows a value for each token: blue low, white middle, red high.

    Args:
      values: [N].
      limits: the values of the first and the last color; None: symmetrical around 0.
      line_chars: longer lines are broken.
    """
    from matplotlib import cm, colors, patches

    low, high = limits or (-float(np.abs(values).max()), float(np.abs(values).max()))
    mapped = cm.ScalarMappable(colors.Normalize(low, high), "RdBu_r")
    places, num_lines = _places(pieces, line_chars)
    figure = figures.empty(0.105 * line_chars + 0.9, 0.23 * num_lines + 0.45)
    panel = figure.subplots()
    panel.set(xlim=(0, line_chars), ylim=(num_lines, 0))
    panel.set_axis_off()
    panel.set_title(figures.text(title), fontsize=10, loc="left")
    every_color = mapped.to_rgba(np.asarray(values, float))
    for piece, color, (line, column) in zip(pieces, every_color, places, strict=True):
        panel.add_patch(patches.Rectangle((column, line), len(piece), 1, fc=color, ec="none"))
        ink = "white" if sum(color[:3]) < 1.3 else "black"
        shown = visible(piece) if piece == "\n" else figures.text(piece)
        place = (column + len(piece) / 2, line + 0.5)
        panel.text(
            *place, shown, color=ink, fontsize=8, family="monospace", ha="center", va="center"
        )
    figure.colorbar(mapped, ax=panel, fraction=0.02, pad=0.01)
    return figure


def _places(pieces: Sequence[str], line_chars: int) -> tuple[list[tuple[int, int]], int]:
    """The line and the column of each token, and the number of lines."""
    found, line, column = [], 0, 0
    for piece in pieces:
        if column and column + len(piece) > line_chars:
            line, column = line + 1, 0
        found.append((line, column))
        column += len(piece)
        if piece.endswith("\n"):
            line, column = line + 1, 0
    return found, line + bool(column)


def bars(
    labels: Sequence[str],
    distributions: Mapping[str, np.ndarray],
    before: np.ndarray,
    num_shown: int = 16,
    columns: int = 3,
) -> Any:
    """One panel per distribution over tokens: bars, with those of `before` behind them in gray.

    Args:
      labels: the V tokens.
      distributions: by title, each [V].
      before: the distribution that all of them were made from, [V]; its likeliest tokens are shown.
    """
    first = np.argsort(-before, kind="stable")[:num_shown]
    num_rows = -(-len(distributions) // columns)
    figure = figures.empty(max(3.6 * columns, 6), 1.9 * num_rows)
    panels = figure.subplots(num_rows, columns, squeeze=False, sharey=True).ravel()
    for panel in panels[len(distributions) :]:
        panel.set_axis_off()
    for panel, (title, after) in zip(panels, distributions.items(), strict=False):
        places = np.arange(len(first))
        panel.bar(places, before[first], width=0.9, color=BEFORE)
        panel.bar(places, after[first], width=0.5, color=AFTER)
        panel.set_xticks(places, [visible(labels[i]) for i in first])
        panel.tick_params(axis="x", labelfontfamily="monospace", labelsize=8, length=0)
        panel.tick_params(axis="y", labelsize=7)
        panel.set_title(figures.text(title), fontsize=9, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    return figure
