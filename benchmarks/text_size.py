"""What a text's size asks for: loss by units, dropout and number of updates; TEXT_SIZE.md.

    python -m benchmarks.text_size                      # writes the page and its figures again
    python -m benchmarks.text_size --train=200k_dropout_0,20k       # trials, or `all`
    taskset -c 1 python -m benchmarks.text_size --train=all --max_minutes=40

Each text is a piece of tiny_shakespeare that ends where its validation text begins; all are scored
on the first `VALIDATION_CHARS` of that. A trial has the options that `auto_size` chooses for the
size, except one. Results are kept in `text_size.json`; trials that have one are not trained again,
and an interrupted one is resumed from `runs/text_size`. Never reads the test text.
"""

import dataclasses
import json
import pathlib
import time
from typing import Any

from absl import app, flags, logging
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import shakespeare_gen
from docs import update_recipes
from shakespeare_gen.data import corpora, token_store
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.evaluation import kneser_ney
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.runs import Run
from shakespeare_gen.training import sizing

REPOSITORY = pathlib.Path(__file__).parent.parent
RESULTS = REPOSITORY / "benchmarks" / "text_size.json"
PAGE = REPOSITORY / "benchmarks" / "TEXT_SIZE.md"
FIGURE = REPOSITORY / "benchmarks" / "text_size.png"
VALIDATION_CHARS = 25_000
# As in `flags/own_text.cfg`.
COMMON: dict[str, Any] = dict(
    auto_size=True,
    optimizer="adamw",
    weight_decay=0.1,
    schedule="cosine",
    min_count=2,
    sample_every_epochs=0,
    save_every_minutes=2.0,
)
# Characters of training text, and values of each option; what `auto_size` chooses is a trial
# of its own. Epochs of a megabyte are long: its other trials have `FEWER` of them.
SIZES = {"20k": 20_000, "60k": 60_000, "200k": 200_000, "1m": 1_000_000}
FEWER = {"1m": 3}
GRID: dict[str, dict[str, tuple]] = {
    "20k": dict(units=(64, 128, 768), dropout=(0.0, 0.4), epochs=(8, 15)),
    "200k": dict(units=(128, 256), dropout=(0.0, 0.3), epochs=(4, 7)),
    "60k": dict(units=(128,), dropout=(0.0, 0.4), epochs=(8, 15)),
    "1m": dict(epochs=(3,), units=(128, 256), dropout=(0.0, 0.2)),
}

COLORS = {"20k": "tab:red", "60k": "tab:orange", "200k": "tab:green", "1m": "tab:blue"}
LABELS = {"20k": "20 kB", "60k": "60 kB", "200k": "200 kB", "1m": "1 MB"}
TICKS = {"units": (64, 128, 256, 384, 512, 768), "epochs": (500, 1000, 2000, 5000, 10_000, 20_000)}
NATS = "validation, nats per character"
COLUMNS = (
    *("change", "units", "dropout", "epochs", "parameters", "updates to the best"),
    *("training at the end", "validation"),
)
_INTRODUCTION = f"""# Text size

What a text's size asks for: `python -m benchmarks.text_size`. Each text is a piece of
tiny_shakespeare that ends where its validation text begins; all are scored on the first
{VALIDATION_CHARS:,} characters of that, frozen, in nats per character. A trial has the options that
`auto_size` chooses, except the change in its row; early stopping ended some trials before the end.
One seed; two seeds differ by about 0.01. Trained on one core in bfloat16 (Intel Xeon,
AVX512-BF16), which other programs shared. The test text was never read. [Choosing a size for a
text](../docs/text_size.md) says what follows.
"""

