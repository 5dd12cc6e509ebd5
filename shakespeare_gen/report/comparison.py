"""Comparison of runs: the options in which they differ, their budgets and results.

Runs that differ only in the seed form a group, whose figures are means and standard deviations.
Knows nothing about tables and flags, and does not import TensorFlow.
"""

import dataclasses
import itertools
import os
import re
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.groups import TrainingOptions, WindowOptions
from shakespeare_gen.runs import Run
from shakespeare_gen.training.data import plan_of

SPLITS = ("validation", "test", "both")
MAX_MINUTES_RATIO = 1.2  # a smaller difference says nothing about the budget
NOT_COMPARABLE = "the losses are not comparable"


class Spread(NamedTuple):
    """Mean and sample standard deviation over seeds."""

    mean: float
    deviation: float


Figure = int | float | Spread | None


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one run.

    Attributes:
      rows: the rows of its epochs.
      losses: of the best checkpoint in nats per character, by split; empty during training.
      num_parameters: number of weights.
    """

    run: Run
    rows: list[dict[str, Any]]
    losses: dict[str, float]
    num_parameters: int

    @classmethod
    def of(cls, run: Run) -> "Result":
        """The result of a run so far."""
        most, number = run.spec.model_spec.num_parameters, run.folder.card().get("num_parameters")
        # That of a model that is counted depends on the text.
        if not (isinstance(number, int) and 0 < number < most):
            number = most
        return cls(run, run.metrics(), run.losses, number)

    @property
    def updates(self) -> int:
        """The steps of the optimizer."""
        return self.rows[-1]["step"] if self.rows else 0

    @property
    def tokens_per_step(self) -> int:
        """The training tokens of a step."""
        options = self.run.spec.options[WindowOptions]
        num_tokens = max(self.run.spec.corpus.train_chars, options.window_chars + 1)
        return plan_of(num_tokens, self.run.spec.options).tokens_per_step

    @property
    def minutes(self) -> float:
        """The duration of training, with validation and samples."""
        return sum(row.get("seconds", 0) for row in self.rows) / 60

    def figures(self) -> dict[str, int | float | None]:
        """Figures by title; None: unknown."""
        speeds = [row.get("characters_per_second", 0) for row in self.rows]
        return {
            "parameters": self.num_parameters,
            "updates": self.updates,
            "tokens seen": self.updates * self.tokens_per_step,
            "epochs": len(self.rows),
            "minutes": self.minutes,
            "characters/s": statistics.median(speeds or [0]),
            "training, last epoch, nats": self.rows[-1]["loss"] if self.rows else None,
            **{f"{split}, frozen, nats": self.losses.get(split) for split in SPLITS},
        }


@dataclasses.dataclass(frozen=True)
class Group:
    """One run, or several that differ only in the seed.

    Attributes:
      options: the options that differ between the groups, by name; None: not an option of these
        runs.
    """

    name: str
    results: Sequence[Result]
    options: dict[str, Any]

    def figures(self) -> dict[str, Figure]:
        """Figures by title; None: unknown."""
        every = [result.figures() for result in self.results]
        return {"seeds": len(every)} | {t: _spread([f[t] for f in every]) for t in every[0]}


def names(runs: Sequence[Run]) -> list[str]:
    """One name per run: the shortest end of its path that distinguishes the runs.

    Raises:
      UsageError: a run occurs twice.
    """
    parts = [run.path.resolve().parts for run in runs]
    if len(set(parts)) < len(parts):
        raise UsageError(
            f"run_dir: expected different runs, received {', '.join(str(r.path) for r in runs)}"
        )
    found: list[str] = []
    for size in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-size:]) for part in parts]
        if len(set(found)) == len(found):
            break
    return found


def compare(runs: Sequence[Run]) -> list[Group]:
    """The runs in groups that differ only in the seed.

    Raises:
      UsageError: a run occurs twice.
    """
    grouped: dict[tuple, dict[str, Run]] = {}
    for name, run in zip(names(runs), runs, strict=True):
        number = 0  # a second run with the same seed is not another sample
        while _seed(run) in map(_seed, grouped.get((*_identity(run), number), {}).values()):
            number += 1
        grouped.setdefault((*_identity(run), number), {})[name] = run
    members = list(grouped.values())
    options = [_options(list(group.values())) for group in members]
    every_name = dict.fromkeys(name for own in options for name in own)
    differing = [n for n in every_name if len({repr(own.get(n)) for own in options}) > 1]
    return [
        Group(
            name,
            [Result.of(run) for run in group.values()],
            {key: own.get(key) for key in differing},
        )
        for name, group, own in zip(_group_names(members), members, options, strict=True)
    ]


def to_json(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The groups as JSON values: their runs, the options that differ, and their figures."""
    return [
        {
            "name": group.name,
            "runs": [str(result.run.path) for result in group.results],
            "options": group.options,
            "figures": {
                title: figure._asdict() if isinstance(figure, Spread) else figure
                for title, figure in group.figures().items()
            },
        }
        for group in groups
    ]


