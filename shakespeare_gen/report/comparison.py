"""Several runs side by side: what they differ in, and what came of it.

Reads run folders; knows no network and draws nothing.
"""

import statistics
from typing import Any

from shakespeare_gen import runs
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.models import specs
from shakespeare_gen.system import storage

MAX_CARD_BYTES = 8 << 20
SAVED_LOSSES = ("validation", "test", "both")


def names(every: list[runs.Run]) -> list[str]:
    """Of each run the last folders of its path, as many as tell them apart.

    Raises:
      UsageError: one run is named twice.
    """
    parts = [run.path.resolve().parts for run in every]
    if len(set(parts)) < len(parts):
        raise UsageError(
            f"--run_dir: expected different runs, received {[str(run.path) for run in every]}"
        )
    for size in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-size:]) for part in parts]
        if len(set(found)) == len(found):
            break
    return found


def compare(every: list[runs.Run]) -> dict[str, dict[str, Any]]:
    """For each run by its name: its options that differ, and its figures; None: not known.

    Raises:
      UsageError: one run is named twice.
    """
    options = [_options(run) for run in every]
    differing = [key for key in options[0] if len({str(o[key]) for o in options}) > 1]
    return {
        name: {**{f"--{key}": own[key] for key in differing}, **_figures(run)}
        for name, own, run in zip(names(every), options, every, strict=True)
    }


def _options(run: runs.Run) -> dict[str, Any]:
    saved = run.read_config()
    options = {k: v for name in runs.SAVED_GROUPS for k, v in saved[name].items()}
    return options | {"corpus": saved["data"]["name"]}


def _figures(run: runs.Run) -> dict[str, Any]:
    rows = run.metrics()
    saved = run.read_config()
    shapes = specs.weight_shapes(run.read_vocabulary().size, **saved["model"])
    losses = _losses(run)
    return {
        "parameters": specs.num_parameters(shapes),
        "epochs": len(rows),
        "minutes": sum(row.get("seconds", 0) for row in rows) / 60,
        "characters/s": statistics.median([r["characters_per_second"] for r in rows] or [0]),
        "training, last epoch, nats": rows[-1]["loss"] if rows else None,
        **{f"{split}, frozen, nats": losses.get(split) for split in SAVED_LOSSES},
    }


def _losses(run: runs.Run) -> dict[str, float]:
    """Those of the run card; empty while the run is trained."""
    try:
        losses = storage.read_json(run.card_path, MAX_CARD_BYTES).get("losses")
    except UserError:
        return {}
    if not isinstance(losses, dict):
        return {}
    return {key: value for key, value in losses.items() if isinstance(value, float)}
