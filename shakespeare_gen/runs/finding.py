"""Finds runs by their parent folder: the newest finished one, or those next to a missing one.

    chosen([])             # the newest finished run in `runs`
    beside("runs/qiuck")   # "; runs in runs: novel, quick"

Opens no run: a run that is found here may still be damaged.
"""

import os
import pathlib
from collections.abc import Sequence

from absl import logging

from shakespeare_gen.errors import UserError
from shakespeare_gen.options import spelling
from shakespeare_gen.runs.folder import RUNS, RunFolder

TRIAL = "trial"  # the run folders in that of a study: trial-0007, trial-0007-seed-0
MAX_NAMED = 20  # runs in a message


def chosen(run_dir: Sequence[str], default: str = "") -> Sequence[str]:
    """`run_dir`, or if it is empty the newest finished run in `RUNS`, which is logged.

    Args:
      default: the run if none is finished, which is logged too; empty: none.

    Raises:
      UserError: `run_dir` and `default` are empty and no run is finished.
    """
    if any(run_dir):
        return run_dir
    newest = newest_finished(RUNS)
    if newest is None and default:
        logging.info("%s: expected a finished run, found none; using %s", RUNS, default)
        return [default]
    if newest is None:
        train = spelling.command_line("train", {"flagfile": "quick", "run_dir": f"{RUNS}/quick"})
        raise UserError(
            f"run_dir: expected a finished run in {RUNS}, found none{beside(f'{RUNS}/_')}; "
            f"train one with: {train}"
        )
    logging.info("%s is the newest finished run in %s", newest, RUNS)
    return [str(newest)]


def newest_finished(folder: str | os.PathLike[str]) -> pathlib.Path | None:
    """The run in `folder` that finished last; None if no run is finished."""
    finished = [path for path in _runs(pathlib.Path(folder)) if _is_finished(path)]
    return max(finished, key=_card_time, default=None)


def beside(run_dir: str | os.PathLike[str]) -> str:
    """For the message about a missing run: the runs in the same folder, or else in `RUNS`.

    "" if there are none.
    """
    for folder in (pathlib.Path(run_dir).parent, pathlib.Path(RUNS)):
        if names := [path.name for path in _runs(folder)]:
            more = ", …" if len(names) > MAX_NAMED else ""
            return f"; runs in {folder}: {', '.join(names[:MAX_NAMED])}{more}"
    return ""


def with_trials(paths: Sequence[str]) -> list[str]:
    """`paths`, with the runs of its trials in place of the folder of a study."""
    return [found for path in paths for found in _trials(path) or [path]]


def _trials(path: str) -> list[str]:
    folder = pathlib.Path(path).expanduser()
    if os.path.lexists(folder / "config.json"):  # a run
        return []
    return [str(p.parent) for p in sorted(folder.glob(f"{TRIAL}-*/config.json"))]


def _runs(parent: pathlib.Path) -> list[pathlib.Path]:
    """The folders in `parent` that contain a checkpoint, by name."""
    try:
        paths = [parent / name for name in os.listdir(parent)]
    except OSError:
        return []
    return sorted(path for path in paths if _has_checkpoint(path))


def _has_checkpoint(path: pathlib.Path) -> bool:
    try:
        return path.is_dir() and RunFolder(path).has_checkpoint()
    except UserError:
        return False


def _is_finished(path: pathlib.Path) -> bool:
    return RunFolder(path).card().get("status") == "finished"


def _card_time(path: pathlib.Path) -> float:
    """When training wrote the run card for the last time."""
    return os.path.getmtime(RunFolder(path).card_path)