def warnings(groups: Sequence[Group]) -> list[str]:
    """What makes the comparison unfair: different budgets, texts or tokenizers."""
    results = [result for group in groups for result in group.results]
    # Seeds take longer or shorter by chance.
    minutes = [statistics.fmean(result.minutes for result in group.results) for group in groups]
    budgets: dict[str, tuple[Sequence[float], float]] = {
        "updates": ([result.updates for result in results], 1),
        "tokens seen": ([result.updates * result.tokens_per_step for result in results], 1),
        "minutes": (minutes, MAX_MINUTES_RATIO),
    }
    found = []
    for what, (values, ratio) in budgets.items():
        low, high = _plain(min(values)), _plain(max(values))
        if max(values) > ratio * min(values) and low != high:
            found.append(f"the runs differ in their budget: {low} to {high} {what}")
    specs = [result.run.spec for result in results]
    if len({spec.corpus.sha256 for spec in specs}) > 1:
        found.append(f"the runs differ in their text: {NOT_COMPARABLE}")
    if len({spec.tokenizer_sha256 for spec in specs}) > 1:
        found.append(f"the runs differ in their tokenizer: {NOT_COMPARABLE}")
    return found


def common_folder(runs: Sequence[Run]) -> str:
    """The deepest folder that contains all runs, or their reports; never the root."""
    parents = [str(run.folder.report_path.resolve().parent) for run in runs]
    common = os.path.commonpath(parents)
    return parents[0] if common == os.path.dirname(common) else common


def _seed(run: Run) -> int:
    return run.spec.options[TrainingOptions].seed


def _identity(run: Run) -> tuple:
    """What two runs have in common that differ only in the seed."""
    spec = run.spec
    options = spec.options.replaced(seed=0, corpus="", data_dir="")  # the hash identifies the text
    return options, spec.corpus.sha256, spec.tokenizer_sha256


def _options(runs: Sequence[Run]) -> dict[str, Any]:
    """The options of a group, with the corpus that was loaded and all seeds."""
    seeds = ", ".join(str(seed) for seed in sorted(map(_seed, runs)))
    spec = runs[0].spec
    return spec.options.by_name() | {"corpus": spec.corpus.name, "seed": seeds}


def _group_names(groups: Sequence[dict[str, Run]]) -> list[str]:
    """The common start of the names in each group, if that distinguishes the groups."""
    found = []
    for group in map(sorted, groups):
        start = _common_start(group[0], group[-1])
        start = re.sub(r"[-_./ =]*(seed)?[-_./ =]*\d*$", "", start) or f"{group[0]} …"
        found.append(group[0] if len(group) == 1 else start)
    if len(set(found)) < len(found):
        return [", ".join(group) for group in groups]
    return found


def _common_start(first: str, last: str) -> str:
    pairs = zip(first, last, strict=False)
    return "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _spread(values: Sequence[int | float | None]) -> Figure:
    known = [value for value in values if value is not None]
    if len(set(known)) < 2:
        return known[0] if known else None
    return Spread(statistics.fmean(known), statistics.stdev(known))


def _plain(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.1f}"
