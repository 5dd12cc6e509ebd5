"""Signatures and docstrings of Python functions, generated from option groups.

    @typed(groups())
    def train_model(**options: Any) -> Run:
        '''Trains a model.

        Args:
          {options}
        '''

`inspect.signature` and `help` then show each option with its type, default and help text. Knows no
function and no option.
"""

import dataclasses
import inspect
import os
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from shakespeare_gen.options.fields import OptionGroup, fields_by_name
from shakespeare_gen.options.help_pages import help_text

WIDTH = 96
_PLACEHOLDER = "  {options}"

F = TypeVar("F", bound=Callable[..., Any])


def typed(groups: Sequence[type[OptionGroup]]) -> Callable[[F], F]:
    """A decorator that documents the options of `groups` as parameters of a function.

    The function accepts them as `**options` and checks them itself. An option that it also names
    as a parameter may be passed by position. Its other parameters are keyword-only, and it
    documents them. In its docstring, the line `{options}` stands for the options.
    """

    def decorate(function: F) -> F:
        plain = inspect.signature(function)
        # Parameters that may be passed by position precede keywords.
        fields = sorted(
            fields_by_name(groups).values(), key=lambda field: field.name not in plain.parameters
        )
        parameters = [_parameter(field, field.name in plain.parameters) for field in fields]
        names = {field.name for field in fields}
        parameters += [
            p for p in plain.parameters.values() if p.name not in names and p.kind is p.KEYWORD_ONLY
        ]
        signature = plain.replace(parameters=parameters)
        function.__signature__ = signature  # type: ignore[attr-defined]
        function.__doc__ = _documented(function.__doc__ or "", fields)
        return function

    return decorate


def annotation(field: dataclasses.Field) -> Any:
    """The type of the values that an option accepts in Python."""
    is_path = field.name.endswith(("_dir", "_path"))
    one: Any = str | os.PathLike[str] if is_path else str
    if field.type == tuple[str, ...]:
        return one | Sequence[one]
    choices = field.metadata["choices"]
    if isinstance(choices, tuple) and choices:  # a registry may grow
        return Literal[choices]
    return one if is_path else field.type


def _parameter(field: dataclasses.Field, is_positional: bool) -> inspect.Parameter:
    parameter = inspect.Parameter
    kind = parameter.POSITIONAL_OR_KEYWORD if is_positional else parameter.KEYWORD_ONLY
    return parameter(field.name, kind, default=field.default, annotation=annotation(field))


def _documented(docstring: str, fields: Sequence[dataclasses.Field]) -> str:
    entries = [
        textwrap.fill(
            f"{field.name}: {help_text(field, '`')}.",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
        for field in fields
    ]
    return inspect.cleandoc(docstring).replace(_PLACEHOLDER, "\n".join(entries))
