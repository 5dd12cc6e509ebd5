"""Comparison of runs: the options in which they differ, and their results.

Knows nothing about tables and flags.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from shakespeare_gen.errors import UsageError
from shakespeare_gen.runs import Run

SPLITS = ("validation", "test", "both")


@dataclasses.dataclass(frozen=True)
class Summary:
    """One run of a comparison.

    Attributes:
      options: the options that differ between the runs, by name; None: not an option of this run.
      figures: by title; None: unknown.
    """

    options: dict[str, Any]
    figures: dict[str, int | float | None]


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


def compare(runs: Sequence[Run]) -> dict[str, Summary]:
    """A summary of each run, by name.

    Raises:
      UsageError: a run occurs twice.
    """
    options = [_options(run) for run in runs]
    every_name = dict.fromkeys(name for own in options for name in own)
    differing = [n for n in every_name if len({repr(own.get(n)) for own in options}) > 1]
    return {
        name: Summary({key: own.get(key) for key in differing}, _figures(run))
        for name, own, run in zip(names(runs), options, runs, strict=True)
    }


def _options(run: Run) -> dict[str, Any]:
    return run.spec.options.by_name() | {"corpus": run.spec.corpus.name}


def _figures(run: Run) -> dict[str, int | float | None]:
    rows = run.metrics()
    losses = _losses(run)
    return {
        "parameters": run.spec.model_spec.num_parameters,
        "epochs": len(rows),
        "minutes": sum(row.get("seconds", 0) for row in rows) / 60,
        "characters/s": statistics.median([r["characters_per_second"] for r in rows] or [0]),
        "training, last epoch, nats": rows[-1]["loss"] if rows else None,
        **{f"{split}, frozen, nats": losses.get(split) for split in SPLITS},
    }


def _losses(run: Run) -> dict[str, float]:
    """The losses on the run card; empty while the run is being trained."""
    losses = run.folder.card().get("losses")
    if not isinstance(losses, dict):
        return {}
    return {key: value for key, value in losses.items() if isinstance(value, float)}
