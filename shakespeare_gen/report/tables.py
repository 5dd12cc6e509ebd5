"""Tables in a terminal, drawn by `rich`."""

from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

MIN_WIDTH = 120  # where the output is no terminal


# What the table of scores leaves out, from the end, where a terminal is narrow.
FIGURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "±": lambda found: error(found),
    "bits/char": lambda found: f"{found['bits_per_character']:.3f}",
    "top 1": lambda found: percent(found["top_1_accuracy"]),
    "top 5": lambda found: percent(found["top_5_accuracy"]),
    "bits/byte": lambda found: f"{found['bits_per_byte']:.3f}",
    "perpl.": lambda found: perplexity(found["perplexity"]),
}


def show(*tables: Table) -> None:
    """Prints tables to standard output."""
    console = _console()
    for table in tables:
        console.print(table)


def _console() -> Console:
    # What a text or a name contains is no markup.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, MIN_WIDTH)
    return console


def scores(figures: dict[str, Any], width: int = 0) -> Table:
    """A row for each model and protocol; nats of every text, the rest of the last one.

    As many figures as `width` has room for; 0: as standard output has.
    """
    console = _console()
    width = width or console.width
    for num_figures in range(len(FIGURES), -1, -1):
        table = _scores(figures, list(FIGURES)[:num_figures])
        if console.measure(table, options=console.options.update(width=1000)).maximum <= width:
            break
    return table


def _scores(figures: dict[str, Any], names: list[str]) -> Table:
    splits = list(figures["scores"][0]["splits"])
    last = splits[-1]
    sizes = "; ".join(f"{name}: {size(text)}" for name, text in figures["texts"].items())
    table = Table(
        title=f"{figures['run']} ({figures['checkpoint']}) on {figures['text']}",
        caption=f"{sizes}. Nats per character by text; ± and what follows for {last}",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("model", no_wrap=True)
    table.add_column("protocol", no_wrap=True)
    for name in (*splits, *names):
        table.add_column(name, justify="right", no_wrap=True)
    for row in figures["scores"]:
        table.add_row(
            row["model"],
            row["protocol"],
            *(f"{row['splits'][split]['nats_per_character']:.4f}" for split in splits),
            *(FIGURES[name](row["splits"][last]) for name in names),
        )
    return table


def copying(figures: dict[str, Any]) -> Table:
    """What stands in the training text already, of generated and human text."""
    table = Table(box=box.SIMPLE_HEAD, title="Found in the training text")
    kinds = list(figures["copying"])
    table.add_column("")
    for kind in kinds:
        table.add_column(kind, justify="right")
    found = figures["copying"].values()
    for size in next(iter(found))["novel_ngrams"]:
        table.add_row(f"new {size}-grams", *(percent(c["novel_ngrams"][size]) for c in found))
    table.add_row("longest shared span, characters", *(str(c["longest_span_chars"]) for c in found))
    table.add_row(
        "which begins, of the training text, at", *(str(c["training_position"]) for c in found)
    )
    return table


def style(figures: dict[str, Any]) -> Table:
    """Loops and drift, beside human text."""
    table = Table(box=box.SIMPLE_HEAD, title="Loops and drift")
    table.add_column("")
    for kind in figures["style"]:
        table.add_column(kind, justify="right")
    for name in figures["style"]["generated"]:
        cells = [number(name, row[name]) for row in figures["style"].values()]
        table.add_row(name.replace("_", " "), *cells)
    return table


def size(text: dict[str, int]) -> str:
    """How long a text is, and what of it the vocabulary lacks."""
    notes = [f", {text['unknown']:,} of them unknown"] * bool(text["unknown"])
    changed = text["left_out_or_replaced"]
    notes += [f", {changed:,} left out or replaced"] * bool(changed)
    return f"{text['characters']:,} characters" + "".join(notes)


def nats(found: dict[str, Any]) -> str:
    """A loss with its standard error, where it has one."""
    shown = error(found)
    return f"{found['nats_per_character']:.4f}" + (f" ± {shown}" if shown else "")


def error(found: dict[str, Any]) -> str:
    """A standard error; empty where there is none to speak of."""
    value = found["standard_error_nats"]
    return f"{value:.3f}" if value and value >= 0.0005 else ""


def percent(share: float | None) -> str:
    """A share as a percentage; empty where there is none."""
    return "" if share is None else f"{100 * share:.1f} %"


def perplexity(value: float | None) -> str:
    """A perplexity; short where a text of a few characters cost a compressor many bytes."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10_000 else f"{value:.0e}"


def number(name: str, value: float | None) -> str:
    """A figure of style: a mean for what counts characters or lines, else a percentage."""
    if value is None:
        return ""
    return f"{value:.1f}" if name in ("line_chars", "speech_lines") else percent(value)


def comparison(compared: dict[str, dict[str, Any]]) -> Table:
    """A column for each run."""
    table = Table(box=box.SIMPLE_HEAD, title="Runs")
    table.add_column("")
    for name in compared:
        table.add_column(name, justify="right")
    for key in next(iter(compared.values())):
        table.add_row(key, *(_cell(row[key]) for row in compared.values()))
    return table


def inspection(found: dict[str, Any]) -> list[Table]:
    """What a text is like, before a model is trained on it."""
    texts = Table(box=box.SIMPLE_HEAD, title=f"Corpus {found['corpus']}")
    texts.add_column("split")
    shared = ("shared with training", "shared with validation")
    for name in ("characters", "bytes", "lines", "not ASCII", *shared):
        texts.add_column(name, justify="right")
    for split, row in found["splits"].items():
        texts.add_row(
            split,
            *(_cell(row[key]) for key in ("characters", "bytes", "lines")),
            percent(row["not_ascii"]),
            percent(row.get("shared_with_train")),
            percent(row.get("shared_with_validation")),
        )
    facts = Table(box=box.SIMPLE_HEAD, title="Facts")
    facts.add_column("")
    facts.add_column("", overflow="fold")
    for name, value in found["facts"].items():
        facts.add_row(name, _cell(value))
    entropy = Table(box=box.SIMPLE_HEAD, title="Entropy, bits per character")
    for name in ("n-gram", "of the training text", "of validation, by Kneser-Ney"):
        entropy.add_column(name, justify="right")
    for row in found["entropy"]:
        entropy.add_row(
            str(row["order"]), _cell(row["training_bits"]), _cell(row["validation_bits"])
        )
    return [texts, facts, entropy]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
