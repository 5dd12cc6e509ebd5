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
    "20k": dict(units=(64, 128), dropout=(0.0, 0.4), epochs=(8, 15)),
    "200k": dict(units=(128, 256), dropout=(0.0, 0.3), epochs=(4, 7)),
    "1m": dict(epochs=(3,), units=(128, 256), dropout=(0.0, 0.2)),
    "60k": dict(units=(128,), dropout=(0.0, 0.4), epochs=(8, 15)),
}

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
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")


def page(results: dict[str, Any]) -> str:
    return ""


if __name__ == "__main__":
    app.run(main)
