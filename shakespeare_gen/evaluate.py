"""Scores a run: exact losses beside baselines, checks for copies and loops, a page to look at.

python -m shakespeare_gen.evaluate --run_dir=runs/quick
"""

import dataclasses
import pathlib
from typing import Any

from shakespeare_gen.errors import UserError
from shakespeare_gen.options import command_line, fields, groups
from shakespeare_gen.system import extras


def main(*configs: fields.OptionGroup) -> None:
    """The command: prints tables, writes JSON and a page."""
    options: dict[str, Any] = {}
    for group in configs:
        options |= dataclasses.asdict(group)  # type: ignore[call-overload]
    figures = evaluate_run(**options)
    from shakespeare_gen.report import tables

    tables.show(tables.scores(figures))
    if figures["copying"]:
        tables.show(tables.copying(figures), tables.style(figures))


def evaluate_run(run_dir: str, **options) -> dict[str, Any]:
    """Evaluates a run, writes `evaluation.json` and `evaluation.html`; returns the figures.

    Args:
      **options: named like the flags.

    Raises:
      UserError: there is no run, nothing to score, or no place to write to.
    """
    extras.require("evaluate", "evaluate")
    parsed = fields.from_options(groups.EVALUATE_GROUPS, {"run_dir": run_dir, **options})
    _, load_config, evaluation_config, sampling_config = parsed
    from absl import logging

    from shakespeare_gen import runs
    from shakespeare_gen.runs import checkpoints
    from shakespeare_gen.system import storage

    run = runs.Run(run_dir)
    checkpoint = checkpoints.read(run, load_config.checkpoint)
    # What was read is checked; only now comes TensorFlow, which takes seconds to import.
    from shakespeare_gen.system import devices

    devices.start()
    from shakespeare_gen.evaluation import assessment
    from shakespeare_gen.report import page

    asked = {**dataclasses.asdict(evaluation_config), "unknown": load_config.unknown}
    subject = assessment.find(run, checkpoints.load_network(run, checkpoint), asked)
    folder = _make_folder(run, evaluation_config)
    assessed = assessment.assess(
        run, checkpoint, subject, asked, dataclasses.asdict(sampling_config)
    )
    html = page.render(
        assessed.figures,
        assessed.reading,
        assessed.text,
        assessed.vocabulary,
        assessed.activations,
        evaluation_config.heatmap_chars,
    )
    storage.write(folder / "evaluation.json", storage.to_json(assessed.figures))
    storage.write(folder / "evaluation.html", html.encode("utf-8", "replace"))
    logging.info("%s and evaluation.html beside it", folder / "evaluation.json")
    return assessed.figures


def _make_folder(run, evaluation_config: groups.EvaluationOptions) -> pathlib.Path:
    """Where the report goes: a text's own folder keeps the run's evaluation as it is."""
    folder = run.evaluation_dir
    if evaluation_config.text_path:
        folder = folder / "texts" / pathlib.Path(evaluation_config.text_path).name
    if evaluation_config.output_dir:
        folder = pathlib.Path(evaluation_config.output_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output_dir={folder}: can't be made: {error.strerror}") from None
    return folder


if __name__ == "__main__":
    command_line.run(main, *groups.EVALUATE_GROUPS)
