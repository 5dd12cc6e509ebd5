"""Figures that a notebook shows as tables instead of as a long dictionary.

Everything else treats them as the dictionary that they are. Knows the tables of the terminal, but
not what is in them.
"""

import html
from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

ONE_PART = 10_000  # a notebook scrolls, so a wide table need not be cut into parts


class Figures(dict[str, Any]):
    """A dictionary of figures.

    Args:
      tables: makes the tables from the figures.
      sentences: makes the sentences below the tables.
    """

    def __init__(
        self,
        figures: dict[str, Any],
        tables: Callable[[dict[str, Any]], Sequence[Table]],
        sentences: Callable[[dict[str, Any]], Sequence[str]] = lambda figures: (),
    ) -> None:
        super().__init__(figures)
        self._tables, self._sentences = tables, sentences

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """A notebook stores this beside the tables."""
        printer.text(f"Figures: {', '.join(self)}")

    def _repr_html_(self) -> str:
        parts = [_markup(table) for table in self._tables(self)]
        return "\n".join([*parts, *(f"<p>{_escaped(text)}</p>" for text in self._sentences(self))])


def _markup(table: Table) -> str:
    """A table in HTML, in the colors and fonts of the page."""
    sides = ["right" if column.justify == "right" else "left" for column in table.columns]
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    lines = [f"<p><b>{_escaped(table.title)}</b></p>"] if table.title else []
    lines.append("<table>")
    if any(column.header for column in table.columns):
        lines.append(_row("th", [column.header for column in table.columns], sides))
    lines += [_row("td", row, sides) for row in rows]
    lines.append("</table>")
    return "\n".join([*lines, *([f"<p>{_escaped(table.caption)}</p>"] if table.caption else [])])


def _row(tag: str, cells: Sequence[Any], sides: Sequence[str]) -> str:
    pairs = zip(cells, sides, strict=True)
    # The attribute is for code hosts, which remove styles; notebooks have styles of their own.
    shown = [
        f'<{tag} align="{side}" style="text-align: {side}">{_escaped(cell)}</{tag}>'
        for cell, side in pairs
    ]
    return f"<tr>{''.join(shown)}</tr>"


def _escaped(text: Any) -> str:
    return html.escape(str(text))
