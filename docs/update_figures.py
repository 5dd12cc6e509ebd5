"""Draws the pictures of the pages in docs/figures.

    python -m docs.update_figures                  # all of them, about a minute
    python -m docs.update_figures samplers.png     # one

Diagrams are drawn; the rest is computed with the pretrained model and fixed seeds.
"""

import pathlib
import sys
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import shakespeare_gen
from shakespeare_gen import pretrained, runs
from shakespeare_gen.generation import Generator
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.runs import checkpoints

FOLDER = pathlib.Path(__file__).parent / "figures"
MODEL = pretrained.PREFIX + "tiny-shakespeare"
BLUE, ORANGE, GRAY, PALE = "#1f5a9e", "#b4531a", "#5f594f", "#dce7f3"
LINE = "ROMEO:\nBut, soft! what light through yonder window breaks?\n"
PROMPT = "ROMEO:\nThe night is mother of the morning, and the mo"
# What is drawn of the distribution after PROMPT, and how.
SAMPLERS = {
    "temperature=1": {"temperature": 1.0},
    "temperature=0.5": {"temperature": 0.5},
    "temperature=1.5": {"temperature": 1.5},
    "top_k=3": {"temperature": 1.0, "top_k": 3},
    "top_p=0.8": {"temperature": 1.0, "top_p": 0.8},
    "min_p=0.1": {"temperature": 1.0, "min_p": 0.1},
    "typical_p=0.5": {"temperature": 1.0, "typical_p": 0.5},
    "mirostat_tau=1.5": {"temperature": 1.0, "mirostat_tau": 1.5},
    "repetition_penalty=2": {"temperature": 1.0, "repetition_penalty": 2.0},
    "frequency_penalty=0.5": {"temperature": 1.0, "frequency_penalty": 0.5},
    "presence_penalty=1": {"temperature": 1.0, "presence_penalty": 1.0},
    "no_repeat_ngram=4": {"temperature": 1.0, "no_repeat_ngram": 4},
}
NUM_SHOWN = 10  # tokens of a distribution
NUM_TEXTS, NUM_STEPS = 32, 64  # of the gradients


def unrolled() -> Figure:
    """A recurrent network, one column per character."""
    figure, axes = _canvas(9, 4.6)
    for t, (read, predicted) in enumerate(zip("ROME", "OMEO", strict=True)):
        x = 1.5 + 2.1 * t
        _box(axes, (x, 0.6), f"“{read}”", "white", GRAY)
        _box(axes, (x, 1.7), "embedding\n[B, D]")
        _box(axes, (x, 2.8), f"cell\n$h_{t + 1}$ [B, U]", PALE)
        _box(axes, (x, 3.9), "logits\n[B, V]")
        _box(axes, (x, 5.0), f"“{predicted}”?", "white", GRAY)
        for y in (0.6, 1.7, 2.8, 3.9):
            _arrow(axes, (x, y + 0.28), (x, y + 0.86))
        _arrow(axes, (x - 1.6, 2.8), (x - 0.4, 2.8), BLUE)
    _arrow(axes, (8.3, 2.8), (9.2, 2.8), BLUE)
    axes.text(0.1, 2.8, "$h_0$", va="center", ha="right", color=BLUE)
    axes.text(9.25, 2.8, "carried\non", va="center", color=BLUE, fontsize=9)
    axes.set(xlim=(-0.3, 10), ylim=(0.1, 5.5))
    return figure


def through_time() -> Figure:
    """Where the gradient of one loss flows."""
    figure, axes = _canvas(9, 2.9)
    for t in range(4):
        x = 1.3 + 2.2 * t
        _box(axes, (x, 1), f"cell, $h_{t + 1}$", PALE)
        _box(axes, (x, 2.3), "loss" if t == 3 else "", "white" if t == 3 else "none", GRAY)
        _arrow(axes, (x, 0.2), (x, 0.8))
        if t:
            _arrow(axes, (x - 1.8, 1.12), (x - 0.4, 1.12), BLUE)
            _arrow(axes, (x - 0.4, 0.88), (x - 1.8, 0.88), ORANGE)
            axes.text(x - 1.1, 0.45, f"$J_{t + 1}$", ha="center", color=ORANGE)
    _arrow(axes, (7.8, 1.2), (7.8, 2.1), BLUE)
    _arrow(axes, (8.0, 2.1), (8.0, 1.2), ORANGE)
    axes.text(3.3, 2.3, "forward: states", color=BLUE, ha="center")
    axes.text(3.3, 1.85, "backward: products of Jacobians", color=ORANGE, ha="center")
    axes.set(xlim=(0.3, 9), ylim=(0, 2.8))
    return figure


