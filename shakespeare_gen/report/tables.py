"""Tables for the terminal, drawn with `rich`."""

from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from shakespeare_gen.options import spelling
from shakespeare_gen.report import formatting, outcome
from shakespeare_gen.report.comparison import Group
from shakespeare_gen.report.outcome import Outcome
from shakespeare_gen.system import terminal

MIN_WIDTH = 120  # if the output is not a terminal
MAX_FILES = 50  # files in the table of a corpus
MAX_RUN_WIDTH = 28  # of a column of a comparison
MAX_STATE = 60  # characters of the error of a trial


FIGURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "±": formatting.error,
    "bits/char": lambda found: f"{found['bits_per_character']:.3f}",
    "top 1": lambda found: formatting.percent(found["top_1_accuracy"]),
    "top 5": lambda found: formatting.percent(found["top_5_accuracy"]),
    "bits/byte": lambda found: f"{found['bits_per_byte']:.3f}",
    "PPL": lambda found: formatting.perplexity(found["perplexity"]),
}


def show(*tables: Table) -> None:
    """Prints tables to standard output."""
    console = _console()
    with console.capture() as captured:
        for table in tables:
            console.print(table)
    terminal.show(captured.get())


def _console() -> Console:
    # Markup is off: texts and names must be shown literally.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, MIN_WIDTH)
    return console


def _wrapped(
    make: Callable[[Sequence[str]], Table], columns: Sequence[str], width: int
) -> list[Table]:
    """A table as several ones below each other, if it is wider than `width`.

    Args:
      make: a table with the given columns after those that every part repeats.
      width: number of characters; 0: the width of standard output.
    """
    console, found = _console(), []
    chosen: list[str] = []
    for column in columns:
        table = make([*chosen, column])
        measured = console.measure(table, options=console.options.update(width=1000))
        if chosen and measured.maximum > (width or console.width):
            found.append(make(chosen))
            chosen = []
        chosen.append(column)
    found.append(make(chosen))
    for table in found[1:]:
        table.title = None
    for table in found[:-1]:
        table.caption = None
    return found


def scores(figures: dict[str, Any], width: int = 0) -> list[Table]:
    """One row per model and protocol: the loss on every text, other figures for the last one.

    Args:
      width: see `_wrapped`.
    """
    columns = [*figures["scores"][0]["splits"], *FIGURES]
    return _wrapped(lambda names: _scores(figures, names), columns, width)


