"""The README's tables of flags, made from `config`.

    python -m shakespeare_gen.options.tables README.md    # writes them in place

A table stands between `<!-- flags: NAME -->` and `<!-- end -->`.
"""

import dataclasses
import pathlib
import re
import sys

from shakespeare_gen.options import fields, groups

TABLES = {
    "train": groups.TRAIN_GROUPS,
    "generate": groups.GENERATE_GROUPS,
    "evaluate": groups.EVALUATE_GROUPS,
    "plot": groups.PLOT_GROUPS,
    "inspect": groups.INSPECT_GROUPS,
}
_BLOCK = re.compile(r"(<!-- flags: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(groups: tuple[type[fields.OptionGroup], ...]) -> str:
    """The options of `groups` as one Markdown table, a heading row a group."""
    lines = ["| flag | default | |", "|---|---|---|"]
    for group in groups:
        lines.append(f"| **{group.TITLE}** | | |")
        for field in dataclasses.fields(group):  # type: ignore[arg-type]
            choices = ", ".join(f"`{c}`" for c in field.metadata["choices"])
            text = field.metadata["help"] + (f" ({choices})" if choices else "")
            lines.append(f"| `--{field.name}` | {_shown(field.default)} | {text} |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """`text` with every table made anew."""
    return _BLOCK.sub(lambda m: m.group(1) + table(TABLES[m.group(2)]) + "\n" + m.group(3), text)


def _shown(default: object) -> str:
    if default in ("", ()):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    readme = pathlib.Path(sys.argv[1])
    readme.write_text(updated(readme.read_text("utf-8")), "utf-8")
