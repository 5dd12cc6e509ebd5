"""Diagrams of recurrent networks, drawn with matplotlib for the notebooks and the documentation.

    diagrams.unrolled("hello").savefig("unrolled.svg")
    diagrams.unrolled("hello", gradients=True)   # the paths of the gradient
    diagrams.shapes(vocabulary_size=8, units=16) # the matrices of one step, to scale
    diagrams.cell("lstm")                        # simple_rnn, gru or lstm

Symbols: x input, h output of the cell, c memory of an LSTM, W, R and b the weights of the cell, O
and a those of the output, V vocabulary size, U units. Knows no models and no data.
"""

from collections.abc import Callable, Sequence
from typing import Any

from shakespeare_gen.errors import UsageError
from shakespeare_gen.report import figures

INK, FAINT = "#333333", "#9a9a9a"
INPUT, HIDDEN, OUTPUT, GATE, GRADIENT = "#dbe7f5", "#cfe8cf", "#f8e3c4", "#f3d3d8", "#c0392b"

Point = tuple[float, float]


class _Canvas:
    """A figure in which one unit is a third of an inch in both directions."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = figures.empty(width / 3, height / 3)
        self.figure.set_layout_engine("none")
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()

    def text(self, place: Point, text: str, color: str = INK, **style: Any) -> None:
        style = {"ha": "center", "va": "center", "fontsize": 10, **style}
        self.axes.text(*place, text, color=color, **style)

    def box(self, center: Point, size: Point, color: str, text: str = "", **style: Any) -> None:
        from matplotlib import patches

        corner = (center[0] - size[0] / 2, center[1] - size[1] / 2)
        box = patches.FancyBboxPatch(
            corner, *size, boxstyle="round,pad=0,rounding_size=0.15", fc=color, ec=INK, lw=0.8
        )
        self.axes.add_patch(box)
        self.text(center, text, **style)

    def circle(self, center: Point, text: str, color: str = "white") -> None:
        from matplotlib import patches

        self.axes.add_patch(patches.Circle(center, 0.42, fc=color, ec=INK, lw=0.8, zorder=3))
        self.text(center, text, fontsize=12, zorder=4)

    def arrow(self, begin: Point, end: Point, color: str = INK, **style: Any) -> None:
        properties = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, **style}
        self.axes.annotate("", end, begin, arrowprops=properties)

    def path(self, *points: Point, color: str = INK) -> None:
        """A line through points that ends in an arrow."""
        self.axes.plot(*zip(*points, strict=True), color=color, lw=1.1, zorder=1)
        self.arrow(points[-2], points[-1], color)


def unrolled(text: str, gradients: bool = False) -> Any:
    """The steps of a network that reads `text` and predicts each next character.

    Args:
      text: at least two characters, of which the last one is only predicted.
      gradients: draw the paths of the gradient of the last loss, backwards.
    """
    if len(text) < 2:
        raise UsageError(f"text: expected at least 2 characters, received {text!r}")
    gap = 4.0
    canvas = _Canvas(gap * len(text) + 1.2, 10.2)
    columns = [3.2 + gap * t for t in range(len(text) - 1)]
    canvas.text((0.1, 5), "h = 0", ha="left", color=FAINT)
    for t, x in enumerate(columns):
        canvas.box((x, 1.4), (1.5, 1.1), INPUT, _shown(text[t]), family="monospace", fontsize=13)
        canvas.box((x, 5), (1.9, 1.5), HIDDEN, f"h({t + 1})")
        canvas.box((x, 8.6), (1.5, 1.1), OUTPUT, _shown(text[t + 1]), family="monospace")
        before = columns[t - 1] + 0.95 if t else 1.55
        for begin, end, name, offset in (
            ((x, 1.95), (x, 4.25), "W", (0.4, 0)),
            ((before, 5), (x - 0.95, 5), "R", (0, 0.42)),
            ((x, 5.75), (x, 8.05), "O", (0.4, 0)),
        ):
            canvas.arrow(begin, end, FAINT if gradients else INK)
            middle = ((begin[0] + end[0]) / 2 + offset[0], (begin[1] + end[1]) / 2 + offset[1])
            canvas.text(middle, name, style="italic", color=FAINT if gradients else INK)
        if gradients:
            _draw_gradients(canvas, x, before, t, is_last=t == len(columns) - 1)
    last = columns[-1] + 1.3
    for y, label in ((1.4, "it reads"), (5, "it remembers"), (8.6, "it predicts")):
        canvas.text((last, y), label, ha="left", color=FAINT)
    return canvas.figure


def _draw_gradients(canvas: _Canvas, x: float, before: float, t: int, is_last: bool) -> None:
    """The gradient of the last loss, through every step before it."""
    style: dict[str, Any] = {"color": GRADIENT, "lw": 1.8}
    if is_last:
        canvas.arrow((x - 0.3, 8.05), (x - 0.3, 5.75), **style)
        canvas.text((x - 0.6, 6.9), "loss", color=GRADIENT, ha="right", fontsize=9)
    canvas.arrow((x - 0.3, 4.25), (x - 0.3, 1.95), **style)
    if t:
        canvas.arrow((x - 0.95, 4.7), (before, 4.7), **style)


def _shown(character: str) -> str:
    """A character that can be seen."""
    return figures.text({" ": "␣", "\n": "⏎"}.get(character, character))


def shapes(vocabulary_size: int, units: int) -> Any:
    """The vectors and matrices of one step as boxes to scale: a vector is a row."""
    v, u = vocabulary_size, units
    scale = 3.6 / max(v, u)
    rows = {
        "h' = tanh(x W + h R + b)": [
            ("", "x", 1, v),
            ("·", "W", v, u),
            ("+", "h", 1, u),
            ("·", "R", u, u),
            ("+", "b", 1, u),
            ("=", "h'", 1, u),
        ],
        "logits = h' O + a": [
            ("", "h'", 1, u),
            ("·", "O", u, v),
            ("+", "a", 1, v),
            ("=", "logits", 1, v),
        ],
    }
    canvas = _Canvas(max(sum(_width(part, scale) for part in row) for row in rows.values()), 13.6)
    for y, (title, parts) in zip((12.0, 5.6), rows.items(), strict=True):
        canvas.text((0.3, y + 0.9), title, ha="left", fontsize=11, weight="bold")
        x = 0.0
        for part in parts:
            sign, name, height, width = part
            size = (max(width * scale, 0.9), max(height * scale, 0.45))
            middle = x + _width(part, scale) / 2 + 0.2
            canvas.text((x + 0.3, y - 0.25), sign, fontsize=13)
            canvas.box((middle, y - size[1] / 2), size, _COLORS.get(name, "white"))
            label = f"{name} [{height}, {width}]"
            canvas.text((middle, y - size[1] - 0.4), label, fontsize=9)
            x += _width(part, scale)
    return canvas.figure


def _width(part: tuple[str, str, int, int], scale: float) -> float:
    """The space of a matrix and of its label."""
    return max(part[3] * scale + 1.0, 2.9)


_COLORS = {"x": INPUT, "h": HIDDEN, "h'": HIDDEN, "logits": OUTPUT}


def cell(name: str) -> Any:
    """One step of a recurrent cell: what is added, multiplied and squashed.

    Raises:
      UsageError: the cell is not one of `simple_rnn`, `gru` and `lstm`.
    """
    if name not in _CELLS:
        raise UsageError(f"cell: expected one of {', '.join(_CELLS)}, received {name!r}")
    title, draw = _CELLS[name]
    canvas = _Canvas(14.5, 8.8)
    canvas.text((0.2, 8.3), title, ha="left", fontsize=11, weight="bold")
    canvas.box((7.1, 4.9), (11.6, 5.6), "#f6f6f6")
    draw(canvas)
    return canvas.figure


def _ends(canvas: _Canvas, places: dict[str, Point], equations: Sequence[str]) -> None:
    """The names of the lines that enter and leave the cell, and its equations."""
    for name, place in places.items():
        canvas.text(place, name, fontsize=11)
    for number, equation in enumerate(equations):
        canvas.text((0.2, 1.2 - 0.75 * number), equation, ha="left", fontsize=9)


def _simple_rnn(canvas: _Canvas) -> None:
    canvas.path((0.7, 4.9), (7.6, 4.9))
    canvas.path((4.2, 1.9), (4.2, 4.48))
    canvas.box((8.6, 4.9), (2, 1), HIDDEN, "tanh")
    canvas.circle((4.2, 4.9), "+")
    canvas.path((9.6, 4.9), (13.8, 4.9))
    places = {"h": (0.4, 4.9), "h'": (14.1, 4.9), "x": (4.6, 1.8)}
    _ends(canvas, places, ["h' = tanh(x W + h R + b)"])


def _gru(canvas: _Canvas) -> None:
    canvas.path((0.7, 7.0), (13.8, 7.0))
    canvas.path((2.4, 7.0), (2.4, 2.6), (10.6, 2.6), (10.6, 3.2))
    canvas.path((3.2, 1.9), (3.2, 2.6), (4.4, 2.6), (4.4, 3.2))
    canvas.path((7.4, 2.6), (7.4, 3.2))
    canvas.box((4.4, 3.7), (1.5, 1), GATE, "z")
    canvas.box((7.4, 3.7), (2.6, 1), HIDDEN, "candidate")
    canvas.box((10.6, 3.7), (1.5, 1), GATE, "r")
    canvas.path((9.85, 3.7), (8.7, 3.7))
    canvas.path((4.4, 4.2), (4.4, 6.58))
    canvas.path((4.4, 5.5), (6.98, 5.5))
    canvas.path((7.4, 4.2), (7.4, 5.08))
    canvas.path((7.4, 5.92), (7.4, 6.58))
    canvas.text((5.7, 5.8), "1 - z", fontsize=9)
    canvas.circle((4.4, 7.0), "×")
    canvas.circle((7.4, 5.5), "×")
    canvas.circle((7.4, 7.0), "+")
    equations = [
        "z, r = sigmoid(x W + h R + b), each with its own weights",
        "h' = z h + (1 - z) tanh(x W + r (h R) + b)",
    ]
    _ends(canvas, {"h": (0.4, 7.0), "h'": (14.1, 7.0), "x": (3.6, 1.8)}, equations)


def _lstm(canvas: _Canvas) -> None:
    canvas.path((0.7, 7.0), (13.8, 7.0))
    canvas.path((0.7, 2.6), (9.6, 2.6), (9.6, 3.2))
    canvas.path((2.4, 1.9), (2.4, 2.6), (3.4, 2.6), (3.4, 3.2))
    canvas.path((5.6, 2.6), (5.6, 3.2))
    canvas.path((7.6, 2.6), (7.6, 3.2))
    for x, label in ((3.4, "f"), (5.6, "i"), (7.6, "g"), (9.6, "o")):
        canvas.box((x, 3.7), (1.4, 1), HIDDEN if label == "g" else GATE, label)
    canvas.path((3.4, 4.2), (3.4, 6.58))
    canvas.path((5.6, 4.2), (5.6, 5.4), (6.18, 5.4))
    canvas.path((7.6, 4.2), (7.6, 5.4), (7.02, 5.4))
    canvas.path((6.6, 5.82), (6.6, 6.58))
    canvas.path((11.4, 7.0), (11.4, 6.3))
    canvas.box((11.4, 5.9), (1.5, 0.8), HIDDEN, "tanh", fontsize=9)
    canvas.path((11.4, 5.5), (11.4, 5.02))
    canvas.path((9.6, 4.2), (9.6, 4.6), (10.98, 4.6))
    canvas.path((11.4, 4.18), (11.4, 2.6), (13.8, 2.6))
    for place, sign in (((3.4, 7), "×"), ((6.6, 5.4), "×"), ((6.6, 7), "+"), ((11.4, 4.6), "×")):
        canvas.circle(place, sign)
    places = {"c": (0.4, 7.0), "c'": (14.1, 7.0), "h": (0.4, 2.6), "h'": (14.1, 2.6)}
    equations = [
        "f, i, o = sigmoid(x W + h R + b), each with its own weights; g has tanh",
        "c' = f c + i g        h' = o tanh(c')",
    ]
    _ends(canvas, {**places, "x": (2.8, 1.8)}, equations)


_CELLS: dict[str, tuple[str, Callable[[_Canvas], None]]] = {
    "simple_rnn": ("Simple RNN: the state is computed anew at each step", _simple_rnn),
    "gru": ("GRU: a gate mixes the old state with a candidate", _gru),
    "lstm": ("LSTM: a memory c that is only scaled and added to", _lstm),
}