_TRAIN = flags.DEFINE_list("train", [], "names of trials to train; `all`: those without a result")
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs/text_size", "folder of the runs")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "TFDS data folder; empty: the TFDS default")
_MAX_MINUTES = flags.DEFINE_float("max_minutes", 60.0, "no trial starts after this time")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training: a size, and the options that differ from the choice of `auto_size`."""

    size: str
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return "_".join([self.size, *(f"{name}_{value:g}" for name, value in self.changes)])


def trials() -> list[Trial]:
    """All trials, in the order of training: the longest comes last."""
    found = []
    for size, values in GRID.items():
        fewer = (("epochs", FEWER[size]),) if size in FEWER else ()
        found += [Trial(size)] * (not fewer)
        for option, choices in values.items():
            base = fewer if option != "epochs" else ()
            found += [Trial(size, (*base, (option, value))) for value in choices]
    return [*found, *map(Trial, FEWER)]


def texts() -> dict[str, str]:
    """The training text of each size, followed by the validation text."""
    corpus = corpora.load(CorpusOptions(data_dir=_DATA_DIR.value))
    held_out = corpus.validation[:VALIDATION_CHARS]
    return {size: corpus.train[-chars:] + held_out for size, chars in SIZES.items()}


def train(trial: Trial, text: str) -> dict[str, Any]:
    """Trains or resumes a trial and returns its result."""
    folder = pathlib.Path(_RUNS_DIR.value) / trial.name
    start = {"resume": True} if any(folder.glob("checkpoints/*")) else {"overwrite": True}
    options = {} if "resume" in start else options_of(trial)
    run = shakespeare_gen.train_model(text=text, run_dir=str(folder), **options, **start)
    result = result_of(run)
    if not trial.changes:
        result["n_grams"] = n_grams(text, run.spec.tokenizer)
    return result


def options_of(trial: Trial) -> dict[str, Any]:
    chars = SIZES[trial.size]
    fraction = (VALIDATION_CHARS + 0.5) / (chars + VALIDATION_CHARS)  # rounded down to characters
    return COMMON | dict(trial.changes) | {"validation_fraction": fraction, "test_fraction": 0.0}


def result_of(run: Run) -> dict[str, Any]:
    card = run.folder.card()
    rows = [[row["step"], row["loss"], row["validation_loss"]] for row in card["epochs"]]
    return {
        "validation": card["losses"]["validation"],
        "epochs": [[step, round(train, 4), round(held_out, 4)] for step, train, held_out in rows],
        "options": {name: run.spec.options.by_name()[name] for name in sizing.SIZES[float("inf")]},
        "parameters": card["num_parameters"],
        "minutes": round(update_recipes.minutes(card), 2),
        "hardware": f"{card['hardware']['processor']}, {card['precision']}",
    }


def n_grams(text: str, tokenizer: Tokenizer) -> float:
    """The validation loss of Kneser-Ney n-grams of a training text."""
    train, held_out = (
        token_store.TokenizedText.of(part, tokenizer, "skip", name)
        for name, part in (
            ("train", text[:-VALIDATION_CHARS]),
            ("validation", text[-VALIDATION_CHARS:]),
        )
    )
    return kneser_ney.baseline(train, held_out, tokenizer).nats


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"expected flags only, received {argv[1]!r}")
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    if _TRAIN.value:
        train_missing(results)
    draw(results)
    PAGE.write_text(page(results), "utf-8")


def train_missing(results: dict[str, Any]) -> None:
    """Trains what was asked for and has no result; keeps each result as soon as it is there."""
    begin, text_by_size = time.monotonic(), texts()
    for trial in trials():
        is_asked = "all" in _TRAIN.value or trial.name in _TRAIN.value
        if not is_asked or trial.name in results:
            continue
        if time.monotonic() - begin > 60 * _MAX_MINUTES.value:
            logging.info("%s: not trained, because the time is over", trial.name)
            continue
        results[trial.name] = train(trial, text_by_size[trial.size])
        RESULTS.write_text(to_json(results), "utf-8")


def to_json(results: dict[str, Any]) -> str:
    """The results with one trial per line."""
    lines = [f"{json.dumps(name)}: {json.dumps(results[name])}" for name in sorted(results)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def draw(results: dict[str, Any]) -> None:
    """The figure: the loss by units, dropout and updates, and how a small text is overfitted."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    panels = figure.subplots(2, 2)
    for panel, option in zip(panels.flat, ("units", "dropout", "epochs"), strict=False):
        for size, color in COLORS.items():
            if line := _line(results, size, option):
                _draw_line(panel, line, size, color)
        panel.set(xlabel="updates" if option == "epochs" else option, ylabel=NATS)
        if option != "dropout":
            panel.set_xscale("log")
            panel.set_xticks(TICKS[option], [f"{tick:,}" for tick in TICKS[option]])
            panel.set_xticks([], minor=True)
    _draw_overfitting(panels[1, 1], results)
    shown = [size for size in COLORS if any(name.split("_")[0] == size for name in results)]
    handles = [Line2D([], [], color=COLORS[size], label=LABELS[size]) for size in shown]
    handles += [Line2D([], [], marker="o", mfc="none", color="black", ls="", label="auto_size")]
    handles += [Line2D([], [], ls=":", color="black", label="Kneser-Ney n-grams")]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    figure.savefig(FIGURE, dpi=110, metadata={"Software": None})


