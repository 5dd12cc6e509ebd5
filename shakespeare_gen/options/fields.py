"""Definition of an option: a dataclass field with help text and bounds, checked on construction.

Knows nothing about particular options or flags libraries. An option has the same name everywhere:
as a field, a keyword argument in Python, a flag and a key in JSON.

    class WindowOptions(OptionGroup):
        batch_size: int = option(64, "windows per batch", minimum=1)

    WindowOptions(batch_size=0)   # UsageError: batch_size: expected at least 1, received 0
    options = Options.parse([WindowOptions, ...], {"batch_size": 32})
    options[WindowOptions].batch_size
"""

import dataclasses
import itertools
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, TypeVar, Unpack, get_type_hints

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options import spelling

# The integers that TensorFlow's int32 holds.
MIN_INTEGER, MAX_INTEGER = -(2**31), 2**31 - 1

# Python decodes command-line bytes that are not UTF-8 as lone surrogates.
_SURROGATE = re.compile("[\ud800-\udfff]")


class Bounds(TypedDict, total=False):
    """The bounds of a number: `minimum` and `maximum` inclusive, `above` and `below` exclusive."""

    minimum: float
    maximum: float
    above: float
    below: float


def option(
    default: Any, help_text: str, *, choices: Collection[str] = (), **bounds: Unpack[Bounds]
) -> Any:
    """A dataclass field with its help text, choices and bounds.

    Args:
      choices: the allowed values; a registry (a dict) may grow later.
    """
    metadata = {"help": help_text, "choices": choices, **bounds}
    return dataclasses.field(default=default, metadata=metadata)


class OptionGroup:
    """Base class of the option groups: a frozen dataclass that checks every field."""

    TITLE: ClassVar[str] = ""

    if TYPE_CHECKING:  # type checkers do not see the dataclass created by `__init_subclass__`

        def __init__(self, **values: Any) -> None: ...

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        hints = get_type_hints(cls)
        for field in fields_of(cls):  # the module may use postponed annotations
            field.type = hints[field.name]

    def __post_init__(self) -> None:
        for field in fields_of(type(self)):
            received = _plain(getattr(self, field.name), field.type)
            value = _as_float(received) if field.type is float else received
            object.__setattr__(self, field.name, value)
            if expected := _violation(value, field):
                raise UsageError(f"{field.name}: expected {expected}, received {received!r}")
        self.check_combinations()

    def check_combinations(self) -> None:
        """Raises `UsageError` if two options of the group contradict each other."""


G = TypeVar("G", bound=OptionGroup)


def fields_of(group: type[OptionGroup]) -> tuple[dataclasses.Field, ...]:
    """The options of a group, in order."""
    return dataclasses.fields(group)  # type: ignore[arg-type]


def sections(
    groups: Iterable[type[OptionGroup]],
) -> Iterator[tuple[str, list[dataclasses.Field]]]:
    """The options of a command by title, in order.

    Consecutive groups with the same title form one section. An option that several groups share,
    such as two model families, is listed once.
    """
    listed: set[str] = set()
    for title, titled in itertools.groupby(groups, lambda group: group.TITLE):
        fields = {f.name: f for group in titled for f in fields_of(group) if f.name not in listed}
        listed.update(fields)
        if fields:
            yield title, list(fields.values())


def fields_by_name(groups: Iterable[type[OptionGroup]]) -> dict[str, dataclasses.Field]:
    """The options of a command by name, in order."""
    return {field.name: field for _, fields in sections(groups) for field in fields}