def _scores(figures: dict[str, Any], names: Sequence[str]) -> Table:
    splits = list(figures["scores"][0]["splits"])
    last = splits[-1]
    sizes = "; ".join(f"{name}: {formatting.size(text)}" for name, text in figures["texts"].items())
    sizes += "".join(f"; {found}" for found in formatting.samples(figures))
    table = Table(
        title=formatting.line(f"{figures['run']} ({figures['checkpoint']}) on {figures['text']}"),
        caption=f"{sizes}. Nats per character by text; ± and the following columns for {last}",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("model")
    table.add_column("protocol")
    for name in names:
        table.add_column(name, justify="right")
    for row in figures["scores"]:
        parts = row["splits"]
        cells = {split: f"{parts[split]['nats_per_character']:.4f}" for split in splits}
        cells |= {name: FIGURES[name](parts[last]) for name in names if name in FIGURES}
        table.add_row(row["model"], row["protocol"], *(cells[name] for name in names))
    return table


def copying(figures: dict[str, Any]) -> Table:
    """Spans copied from the training text, in generated and in human text."""
    table = Table(box=box.SIMPLE_HEAD, title="Copied from the training text")
    kinds = list(figures["copying"])
    table.add_column("")
    for kind in kinds:
        table.add_column(kind, justify="right")
    found = figures["copying"].values()
    for size in next(iter(found))["novel_ngrams"]:
        table.add_row(
            f"novel {size}-grams", *(formatting.percent(c["novel_ngrams"][size]) for c in found)
        )
    table.add_row("longest copied span, characters", *(str(c["longest_span_chars"]) for c in found))
    table.add_row(
        "its position in the training text", *(str(c["training_position"]) for c in found)
    )
    return table


def style(figures: dict[str, Any]) -> Table:
    """Repetition and drift, compared with human text."""
    table = Table(box=box.SIMPLE_HEAD, title="Repetition and drift")
    table.add_column("")
    for kind in figures["style"]:
        table.add_column(kind, justify="right")
    for name in figures["style"]["generated"]:
        cells = [formatting.number(name, row[name]) for row in figures["style"].values()]
        table.add_row(name.replace("_", " "), *cells)
    return table


def documents(figures: dict[str, Any]) -> Table:
    """The shares of new documents and of valid tunes, in generated and in held-out text."""
    table = Table(box=box.SIMPLE_HEAD, title="Whole documents")
    table.add_column("")
    for kind in ("generated", "human"):
        table.add_column(kind, justify="right")
    for label, *cells in formatting.document_rows(figures["documents"]):
        table.add_row(label, *cells)
    return table


def comparison(groups: Sequence[Group], width: int = 0) -> list[Table]:
    """One column per run or group of seeds.

    Args:
      width: see `_wrapped`.
    """
    columns: dict[str, dict[str, Any]] = {}
    for group in groups:
        options = {spelling.as_flags(f"`{name}`", ()): v for name, v in group.options.items()}
        columns[group.name] = options | group.figures()
    return _wrapped(lambda names: _comparison({n: columns[n] for n in names}), [*columns], width)


def _comparison(columns: dict[str, dict[str, Any]]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title="Runs",
        caption="Several seeds: mean ± standard deviation. Nats per character",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("")
    for name in columns:  # a path in a cell is folded, so that columns still stand side by side
        table.add_column(
            formatting.line(name), justify="right", max_width=MAX_RUN_WIDTH, overflow="fold"
        )
    for key in next(iter(columns.values())):
        table.add_row(key, *(formatting.cell(column[key]) for column in columns.values()))
    return table


def study(found: Outcome, width: int = 0) -> list[Table]:
    """The trials of a study, the best first, and the importance of its options.

    Args:
      width: see `_wrapped`.
    """
    columns = ("bits/char", "epochs done", "minutes", *found.options, "state")
    shares = {name: formatting.percent(share) for name, share in found.importances.items()}
    trials = _wrapped(lambda names: _study(found, names), columns, width)
    return [*trials, *([_facts("Importance", shares)] if shares else [])]


def _study(found: Outcome, names: Sequence[str]) -> Table:
    counts = ", ".join(f"{number} {state}" for state, number in found.counts().items())
    table = Table(
        box=box.SIMPLE_HEAD,
        title=formatting.line(f"Study {found.name}: {counts or 'no trials'}"),
        caption="Validation loss of the best epoch; of pruned trials that of the last one",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("trial")
    for name in names:
        table.add_column(name, justify="left" if name == "state" else "right")
    for trial in found.ranked:
        cells = {name: outcome.value(value) for name, value in trial.values.items()}
        cells["bits/char"], cells["epochs done"] = outcome.loss(trial), str(trial.epochs)
        cells["minutes"] = f"{trial.seconds / 60:.1f}"
        cells["state"] = formatting.line(f"failed: {trial.error}" if trial.error else trial.state)[
            :MAX_STATE
        ]
        table.add_row(trial.name, *(cells.get(name, "") for name in names))
    return table


def description(found: dict[str, Any]) -> list[Table]:
    """The figures of `corpus_statistics.describe`, and what to expect of training, if present."""
    tables = [_files(found["files"])] if found["files"] else []
    tables += [_splits(found), _facts("Facts", found["facts"]), _entropy(found)]
    if "training" in found:
        tables.append(_facts("Training", found["training"]))
    return tables


def _files(found: list[dict[str, Any]]) -> Table:
    """The files that were read, then those that were skipped."""
    table = Table(box=box.SIMPLE_HEAD, title="Files")
    table.add_column("file", overflow="fold")
    for name in ("bytes", "characters"):
        table.add_column(name, justify="right")
    table.add_column("encoding, or why it is skipped", overflow="fold")
    for file in found[:MAX_FILES]:
        sizes = (
            ["", ""]
            if file["skipped"]
            else map(formatting.cell, (file["num_bytes"], file["num_chars"]))
        )
        table.add_row(
            formatting.line(file["path"]), *sizes, file["encoding"] or f"skipped: {file['skipped']}"
        )
    if rest := found[MAX_FILES:]:
        skipped = sum(bool(file["skipped"]) for file in rest)
        table.add_row(f"{len(rest)} more files, {skipped} of them skipped")
    return table


def _splits(found: dict[str, Any]) -> Table:
    name = terminal.visible(found["corpus"], keep="")
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"Corpus {name}",
        caption="; ".join(formatting.samples(found)) or None,
    )
    table.add_column("split")
    shared = ("shared with training", "shared with validation")
    for name in ("characters", "bytes", "lines", "not ASCII", *shared):
        table.add_column(name, justify="right")
    for split, row in found["splits"].items():
        table.add_row(
            split,
            *(formatting.cell(row[key]) for key in ("characters", "bytes", "lines")),
            formatting.percent(row["not_ascii"]),
            formatting.percent(row.get("shared_with_train")),
            formatting.percent(row.get("shared_with_validation")),
        )
    return table


def _facts(title: str, facts: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title)
    table.add_column("")
    table.add_column("", overflow="fold")
    for name, value in facts.items():
        table.add_row(name, terminal.visible(formatting.cell(value), keep=""))
    return table


def _entropy(found: dict[str, Any]) -> Table:
    samples = [
        f"{num_chars:,} characters of {split}"
        for split, num_chars in found["ngram_chars"].items()
        if num_chars < found["splits"].get(split, {}).get("characters", 0)
    ]
    table = Table(
        box=box.SIMPLE_HEAD,
        title="Entropy, bits per character",
        caption=f"Computed on a sample: {', '.join(samples)}" if samples else None,
    )
    for name in ("n-gram", "of the training text", "of validation, by Kneser-Ney"):
        table.add_column(name, justify="right")
    for row in found["entropy"]:
        table.add_row(
            str(row["order"]),
            formatting.cell(row["training_bits"]),
            formatting.cell(row["validation_bits"]),
        )
    return table
