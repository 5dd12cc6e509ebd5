"""Formats options as command-line flags. Knows no flags library.

Libraries refer to an option by its Python name, in backticks or at the start of a message;
`as_flags` turns these names into flags.
"""

import difflib
import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Any

_QUOTED = re.compile(r"`([a-z_][a-z_0-9]*)(=[^`]*)?`")
_FIRST = re.compile(r"([a-z_][a-z_0-9]*)(?=(=[^:]*)?:)")


def as_flags(message: str, names: Collection[str]) -> str:
    """A message with every option spelled as a flag.

    Args:
      names: the options of the command, to recognize a name at the start of the message.
    """
    first = _FIRST.match(message)
    if first and first[1] in names:
        message = "--" + message
    return _QUOTED.sub(lambda m: f"--{m[1]}{m[2] or ''}", message)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question that names the option closest to a misspelt one; "" if none is close."""
    [closest] = difflib.get_close_matches(name, list(names), n=1) or [""]
    return f"did you mean `{closest}`?" if closest else ""


def command_line(verb: str, options: Mapping[str, Any]) -> str:
    """The shell command that runs `verb` with `options`, quoted."""
    flags = (part for name, value in options.items() for part in _flags(name, value))
    return " ".join([f"python -m shakespeare_gen.{verb}", *flags])


def _flags(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no{name}"]
    values = value if isinstance(value, tuple) else (value,)
    return [shlex.quote(f"--{name}={v}") for v in values]
