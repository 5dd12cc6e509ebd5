"""Figures as text: losses, shares, sizes, for the terminal and for pages.

Knows nothing about tables and HTML.
"""

from typing import Any

from shakespeare_gen.report.comparison import Spread
from shakespeare_gen.system import terminal


def document_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The figures of documents, each with its label: of generated and of human ones."""
    pair, kind = (found["generated"], found["human"]), found["kind"]
    shares = [("valid", f"valid {kind}")] * (kind == "tunes") + [("new", f"new {kind}")]
    return [
        (kind, *(f"{row['num']:,}" for row in pair)),
        *((label, *(percent(row[name]) for row in pair)) for name, label in shares),
    ]


def size(text: dict[str, int]) -> str:
    """The length of a text, and the number of its unknown and changed characters."""
    notes = [f", {text['unknown']:,} of them unknown"] * bool(text["unknown"])
    changed = text["left_out_or_replaced"]
    notes += [f", {changed:,} left out or replaced"] * bool(changed)
    return f"{text['characters']:,} characters" + "".join(notes)


def samples(figures: dict[str, Any]) -> list[str]:
    """For each text that is a sample of a longer one, how much of it was read."""
    return [
        f"{name}: a sample of {part['characters']:,} of {part['of_characters']:,} characters"
        for name, part in figures["sampled"].items()
    ]


def error(found: dict[str, Any]) -> str:
    """A standard error; empty if there is none or if it is negligible."""
    value = found["standard_error_nats"]
    return f"{value:.3f}" if value and value >= 0.0005 else ""


def percent(share: float | None) -> str:
    """A share as a percentage; empty for None."""
    return "" if share is None else f"{100 * share:.1f} %"


def perplexity(value: float | None) -> str:
    """A perplexity; in scientific notation if it is very large."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10_000 else f"{value:.0e}"


def number(name: str, value: float | None) -> str:
    """A figure of style: a mean of characters or lines, or a percentage."""
    if value is None:
        return ""
    return f"{value:.1f}" if name in ("line_chars", "speech_lines") else percent(value)


def line(text: str) -> str:
    """Untrusted text, such as a folder name, on one line without control characters."""
    return terminal.visible(text, keep="")


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Spread):
        return f"{cell(value.mean)} ± {cell(value.deviation)}"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return (
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else line(str(value))
    )
