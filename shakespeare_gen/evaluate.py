"""Evaluates a run, or the mean probability of several: exact losses, baselines, checks for copying
and loops, an HTML page.

python -m shakespeare_gen.evaluate --run_dir=runs/quick
python -m shakespeare_gen.evaluate --run_dir=runs/a,runs/b
python -m shakespeare_gen.evaluate --run_dir=runs/quick --num_local_workers=2
"""

import contextlib
import hashlib
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from shakespeare_gen import runs
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.generation import sampling
from shakespeare_gen.options import OptionGroup, Options, command_line, signatures
from shakespeare_gen.options.groups import (
    AdaptationOptions,
    CorpusLocationOptions,
    EvaluationOptions,
    LoadOptions,
    ReportOptions,
    SavedRunsOptions,
    UnknownOptions,
    WorkerOptions,
)
from shakespeare_gen.runs import Run, checkpoints, finding, loading, train_lines
from shakespeare_gen.runs.checkpoints import Checkpoint
from shakespeare_gen.system import devices, extras, storage
from shakespeare_gen.system.signals import Interruption
from shakespeare_gen.training.workers import cluster, joining, processes
from shakespeare_gen.training.workers.cluster import Cluster

if TYPE_CHECKING:  # importing TensorFlow takes seconds
    from shakespeare_gen.evaluation.subject import Subject
    from shakespeare_gen.training.workers.team import Team


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (
        SavedRunsOptions,
        LoadOptions,
        UnknownOptions,
        CorpusLocationOptions,
        EvaluationOptions,
        AdaptationOptions,
        ReportOptions,
        WorkerOptions,
        *sampling.groups(),
    )


def main(options: Options) -> None:
    """The command: prints tables, writes a JSON file and an HTML page."""
    workers = options[WorkerOptions]
    own = cluster.find(workers)
    if own is None and workers.num_local_workers > 1:
        sys.exit(processes.run("evaluate", options.given_values(), workers.num_local_workers))
    figures = _evaluate(options, own=own)
    if not figures:
        return  # the chief shows them
    from shakespeare_gen.report import tables, verdict
    from shakespeare_gen.system import terminal

    tables.show(*tables.scores(figures))
    if figures["copying"]:
        tables.show(tables.copying(figures), tables.style(figures))
    if figures["documents"]:
        tables.show(tables.documents(figures))
    terminal.show(" ".join(verdict.sentences(figures)) + "\n")