@dataclasses.dataclass(frozen=True)
class _Series:
    """Trials of a size that differ in one option: pairs of its value and the loss.

    Attributes:
      chosen: the point of what `auto_size` chooses, or of its choice with `FEWER` epochs.
      n_grams: the loss of n-grams; None: not measured.
    """

    points: list[tuple[float, float]]
    chosen: tuple[float, float]
    n_grams: float | None


def _line(results: dict[str, Any], size: str, option: str) -> _Series | None:
    fewer = (("epochs", FEWER[size]),) if size in FEWER and option != "epochs" else ()
    base = results.get(Trial(size, fewer).name)
    if not base:
        return None
    values = GRID[size].get(option, ())
    trials = [results.get(Trial(size, (*fewer, (option, value))).name) for value in values]
    points = sorted(_point(found, option) for found in [base, *filter(None, trials)])
    n_grams = results.get(size, {}).get("n_grams")
    return _Series(points, _point(base, option), n_grams)


def _point(result: dict[str, Any], option: str) -> tuple[float, float]:
    if option != "epochs":
        return result["options"][option], result["validation"]
    per_epoch = result["epochs"][0][0]
    return per_epoch * result["options"]["epochs"], result["validation"]


def _draw_line(panel: Axes, line: _Series, size: str, color: str) -> None:
    panel.plot(*zip(*line.points, strict=True), "-", marker=".", color=color, label=LABELS[size])
    panel.plot(*line.chosen, "o", mfc="none", ms=9, color=color)
    if line.n_grams:
        panel.axhline(line.n_grams, color=color, linestyle=":", linewidth=1)
    panel.grid(alpha=0.3)


def _draw_overfitting(panel: Axes, results: dict[str, Any]) -> None:
    """Training and validation loss by update on the smallest text."""
    size = min(SIZES, key=SIZES.__getitem__)
    for trial, color in ((Trial(size, (("dropout", 0.0),)), "tab:red"), (Trial(size), "tab:blue")):
        if found := results.get(trial.name):
            steps, training, held_out = zip(*found["epochs"], strict=True)
            label = f"dropout {found['options']['dropout']:g}"
            panel.plot(steps, held_out, color=color, label=f"{label}, validation")
            panel.plot(steps, training, "--", color=color, label=f"{label}, training")
    panel.set(xlabel="updates", ylabel="nats per character", title=LABELS[size])
    panel.set_ylim(0.5, 3)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")


def page(results: dict[str, Any]) -> str:
    """The text of TEXT_SIZE.md."""
    parts = [_INTRODUCTION, "![Loss by units, dropout and updates](text_size.png)\n"]
    for size in SIZES:
        rows = [trial for trial in trials() if trial.size == size and trial.name in results]
        if rows:
            parts += [f"## {LABELS[size]}\n", _table(rows, results)]
    return "\n".join(parts)


def _table(rows: list[Trial], results: dict[str, Any]) -> str:
    best = min(results[trial.name]["validation"] for trial in rows)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for trial in rows:
        found = results[trial.name]
        shown = f"**{found['validation']:.4f}**" if found["validation"] == best else ""
        change = ", ".join(f"{name}={value:g}" for name, value in trial.changes)
        best_step = min(found["epochs"], key=lambda row: row[2])[0]
        cells = (
            f"`{change}`" if change else "what `auto_size` chooses",
            *(f"{found['options'][name]:g}" for name in ("units", "dropout", "epochs")),
            f"{found['parameters'] / 1e6:.2f} M",
            f"{best_step:,}",
            f"{found['epochs'][-1][1]:.3f}",
            shown or f"{found['validation']:.4f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    n_grams = [results[t.name]["n_grams"] for t in rows if "n_grams" in results[t.name]]
    note = f"\nKneser-Ney n-grams: {n_grams[0]:.4f}." if n_grams else ""
    return "\n".join(lines) + f"\n{note}\n"


if __name__ == "__main__":
    app.run(main)
