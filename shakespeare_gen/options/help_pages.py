"""Help pages: the options of a command as text for the terminal. Knows no flags library."""

import dataclasses
import textwrap
from collections.abc import Iterable, Sequence

from shakespeare_gen.options.fields import OptionGroup, sections

WIDTH = 80
_OTHERS = (
    "--flagfile reads flags from a file, or from a recipe of this package by its name. --version\n"
    "prints the version, --helpfull also lists the flags of absl."
)


def command(name: str, summary: str, groups: Sequence[type[OptionGroup]]) -> str:
    """The help page of one command.

    Args:
      name: the verb.
      summary: what the command does.
      groups: its option groups.
    """
    parts = [f"usage: {name} [--flagfile=FILE] [--flag=value ...]", summary.strip()]
    for title, fields in sections(groups):
        parts.append(f"{title}:")
        parts += [entry(field.name, field.default, help_text(field)) for field in fields]
    return "\n\n".join([*parts, _OTHERS]) + "\n"


def other_flags(title: str, entries: Iterable[str]) -> str:
    """A further section of a help page: flags that are not options, each an `entry`."""
    return "\n\n".join([f"\n{title}:", *entries]) + "\n"


def help_text(field: dataclasses.Field, quote: str = "") -> str:
    """The help text of an option with its choices, each between two `quote`."""
    choices = ", ".join(f"{quote}{choice}{quote}" for choice in field.metadata["choices"])
    return field.metadata["help"] + (f" ({choices})" if choices else "")


def entry(name: str, default: object, text: str) -> str:
    """A flag with its default and its help text."""
    if isinstance(default, bool):
        flag = f"--[no]{name} (default: {'on' if default else 'off'})"
    else:
        flag = f"--{name}={shown(default)}"
    filled = textwrap.fill(text, WIDTH, initial_indent="      ", subsequent_indent="      ")
    return f"  {flag}\n{filled}"


def shown(default: object) -> str:
    """A default value in the spelling of a flag."""
    if default in ("", (), None):
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)
