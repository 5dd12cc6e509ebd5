"""The search space of a study: options of training, each with its bounds or its choices.

    {"units": {"low": 128, "high": 1024, "step": 64},
     "learning_rate": {"low": 0.0005, "high": 0.02, "log": true},
     "optimizer": {"choices": ["adam", "rmsprop"]}}

Bounds are inclusive. Every bound and every choice is checked as a value of its option, together
with the options that are fixed. Knows no sampler, and no option by name except `seed`.
"""

import dataclasses
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shakespeare_gen import runs
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options, recipes, spelling
from shakespeare_gen.options.fields import fields_by_name
from shakespeare_gen.system import storage

MAX_BYTES = 1 << 20
MAX_POINTS = 1_000_000  # of a grid
_KINDS = {"model", "tokens"}  # the options that decide which others have an effect
_RANGE_KEYS = {"low", "high", "log", "step"}


class Trial(Protocol):
    """The part of `optuna.Trial` that draws values."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Range:
    """The values from `low` to `high`, evenly, or by their logarithm."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Trial, name: str) -> int | float:
        """Draws a value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = int(self.step or 1)
            return trial.suggest_int(name, self.low, self.high, step=step, log=self.log)
        drawn = trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)
        return round(drawn, 10) if self.step else drawn  # not 0.15000000000000002

    @property
    def bounds(self) -> tuple[float, float]:
        """The values to check."""
        return self.low, self.high

    def points(self) -> list[Any] | None:
        """All values; None if there are infinitely many."""
        step = self.step or (1 if isinstance(self.low, int) else None)
        if step is None or self.log:
            return None
        return [
            round(self.low + i * step, 10)
            for i in range(math.floor((self.high - self.low) / step + 1e-9) + 1)
        ]


@dataclasses.dataclass(frozen=True)
class Choices:
    """Some values without an order."""

    choices: tuple[Any, ...]

    def suggest(self, trial: Trial, name: str) -> Any:
        """Draws a value."""
        return trial.suggest_categorical(name, self.choices)

    @property
    def bounds(self) -> tuple[Any, ...]:
        """The values to check."""
        return self.choices

    def points(self) -> list[Any]:
        """All values."""
        return list(self.choices)


class Space:
    """A search space; `dimensions` holds a `Range` or `Choices` by option.

    Args:
      value: the JSON object.
      base: the options of all trials.
      label: the file, for messages.

    Raises:
      UsageError: an option is unknown, or one of its values is out of its bounds.
    """

    def __init__(self, value: Any, base: Options, label: str) -> None:
        if not isinstance(value, dict) or not value:
            raise UsageError(f"{label}: expected an object of flags, received {_shown(value)}")
        self.value = value
        self.dimensions = {name: _dimension(name, value[name], base, label) for name in value}
        for name, dimension in self.dimensions.items():
            _check_has_effect(name, value, base, label)
            for bound in dimension.bounds:
                _check(name, bound, base, label)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The options of a trial."""
        return {name: found.suggest(trial, name) for name, found in self.dimensions.items()}

    def grid(self) -> list[dict[str, Any]]:
        """Every combination, in a random order that is always the same.

        Raises:
          UsageError: a range has no step, or there are too many combinations.
        """
        found = {name: dimension.points() for name, dimension in self.dimensions.items()}
        points = {name: values for name, values in found.items() if values is not None}
        if endless := [name for name in found if name not in points]:
            raise UsageError(
                f"{endless[0]}: expected choices, or a step without log, with `sampler=grid`"
            )
        if (size := math.prod(map(len, points.values()))) > MAX_POINTS:
            raise UsageError(
                f"space: expected at most {MAX_POINTS:,} combinations with `sampler=grid`, "
                f"received {size:,}"
            )
        combinations = [
            dict(zip(points, values, strict=True)) for values in itertools.product(*points.values())
        ]
        random.Random(0).shuffle(combinations)  # a part of the grid covers the space
        return combinations


def read(value: str, base: Options) -> Space:
    """The search space that the option `space` names.

    Raises:
      UsageError: there is no such file, or it is invalid.
    """
    path, label = recipes.find(value, recipes.SPACE), f"space={value}"
    try:
        found = storage.parse_json(
            storage.read_bytes(path, MAX_BYTES, follow_links=True, label=label)
        )
    except ValueError as error:
        raise UsageError(f"{label}: expected a JSON object: {error}") from None
    except UserError as error:
        raise UsageError(str(error)) from None
    return Space(found, base, label)


def _dimension(name: str, value: Any, base: Options, label: str) -> Range | Choices:
    fields = fields_by_name([type(group) for group in base])
    if name not in fields:
        raise UsageError(f"{label}: unknown flag {name!r}; {spelling.advice(name, fields)}")
    kind = fields[name].type
    if not isinstance(value, dict) or not (
        set(value) == {"choices"} or {"low", "high"} <= set(value) <= _RANGE_KEYS
    ):
        raise UsageError(
            f"{label}: {name}: expected low and high, with log or step, or choices; "
            f"received {_shown(value)}"
        )
    if "choices" in value:
        return _choices(name, value["choices"], label)
    if kind not in (int, float):
        raise UsageError(f"{label}: {name}: expected choices, because it is not a number")
    return _range(name, value, kind, label)


def _choices(name: str, value: Any, label: str) -> Choices:
    is_list = isinstance(value, list) and value
    if not is_list or not all(isinstance(item, bool | int | float | str) for item in value):
        raise UsageError(f"{label}: {name}: expected a list of choices, received {_shown(value)}")
    if len(set(map(repr, value))) < len(value):
        raise UsageError(f"{label}: {name}: expected different choices, received {_shown(value)}")
    return Choices(tuple(value))


def _range(name: str, value: Mapping[str, Any], kind: type, label: str) -> Range:
    log, numbers = value.get("log", False), {k: v for k, v in value.items() if k != "log"}
    for key, number in numbers.items():
        is_number = isinstance(number, int if kind is int else int | float)
        if not is_number or isinstance(number, bool):
            expected = "an integer" if kind is int else "a number"
            raise UsageError(
                f"{label}: {name}: expected {key} to be {expected}, received {_shown(number)}"
            )
    low, high, step = kind(value["low"]), kind(value["high"]), value.get("step")
    if not low <= high:
        raise UsageError(f"{label}: {name}: expected low <= high, received {low} and {high}")
    if not isinstance(log, bool) or (log and (step is not None or low <= 0)):
        raise UsageError(
            f"{label}: {name}: expected log to be true with low > 0 and without step, or false; "
            f"received {_shown(value)}"
        )
    if step is not None and step <= 0:
        raise UsageError(f"{label}: {name}: expected step > 0, received {step}")
    return Range(low, high, log, step if step is None else kind(step))


def _check(name: str, value: Any, base: Options, label: str) -> None:
    """Checks a value together with the options of all trials."""
    try:
        base.replaced(**{name: value})
    except UsageError as error:
        raise UsageError(f"{label}: {error}") from None


def _check_has_effect(name: str, value: Mapping[str, Any], base: Options, label: str) -> None:
    if name == "seed":
        raise UsageError(f"{label}: seed: expected other flags; `seeds` averages over seeds")
    if not _KINDS & value.keys() and name not in runs.saved_options(base).by_name():
        raise UsageError(f"{label}: {name}: expected a flag that affects these runs")


def _shown(value: Any) -> str:
    return repr(value)[:80]
