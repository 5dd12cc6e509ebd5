"""Evaluates a run: exact losses, baselines, copying and loop checks, an HTML page.

python -m shakespeare_gen.evaluate --run_dir=runs/quick
"""

import hashlib
import os
import pathlib
from typing import Any

from shakespeare_gen import runs
from shakespeare_gen.errors import UserError
from shakespeare_gen.generation import sampling
from shakespeare_gen.options import OptionGroup, Options, command_line, signatures
from shakespeare_gen.options.groups import (
    AdaptationOptions,
    CorpusLocationOptions,
    EvaluationOptions,
    LoadOptions,
    ReportOptions,
    SavedRunOptions,
    UnknownOptions,
)
from shakespeare_gen.runs import Run, checkpoints, finding
from shakespeare_gen.system import extras, storage


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (
        SavedRunOptions,
        LoadOptions,
        UnknownOptions,
        CorpusLocationOptions,
        EvaluationOptions,
        AdaptationOptions,
        ReportOptions,
        *sampling.groups(),
    )


def main(options: Options) -> None:
    """The command: prints tables, writes a JSON file and an HTML page."""
    figures = _evaluate(options)
    from shakespeare_gen.report import tables

    tables.show(tables.scores(figures))
    if figures["copying"]:
        tables.show(tables.copying(figures), tables.style(figures))


@signatures.typed(groups())
def evaluate_run(run_dir: str | os.PathLike[str] = "", **options: Any) -> dict[str, Any]:
    """Evaluates a run, writes `evaluation.json` and `evaluation.html`, and returns the figures.

    Args:
      {options}

    Raises:
      UsageError: an option is unknown, out of bounds or contradicts another one.
      UserError: there is no run or nothing to score, or the report cannot be written.
    """
    return _evaluate(Options.parse(groups(), {"run_dir": run_dir, **options}))


def _evaluate(options: Options) -> dict[str, Any]:
    extras.require("evaluate", "evaluate")
    sampling.Sampling(options.only(sampling.groups()))  # reports contradictions early
    run = runs.open_run(finding.chosen(options[SavedRunOptions].run_dir))
    checkpoint = checkpoints.read(run, options[LoadOptions].checkpoint)
    # All input is verified by now; importing TensorFlow takes seconds.
    from shakespeare_gen.system import devices

    devices.start()
    from absl import logging

    from shakespeare_gen.evaluation import assessment, subject
    from shakespeare_gen.report import page

    found = subject.find(run, checkpoints.load_model(run, checkpoint), options)
    folder = _make_folder(run, options[EvaluationOptions])
    assessed = assessment.assess(run, checkpoint, found, options)
    html = page.render(assessed, options[ReportOptions].heatmap_chars)
    storage.write(folder / "evaluation.json", storage.to_json(assessed.figures))
    storage.write(folder / "evaluation.html", html.encode("utf-8", "replace"))
    logging.info("Wrote evaluation.json and evaluation.html to %s", folder)
    return assessed.figures


def _make_folder(run: Run, options: EvaluationOptions) -> pathlib.Path:
    """Creates the folder of the report; each `text_path` has a subfolder of its own."""
    folder = run.folder.evaluation_dir
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
    return f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


if __name__ == "__main__":
    command_line.run(main, *groups())
