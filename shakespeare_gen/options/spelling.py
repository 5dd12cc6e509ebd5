"""Formats options as command-line flags, and reads values from text. Knows no flags library.

Libraries refer to an option by its Python name, in backticks or at the start of a message;
`as_flags` turns these names into flags.
"""

import contextlib
import difflib
import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Any

_QUOTED = re.compile(r"`([a-z_][a-z_0-9]*)(=[^`]*)?`")
_BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
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


def as_names(message: str) -> str:
    """A message with every option spelled as its name, for a reader who types no flags."""
    return _QUOTED.sub(lambda m: m[1] + (m[2] or ""), message)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the known name closest to an unknown one; "" if none is close."""
    for closest in difflib.get_close_matches(name, list(known), n=1):
        shown = f"`{closest}`" if closest.isidentifier() else repr(closest)  # an option, or not
        return f"did you mean {shown}?"
    return ""


def advice(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the closest known one, or all of them."""
    return did_you_mean(name, known) or f"known: {', '.join(sorted(known))}"


def count(number: int, noun: str) -> str:
    """`1 step`, `2,000 steps`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def value(text: str, kind: Any) -> Any:
    """The value of an option of type `kind` that a person has typed.

    Text that is not of that type is returned unchanged, and the option group rejects it. Strings
    may be JSON, which has escapes such as `\\n`; several strings are a JSON list.
    """
    if kind is bool:
        return _BOOLEANS.get(text.lower(), text)
    if kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
        return text
    if kind == tuple[str, ...] and text.startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            return tuple(json.loads(text))
    return unquoted(text)


def unquoted(text: str) -> str:
    """A JSON string without its quotes and escapes; other text unchanged."""
    if text.startswith('"'):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return text


def command_line(verb: str, options: Mapping[str, Any]) -> str:
    """The shell command that runs `verb` with `options`, quoted."""
    return " ".join([f"python -m shakespeare_gen.{verb}", *map(shlex.quote, flags(options))])


def flags(options: Mapping[str, Any]) -> list[str]:
    """The options as flags, unquoted, as in a flag file."""
    return [flag for name, value in options.items() for flag in _flags(name, value)]


def _flags(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no{name}"]
    if value and isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return [f"--{name}={','.join(map(str, value))}"]  # one flag with a list
    return [f"--{name}={v}" for v in (value if isinstance(value, tuple) else (value,))]
