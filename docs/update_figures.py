"""Draws the pictures of the pages in docs/figures.

    python -m docs.update_figures                  # all of them, about a minute
    python -m docs.update_figures samplers.png     # one

Diagrams are those of the notebooks; the rest is computed with the pretrained model and fixed seeds.
"""

import pathlib
import sys
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

import shakespeare_gen
from shakespeare_gen import pretrained, runs
from shakespeare_gen.generation import Generator
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.report import diagrams
from shakespeare_gen.runs import checkpoints

FOLDER = pathlib.Path(__file__).parent / "figures"
MODEL = pretrained.PREFIX + "tiny-shakespeare"
BLUE, PALE, GRAY = "#1f5a9e", "#84b6f2", "#5f594f"
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
        ("by the output $h$", h, PALE),
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


FIGURES: dict[str, Callable[[], Figure]] = {
    "unrolled.png": lambda: diagrams.unrolled("ROMEO"),
    "shapes.png": lambda: diagrams.shapes(vocabulary_size=8, units=16),
    "through_time.png": lambda: diagrams.unrolled("ROMEO", gradients=True),
    "lstm.png": lambda: diagrams.cell("lstm"),
    "gru.png": lambda: diagrams.cell("gru"),
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
