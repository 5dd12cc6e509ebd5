"""The best models of this package on tiny_shakespeare, beside published ones: RECORD.md.

    python -m shakespeare_gen.evaluate --run_dir='runs/record-seed-*' --protocol=windows \\
        --adapt --mix
    python -m benchmarks.record --keep=record --recipe=record --run_dir='runs/record-seed-*' \\
        --evaluation=…/evaluation.json
    python -m benchmarks.record                     # writes the page again

An entry keeps what `evaluate` found and what the run cards say, in `benchmarks/record`. Trains and
evaluates nothing.
"""

import json
import pathlib
from typing import Any

import matplotlib.pyplot as plt
from absl import app, flags

from docs import update_recipes
from shakespeare_gen import runs

REPOSITORY = pathlib.Path(__file__).parent.parent
ENTRIES = REPOSITORY / "benchmarks" / "record"
PAGE = REPOSITORY / "benchmarks" / "RECORD.md"
FIGURE = REPOSITORY / "benchmarks" / "record.png"
NANOGPT = 1.4697
MINUTES = (2, 5, 10, 20, 50, 100)  # ticks of the figure
_SMALL: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}

# name, parameters, validation, test, both, protocol, hardware, source
PUBLISHED = (
    (
        "nanoGPT, 6 layers, 384 wide",
        "10.65 M",
        *("", "", f"{NANOGPT}"),
        "random windows of 256, frozen",
        "A100, about 3 minutes",
        "README of github.com/karpathy/nanoGPT",
    ),
)
# The cost of a text after the training text; of the tools as published, not measured by a command
# of this repository, except PPMd, which `evaluate` measures.
COMPRESSORS = (
    ("PPMd, order 8", "1.3985", "1.4262", "1.4123"),
    ("zpaq -m5", "1.10", "1.32", "1.21"),
    ("paq8px -8", "1.181", "1.209", "1.195"),
)

_KEEP = flags.DEFINE_string("keep", "", "name of an entry to keep")
_TITLE = flags.DEFINE_string("title", "", "what the entry is; by default its name")
_RECIPE = flags.DEFINE_string("recipe", "", "name of the recipe of the runs")
_RUN_DIR = flags.DEFINE_string("run_dir", "", "the runs of the entry, as in `evaluate`")
_EVALUATION = flags.DEFINE_string(
    "evaluation", "", "path of the evaluation.json of the entry; empty: the losses of the run card"
)


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"expected flags only, received {argv[1]!r}")
    if _KEEP.value:
        ENTRIES.mkdir(exist_ok=True)
        path = ENTRIES / f"{_KEEP.value}.json"
        path.write_text(json.dumps(entry(), indent=1, ensure_ascii=False) + "\n", "utf-8")
    entries = [json.loads(path.read_text("utf-8")) for path in sorted(ENTRIES.glob("*.json"))]
    entries.sort(key=lambda found: found["scores"]["frozen"]["both"])
    draw(entries)
    PAGE.write_text(page(entries), "utf-8")


def entry() -> dict[str, Any]:
    """What is kept of an evaluation and of the cards of its runs."""
    folders = [runs.RunFolder(path) for path in runs.split_paths(_RUN_DIR.value)]
    cards = [update_recipes.public_card(folder.path) for folder in folders]
    return {
        "title": _TITLE.value or _KEEP.value,
        "recipe": _RECIPE.value,
        "commit": cards[0]["commit"],
        "command": cards[0]["command"],
        "seeds": [card["options"].get("seed", 0) for card in cards],
        "parameters": sum(card["num_parameters"] for card in cards),
        "minutes": [update_recipes.minutes(card) for card in cards],
        "hardware": f"{cards[0]['hardware']['processor']}, {cards[0]['precision']}",
        "validation_losses": [card["losses"]["validation"] for card in cards],
        **(_evaluated() if _EVALUATION.value else {"scores": {"frozen": cards[0]["losses"]}}),
    }


def _evaluated() -> dict[str, Any]:
    """Scores by protocol and split, and samples by temperature."""
    found = json.loads(pathlib.Path(_EVALUATION.value).read_text("utf-8"))
    rows = [row for row in found["scores"] if row["model"].startswith("this model")]
    return {
        "scores": {
            _protocol(row): {
                split: score["nats_per_character"] for split, score in row["splits"].items()
            }
            for row in rows
        },
        "samples": {str(s["temperature"]): s["text"] for s in found["samples"]},
    }


def _protocol(row: dict[str, Any]) -> str:
    return "mixed" if "n-grams" in row["model"] else row["protocol"].split()[0]