def lstm() -> Figure:
    """The gates of an LSTM cell."""
    figure, axes = _canvas(9, 4.2)
    _arrow(axes, (0.4, 4), (9.6, 4), BLUE)
    axes.text(0.3, 4, "$c_{t-1}$", ha="right", va="center", color=BLUE)
    axes.text(9.7, 4, "$c_t$", va="center", color=BLUE)
    for x, sign in ((2, "×"), (5, "+")):
        _circle(axes, (x, 4), sign)
    _circle(axes, (5, 2.9), "×")
    _circle(axes, (8, 1.6), "×")
    for x, name, what in (
        (2, "forget gate\n$f=\\sigma$", "what to keep"),
        (4, "input gate\n$i=\\sigma$", "what to write"),
        (6, "candidate\n$g=\\tanh$", "the new content"),
        (8, "output gate\n$o=\\sigma$", "what to show"),
    ):
        _box(axes, (x, 0.6), name, PALE)
        axes.text(x, -0.05, what, ha="center", va="top", fontsize=9, color=GRAY)
    for begin, end in (
        ((2, 0.95), (2, 3.78)),
        ((4, 0.95), (4.83, 2.76)),
        ((6, 0.95), (5.17, 2.76)),
        ((5, 3.12), (5, 3.78)),
        ((8, 0.95), (8, 1.38)),
    ):
        _arrow(axes, begin, end)
    _arrow(axes, (8, 4), (8, 1.82), BLUE)
    axes.text(8.15, 2.9, "tanh", color=BLUE, fontsize=9)
    _arrow(axes, (8.25, 1.6), (9.6, 1.6), BLUE)
    axes.text(9.7, 1.6, "$h_t$", va="center", color=BLUE)
    axes.text(5, -0.75, "each reads $[x_t, h_{t-1}]$", ha="center", color=GRAY)
    axes.set(xlim=(-0.4, 10.2), ylim=(-1, 4.5))
    return figure


def gates() -> Figure:
    """The forget gates of the pretrained model over a line."""
    values = _generator().gates(LINE)["lstm_1/forget"]
    chosen = np.argsort(values.std(0))[-24:][::-1]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values[:, chosen].T, aspect="auto", cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(LINE)), [_shown(c) for c in LINE], family="monospace")
    axes.tick_params(length=0)
    axes.set(ylabel="24 units that change most", yticks=[])
    figure.colorbar(image, label="forget gate")
    return figure


def gradients() -> Figure:
    """How far the loss of a token reaches back, by the state and the cell."""
    from shakespeare_gen.evaluation import gradient_flow  # imports TensorFlow

    generator = _generator()
    found = generator.generate(LINE, num_samples=NUM_TEXTS, length=NUM_STEPS + 1, seed=0)
    ids = np.stack([generator.tokenizer.encode(result.text)[-NUM_STEPS - 1 :] for result in found])
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    ((h, c),) = gradient_flow.norms(_in_tensorflow(), ids)
    for label, norms, color in (
        ("by the cell $c$", c, BLUE),
        ("by the output $h$", h, "#84b6f2"),
    ):
        axes.plot(np.median(norms, 0) / np.median(norms[:, 0]), label=label, color=color)
    axes.set(
        yscale="log", xlabel="tokens back", ylabel="gradient norm,\nrelative to the last token"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _in_tensorflow() -> LanguageModel:
    run = runs.open_run(MODEL)
    return checkpoints.load_model(run, checkpoints.read(run))


def samplers() -> Figure:
    """One distribution under every way of choosing."""
    generator = _generator()
    plain = generator.next_probabilities(PROMPT, temperature=1.0)
    shown = np.argsort(plain)[::-1][:NUM_SHOWN]
    labels = [_shown(generator.tokenizer.decode([i])) for i in shown]
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    for panel, (name, options) in zip(figure.subplots(3, 4).flat, SAMPLERS.items(), strict=True):
        found = generator.next_probabilities(PROMPT, **options)
        panel.bar(range(NUM_SHOWN), plain[shown], color="none", edgecolor=GRAY, linewidth=0.8)
        panel.bar(range(NUM_SHOWN), found[shown], color=BLUE, alpha=0.75)
        panel.set_xticks(range(NUM_SHOWN), labels, family="monospace")
        panel.set(ylim=(0, 0.6), title=name)
        panel.title.set_fontsize("medium")
        panel.title.set_family("monospace")
        panel.spines[["top", "right"]].set_visible(False)
    figure.supylabel("probability")
    return figure


def _generator() -> Generator:
    return shakespeare_gen.load_generator(MODEL)


def _shown(character: str) -> str:
    return {"\n": "⏎", " ": "␣"}.get(character, character)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    return figure, axes


def _box(
    axes: Axes, at: tuple[float, float], text: str, fill: str = "white", edge: str = BLUE
) -> None:
    if fill != "none":
        style = {"boxstyle": "round,pad=0.35", "facecolor": fill, "edgecolor": edge}
        axes.text(*at, text, ha="center", va="center", fontsize=9, bbox=style, zorder=3)


def _circle(axes: Axes, at: tuple[float, float], text: str) -> None:
    style = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": ORANGE}
    axes.text(*at, text, ha="center", va="center", fontsize=11, bbox=style, zorder=3)


def _arrow(
    axes: Axes, begin: tuple[float, float], end: tuple[float, float], color: str = GRAY
) -> None:
    axes.annotate("", end, begin, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.3})


FIGURES: dict[str, Callable[[], Figure]] = {
    "unrolled.png": unrolled,
    "through_time.png": through_time,
    "lstm.png": lstm,
    "gates.png": gates,
    "gradients.png": gradients,
    "samplers.png": samplers,
}


def main(names: list[str]) -> None:
    """Draws the named figures, or all."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or FIGURES:
        FIGURES[name]().savefig(FOLDER / name, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(sys.argv[1:])