@signatures.typed(groups())
def evaluate_run(
    run_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "",
    *,
    text: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Evaluates a run, writes `evaluation.json` and `evaluation.html`, and returns the figures.

    A notebook shows them as the table of losses and the verdict.

    Args:
      text: the text that the run was trained on, if it was given to `train_model` as `text`.
      {options}

    Returns:
      The figures; empty in a worker other than the chief.

    Raises:
      UsageError: an option is unknown, out of bounds or contradicts another one.
      UserError: there is no run or nothing to score, or the report cannot be written.
    """
    parsed = Options.parse(groups(), {"run_dir": run_dir, **options})
    if parsed[WorkerOptions].num_local_workers > 1:
        raise UsageError("num_local_workers: expected 1 in Python, received more; use the command")
    figures = _evaluate(parsed, text, cluster.find(parsed[WorkerOptions]))
    from shakespeare_gen.report import shown, tables, verdict

    return shown.Figures(
        figures, lambda found: tables.scores(found, shown.ONE_PART), verdict.sentences
    )


def _evaluate(
    options: Options, text: str | None = None, own: Cluster | None = None
) -> dict[str, Any]:
    extras.require("evaluate", "evaluate")
    sampling.Sampling(options.only(sampling.groups()))  # reports contradictions early
    with _opened(options, own) as (every, read, team):
        from shakespeare_gen.evaluation import subject

        found = subject.find(every[0], loading.load_model(every, read), options, text)
        if text_path := options[EvaluationOptions].text_path:
            for run in every:
                train_lines.check_is_new(run, found.texts["text"].text, f"text_path={text_path}")
        if team:
            team.check_equal(_hash_of(text.ids for text in found.texts.values()), "text to score")
        return _report(every, read, found, options, team)


@contextlib.contextmanager
def _opened(
    options: Options, own: Cluster | None
) -> Iterator[tuple[list[Run], list[Checkpoint], "Team | None"]]:
    """The runs, their checkpoints, and the workers that share the reading; starts TensorFlow."""

    def open_all() -> tuple[list[Run], list[Checkpoint]]:
        every = _open_runs(finding.chosen(options[SavedRunsOptions].run_dir))
        return every, [checkpoints.read(run, options[LoadOptions].checkpoint) for run in every]

    if own is None:
        every, read = open_all()
        # All input is verified by now; importing TensorFlow takes seconds.
        devices.start()
        yield every, read, None
        return
    with Interruption() as interruption, joining.meet(own, options) as meeting:
        (every, read), _ = meeting.attempt(open_all, lambda _: None)
        team = joining.start(meeting, interruption)
        with team.naming_the_lost():
            # By name: a file has its tensors in any order.
            weights = (weight for c in read for _, weight in sorted(c.weights.items()))
            team.check_equal(_hash_of(weights), "checkpoint")
            yield every, read, team
            team.wait()


def _hash_of(arrays: Iterable[np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _report(
    every: list[Run],
    read: list[Checkpoint],
    found: "Subject",
    options: Options,
    team: "Team | None",
) -> dict[str, Any]:
    """The figures, which the chief writes; empty in the other workers."""
    from shakespeare_gen.evaluation import assessment, leaderboard
    from shakespeare_gen.report import page

    if team and not team.is_chief:
        leaderboard.check(found, options)
        leaderboard.read(found, options[EvaluationOptions], team)
        return {}
    folder = _make_folder(every, options[EvaluationOptions])
    assessed = assessment.assess(every, read, found, options, team)
    html = page.render(assessed, options[ReportOptions].heatmap_chars)
    storage.write(folder / "evaluation.json", storage.to_json(assessed.figures))
    storage.write(folder / "evaluation.html", html.encode("utf-8", "replace"))
    logging.info("Wrote evaluation.json and evaluation.html to %s", folder)
    return assessed.figures


def _open_runs(run_dir: Sequence[str]) -> list[Run]:
    """Opens runs that can be evaluated together.

    Raises:
      UserError: they differ in tokenizer or text; the validation text of one could be in the
        training text of another.
    """
    every = [runs.open_run(path) for path in runs.split_paths(run_dir)]
    loading.check_tokenizers(every)
    for run in every[1:]:
        if run.spec.corpus.sha256 != every[0].spec.corpus.sha256:
            raise UserError(
                f"run_dir: expected runs that were trained on the same text, received "
                f"{every[0].path} on {every[0].spec.corpus.name} and {run.path} on "
                f"{run.spec.corpus.name}, or other splits of it"
            )
    return every


def _make_folder(every: Sequence[Run], options: EvaluationOptions) -> pathlib.Path:
    """Creates the folder of the report, in the folder of the first run.

    Each ensemble and each `text_path` has a subfolder of its own.
    """
    folder = every[0].folder.evaluation_dir
    if len(every) > 1:
        folder = folder / "ensembles" / _ensemble_folder(every)
    if options.text_path:
        folder = folder / "texts" / _text_folder(options.text_path)
    if options.output_dir:
        folder = pathlib.Path(os.path.expanduser(options.output_dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"output_dir={folder}: cannot be created: {storage.reason(error)}"
        ) from None
    return folder


def _text_folder(text_path: str) -> str:
    """A folder name for the report of a text, unique to its absolute path."""
    path = pathlib.Path(os.path.expanduser(text_path)).resolve()
    return f"{path.name}-{_short_hash(path)}"


def _ensemble_folder(every: Sequence[Run]) -> str:
    """A folder name for the report of an ensemble, unique to its set of runs."""
    paths = sorted(run.path.resolve() for run in every)
    return f"{len(every)}-runs-{_short_hash(*paths)}"


def _short_hash(*paths: pathlib.Path) -> str:
    return hashlib.sha256(b"\0".join(map(os.fsencode, paths))).hexdigest()[:8]


if __name__ == "__main__":
    command_line.run(main, *groups())