def draw(entries: list[dict[str, Any]]) -> None:
    """The figure: loss on validation and test against minutes of training on two cores."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    names = {found["recipe"] for found in entries}
    for name, card in update_recipes.cards().items():
        if name not in names and _is_alike(card):
            _point(axes, update_recipes.minutes(card), card["losses"]["both"], name, "tab:gray")
    labelled = set[str]()
    for found in entries:
        minutes, count = sum(found["minutes"]), len(found["seeds"])
        label = f"{found['recipe']}, {count} networks" if count > 1 else found["recipe"]
        loss = found["scores"]["frozen"]["both"]
        _point(axes, minutes, loss, "" if label in labelled else label, "tab:blue", below=True)
        labelled.add(label)
    axes.axhline(NANOGPT, color="tab:red", linestyle="--", linewidth=1)
    axes.annotate("nanoGPT, on an A100", (MINUTES[-2], NANOGPT), (3, 3), **_SMALL, color="tab:red")
    axes.set(xscale="log", xlabel="minutes of training on 2 cores", ylabel="nats per character")
    axes.set_xticks(MINUTES, [str(tick) for tick in MINUTES])
    axes.set_xticks([], minor=True)
    axes.set_xlim(MINUTES[0] * 0.9, MINUTES[-1] * 2)
    axes.margins(y=0.12)
    axes.set_title("tiny_shakespeare, validation and test, frozen")
    axes.grid(alpha=0.3)
    figure.savefig(FIGURE, dpi=110)


def _is_alike(card: dict[str, Any]) -> bool:
    """Whether a recipe's loss belongs into the figure."""
    is_network = card["options"].get("model", "recurrent") != "ngram"
    return is_network and card["corpus"]["name"] == "tiny_shakespeare"


def _point(
    axes: plt.Axes, minutes: float, loss: float, name: str, color: str, below: bool = False
) -> None:
    axes.plot(minutes, loss, "o", color=color)
    axes.annotate(name, (minutes, loss), (0, -13) if below else (5, 3), **_SMALL)


def page(entries: list[dict[str, Any]]) -> str:
    """The text of RECORD.md."""
    return "\n".join(
        [
            _INTRODUCTION,
            "## Frozen\n",
            _frozen(entries),
            "![Loss against minutes of training](record.png)\n",
            "## Windows\n\nEach window of 256 characters is read from an empty state, as nanoGPT "
            "reads them, but all of them instead of a random choice.\n",
            _losses(entries, "windows"),
            "## Adapting\n\nEvery character is scored before the model learns from it. `mixed` "
            "adds n-grams, contexts of words and matches; all mixtures are normalized.\n",
            _adapting(entries),
            "## Samples\n",
            _samples(entries),
        ]
    )


_INTRODUCTION = f"""# The record on tiny_shakespeare

Nats per character on the splits of TFDS: 1,003,854 characters to train on, 55,770 for validation,
55,770 for test. Validation and test together are nanoGPT's `val`, on which it publishes {NANOGPT}.
Flags and weights were chosen on validation; the test loss, which every training shows at its end,
played no part. No model saw either text in training: `evaluate` checks that by the hashes of lines.
Ours read each text once from its beginning to its end (`frozen`). Trainings ran on a machine with
two cores; networks of `record.cfg` were trained two at a time, on one core each, which other
programs shared, and their minutes are added up. The network of `wide.cfg` had little more than half
of one core. [Experiments](EXPERIMENTS.md) says what was tried, and `python -m benchmarks.record`
makes this page.
"""


def _frozen(entries: list[dict[str, Any]]) -> str:
    lines = [
        "| model | parameters | minutes | hardware | seeds | validation | test | both | commit |",
        "|---" * 9 + "|",
    ]
    lines += [_frozen_row(found) for found in entries]
    lines += [
        f"| {name}: {protocol} | {size} | | {hardware} | | {validation} | {test} | {both} | "
        f"{source} |"
        for name, size, validation, test, both, protocol, hardware, source in PUBLISHED
    ]
    return "\n".join(lines) + "\n"


def _frozen_row(found: dict[str, Any]) -> str:
    minutes = f"{sum(found['minutes']):.0f}"
    seeds = ", ".join(map(str, found["seeds"]))
    return (
        f"| {found['title']} | {found['parameters'] / 1e6:.2f} M | {minutes} | "
        f"{found['hardware']} | {seeds} | {_splits(found, 'frozen')} | {found['commit']} |"
    )


def _splits(found: dict[str, Any], protocol: str) -> str:
    score = found["scores"].get(protocol, {})
    names = ("validation", "test", "both")
    return " | ".join(f"{score[s]:.4f}" if s in score else "" for s in names)


def _losses(entries: list[dict[str, Any]], protocol: str) -> str:
    lines = ["| model | validation | test | both |", "|---" * 4 + "|"]
    lines += [
        f"| {found['title']} | {_splits(found, protocol)} |"
        for found in entries
        if protocol in found["scores"]
    ]
    return "\n".join(lines) + "\n"


def _adapting(entries: list[dict[str, Any]]) -> str:
    lines = ["| model | validation | test | both |", "|---" * 4 + "|"]
    for found in entries:
        for protocol in ("adapting", "mixed"):
            if protocol in found["scores"]:
                lines.append(f"| {found['title']}, {protocol} | {_splits(found, protocol)} |")
    lines += [f"| {' | '.join(row)} |" for row in COMPRESSORS]
    return "\n".join(lines) + "\n"


def _samples(entries: list[dict[str, Any]]) -> str:
    best = entries[0]
    parts = [f"Of {best['title']}, as `evaluate` generated them: the first ones, unedited.\n"]
    for temperature, text in best["samples"].items():
        parts.append(f"`--temperature={temperature} --seed=0`\n\n```\n{text.strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    app.run(main)