class Options:
    """The options of one command or run: immutable, one object per group.

    `given` holds the names of the options that were set explicitly; the others have their
    defaults.
    """

    def __init__(self, groups: Iterable[OptionGroup], given: Iterable[str] = ()) -> None:
        self._groups = {type(group): group for group in groups}
        self.given = frozenset(given)

    @classmethod
    def parse(
        cls, types: Sequence[type[OptionGroup]], values: Mapping[str, Any] | None = None
    ) -> "Options":
        """Builds one group of each type from `values`.

        Raises:
          UsageError: a name is unknown, or a value is invalid.
        """
        values = dict(values or {})
        names = fields_by_name(types)
        if unknown := sorted(values.keys() - names.keys()):
            advice = spelling.advice(unknown[0], names)
            raise UsageError(f"unknown option {unknown[0]!r}; {advice}")
        return cls(
            (
                group(**{f.name: values[f.name] for f in fields_of(group) if f.name in values})
                for group in types
            ),
            values,
        )

    def __getitem__(self, group: type[G]) -> G:
        return self._groups[group]  # type: ignore[return-value]

    def __iter__(self):
        return iter(self._groups.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._groups == other._groups

    def __hash__(self) -> int:
        return hash(tuple(self._groups.values()))

    def replaced(self, **values: Any) -> "Options":
        """A copy with other values, which count as given."""
        replaced = Options.parse(list(self._groups), {**self.by_name(), **values})
        return Options(replaced, self.given | values.keys())

    def only(self, types: Collection[type[OptionGroup]]) -> "Options":
        """Only the groups of the given types."""
        kept = [group for kind, group in self._groups.items() if kind in types]
        names = {field.name for group in kept for field in fields_of(type(group))}
        return Options(kept, self.given & names)

    def by_name(self) -> dict[str, Any]:
        """All values by name."""
        return {
            field.name: getattr(group, field.name)
            for group in self
            for field in fields_of(type(group))
        }

    def given_values(self) -> dict[str, Any]:
        """The values that were given, by name."""
        return {name: value for name, value in self.by_name().items() if name in self.given}

    def non_defaults(self) -> dict[str, Any]:
        """The values that differ from their defaults, by name."""
        return {
            field.name: value
            for group in self
            for field in fields_of(type(group))
            if (value := getattr(group, field.name)) != field.default
        }


def _plain(value: Any, expected: Any) -> Any:
    """Converts NumPy scalars, paths and lists of strings to the plain types that options hold."""
    if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if expected is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if expected == tuple[str, ...]:
        value = (value,) if isinstance(value, str | os.PathLike) else value
        value = tuple(value) if isinstance(value, list) else value
        if isinstance(value, tuple):
            value = tuple(os.fspath(v) if isinstance(v, os.PathLike) else v for v in value)
    if expected == tuple[int, ...]:
        value = value.split(",") if isinstance(value, str) else value
        if isinstance(value, Sequence):
            value = tuple(_as_integer(_plain(item, int)) for item in value)
    return value


def _as_float(value: Any) -> Any:
    """An integer as a float; any other value unchanged."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _as_integer(value: Any) -> Any:
    """The integer that a string stands for; anything else unchanged."""
    is_integer = isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,20}\s*", value)
    return int(value) if is_integer else value


def _violation(value: Any, field: dataclasses.Field) -> str | None:
    """What was expected instead of an invalid value; None if the value is valid."""
    expected = _wrong_type(value, field.type)
    choices = field.metadata["choices"]
    if expected is None and choices and value not in choices:
        expected = "one of " + ", ".join(choices)
    for item in value if isinstance(value, tuple) else (value,):
        if expected is None and isinstance(item, int | float):
            expected = _broken_bound(item, field.metadata)
        if expected is None and isinstance(item, str) and _SURROGATE.search(item):
            expected = "utf-8"
    return expected


def _wrong_type(value: Any, expected: Any) -> str | None:
    if expected == tuple[str, ...]:
        is_tuple = isinstance(value, tuple) and all(isinstance(x, str) for x in value)
        return None if is_tuple else "a tuple of strings"
    if expected == tuple[int, ...]:
        is_tuple = isinstance(value, tuple) and all(_wrong_type(x, int) is None for x in value)
        return None if is_tuple else "integers"
    is_right = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    return None if is_right else f"a value of type {expected.__name__}"


def _broken_bound(value: float, bounds: Mapping[str, Any]) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if "minimum" in bounds and value < bounds["minimum"]:
        return f"at least {bounds['minimum']}"
    if "maximum" in bounds and value > bounds["maximum"]:
        return f"at most {bounds['maximum']}"
    if "above" in bounds and value <= bounds["above"]:
        return f"more than {bounds['above']}"
    if "below" in bounds and value >= bounds["below"]:
        return f"less than {bounds['below']}"
    if isinstance(value, int) and value < MIN_INTEGER:
        return f"at least {MIN_INTEGER}"
    if isinstance(value, int) and value > MAX_INTEGER:
        return f"at most {MAX_INTEGER}"
    return None
