"""Markdown tables of options, between `<!-- flags: VERB -->` and `<!-- end -->`."""

import re
from collections.abc import Mapping, Sequence

from shakespeare_gen.options.fields import OptionGroup, sections
from shakespeare_gen.options.help_pages import help_text, shown

_BLOCK = re.compile(r"(<!-- flags: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
Groups = Sequence[type[OptionGroup]]


def table(groups: Groups) -> str:
    """The options of `groups` as a Markdown table, with one heading row per title."""
    lines = ["| flag | default | |", "|---|---|---|"]
    for title, fields in sections(groups):
        lines.append(f"| **{title}** | | |")
        for field in fields:
            default = f"`{shown(field.default)}`" if shown(field.default) else ""
            lines.append(f"| `--{field.name}` | {default} | {help_text(field, '`')} |")
    return "\n".join(lines)


def updated(text: str, commands: Mapping[str, Groups]) -> str:
    """`text` with all its flag tables regenerated."""
    return _BLOCK.sub(lambda m: m.group(1) + table(commands[m.group(2)]) + "\n" + m.group(3), text)
