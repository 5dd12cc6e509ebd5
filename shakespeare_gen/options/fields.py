"""What an option is: a dataclass field with help text and bounds, checked on construction.

Knows no option in particular (those are in `config`), no flags library and no TensorFlow.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from shakespeare_gen.errors import UsageError


def option(
    default: Any,
    help_text: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field with its help text and bounds (`above`/`below` exclude)."""
    bounds = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    metadata = {"help": help_text, "choices": choices, **bounds}
    return dataclasses.field(default=default, metadata=metadata)


MAX_INTEGER = 2**31 - 1  # what TensorFlow counts with


def _broken_bound(value: float, bounds: Mapping[str, Any]) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return f"at most {MAX_INTEGER}"
    if bounds["minimum"] is not None and value < bounds["minimum"]:
        return f"at least {bounds['minimum']}"
    if bounds["maximum"] is not None and value > bounds["maximum"]:
        return f"at most {bounds['maximum']}"
    if bounds["above"] is not None and value <= bounds["above"]:
        return f"more than {bounds['above']}"
    if bounds["below"] is not None and value >= bounds["below"]:
        return f"less than {bounds['below']}"
    return None


def _wrong_type(value: Any, expected: Any) -> str | None:
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return None
    if expected == tuple[str, ...]:
        good = isinstance(value, tuple) and all(isinstance(x, str) for x in value)
        return None if good else "a tuple of strings"
    good = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    return None if good else f"a value of type {expected.__name__}"


class OptionGroup:
    """Base of the option groups: checks every field on construction."""

    TITLE: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            self._check_field(field)
        self.check_combinations()

    def _check_field(self, field: dataclasses.Field) -> None:
        value, metadata = getattr(self, field.name), field.metadata
        expected = _wrong_type(value, field.type)
        if expected is None and metadata["choices"] and value not in metadata["choices"]:
            expected = "one of " + ", ".join(metadata["choices"])
        if expected is None and isinstance(value, (int, float)):
            expected = _broken_bound(value, metadata)
        if expected:
            raise UsageError(f"--{field.name}: expected {expected}, received {value!r}")

    def check_combinations(self) -> None:
        """Raises `UsageError` where two options of the group contradict each other."""


def from_options(groups: tuple[type[OptionGroup], ...], options: dict[str, Any]) -> list[Any]:
    """Builds one config of each group out of `options`; every name must be known."""
    names = {field.name for group in groups for field in dataclasses.fields(group)}  # type: ignore
    unknown = sorted(set(options) - names)
    if unknown:
        raise UsageError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(names))}")
    return [
        group(**{f.name: options[f.name] for f in dataclasses.fields(group) if f.name in options})  # type: ignore
        for group in groups
    ]


def non_defaults(*configs: OptionGroup) -> dict[str, Any]:
    """The options whose value differs from the default, by name."""
    pairs = [
        (field, getattr(config, field.name))
        for config in configs
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
    ]
    return {field.name: value for field, value in pairs if value != field.default}
