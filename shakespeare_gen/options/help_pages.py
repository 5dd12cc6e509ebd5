"""Help pages: the options of a command as text for the terminal."""

import dataclasses
import textwrap
from collections.abc import Sequence

from shakespeare_gen.options.fields import OptionGroup, fields_of

WIDTH = 80


def command(name: str, summary: str, groups: Sequence[type[OptionGroup]]) -> str:
    """The help page of one command.

    Args:
      name: the verb.
      summary: what the command does.
      groups: its option groups.
    """
    parts = [f"usage: {name} [--flagfile=PATH] [--flag=value ...]", summary.strip()]
    title = None
    for group in groups:
        if title != group.TITLE:
            title = group.TITLE
            parts.append(f"{title}:")
        parts += [_entry(field) for field in fields_of(group)]
    return "\n\n".join(parts) + "\n"


def help_text(field: dataclasses.Field) -> str:
    """The help text of an option with its choices."""
    choices = ", ".join(field.metadata["choices"])
    return field.metadata["help"] + (f" ({choices})" if choices else "")


def _entry(field: dataclasses.Field) -> str:
    if field.type is bool:
        flag = f"--[no]{field.name} (default: {'on' if field.default else 'off'})"
    else:
        flag = f"--{field.name}={shown(field.default)}"
    text = textwrap.fill(
        help_text(field), WIDTH, initial_indent="      ", subsequent_indent="      "
    )
    return f"  {flag}\n{text}"


def shown(default: object) -> str:
    """A default value in the spelling of a flag."""
    if default in ("", ()):
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)
