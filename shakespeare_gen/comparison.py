"""Several runs side by side: what they differ in, and what came of it.

Reads run folders; knows no network and draws nothing.
"""

import statistics
from typing import Any

from shakespeare_gen import architecture, runs, storage
from shakespeare_gen.errors import UsageError, UserError

MAX_CARD_BYTES = 8 << 20
SAVED_LOSSES = ("validation", "test", "both")


def compare(every: list[runs.Run]) -> dict[str, dict[str, Any]]:
    """For each run by its name: its options that differ, and its figures; None: not known.

    Raises:
      UsageError: two runs have one name.
    """
    names = [run.path.name for run in every]
    if len(set(names)) < len(names):
        raise UsageError(f"--run_dir: expected runs of different names, received {names}")
    options = [_options(run) for run in every]
    differing = [key for key in options[0] if len({str(o[key]) for o in options}) > 1]
    return {
        name: {**{f"--{key}": own[key] for key in differing}, **_figures(run)}
        for name, own, run in zip(names, options, every, strict=True)
    }


def _options(run: runs.Run) -> dict[str, Any]:
    saved = run.read_config()
    options = {k: v for name in runs.SAVED_GROUPS for k, v in saved[name].items()}
    return options | {"corpus": saved["data"]["name"]}


def _figures(run: runs.Run) -> dict[str, Any]:
    rows = run.metrics()
    saved = run.read_config()
    shapes = architecture.weight_shapes(run.read_vocabulary().size, **saved["model"])
    losses = _losses(run)
    return {
        "parameters": architecture.num_parameters(shapes),
        "epochs": len(rows),
        "minutes": sum(row.get("seconds", 0) for row in rows) / 60,
        "characters/s": statistics.median([r["characters_per_second"] for r in rows] or [0]),
        "training loss": rows[-1]["loss"] if rows else None,
        **{f"{split} loss": losses.get(split) for split in SAVED_LOSSES},
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
