"""A whole evaluation, from a run to figures.

Applies the other modules of this folder to the model and the texts of a run (`subject`). Returns
plain values; `report` creates tables and the page from them.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from shakespeare_gen.evaluation import breakdown, generated, leaderboard, likelihood, neurons
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.evaluation.rows import Sharing
from shakespeare_gen.evaluation.subject import Subject
from shakespeare_gen.generation.sampling import Sampling
from shakespeare_gen.generation.sampling import groups as sampling_groups
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import (
    AdaptationOptions,
    EvaluationOptions,
    ReportOptions,
    UnknownOptions,
)
from shakespeare_gen.runs import Run, history
from shakespeare_gen.runs.checkpoints import Checkpoint

SHOWN_SECONDS = 0.1
NEURON_TOKENS = 20_000
POSITION_TOKENS = 150_000
NUM_POSITIONS = 256
MAX_METRIC = 1_000_000
MAX_INTERNAL_ROWS = 400


@dataclasses.dataclass(frozen=True)
class Assessment:
    """The figures as JSON values, and data that only the page uses.

    Attributes:
      reading: the predictions for each token of the main text.
      pieces: the texts of these tokens.
      vocabulary: the label of every id.
      activations: float32 [N, U], the outputs of all units for the first N tokens.
    """

    figures: dict[str, Any]
    reading: Reading
    pieces: list[str]
    vocabulary: list[str]
    activations: np.ndarray


def assess(
    runs: Sequence[Run],
    checkpoints: Sequence[Checkpoint],
    subject: Subject,
    options: Options,
    sharing: Sharing | None = None,
) -> Assessment:
    """Evaluates a subject.

    Args:
      runs, checkpoints: of the model of the subject; several if it is an ensemble.
      sharing: the processes that share `leaderboard.read`, which the others call themselves.

    Raises:
      UserError: a text is too short for the protocol, or dynamic evaluation diverged.
    """
    leaderboard.check(subject, options)
    evaluation, tokenizer = options[EvaluationOptions], subject.tokenizer
    readings = _timed("reading", leaderboard.read, subject, evaluation, sharing)
    rows = _timed("this model", leaderboard.model_rows, subject, readings, evaluation)
    adapting, constants = _timed(
        "adapting", leaderboard.adapting_rows, subject, options[AdaptationOptions]
    )
    rows += adapting
    if evaluation.baselines and subject.train is not None:
        rows += _timed("baselines", leaderboard.baseline_rows, subject)
    reading, ids = readings.frozen[subject.main], subject.texts[subject.main].ids
    pieces = tokenizer.pieces(ids)
    activations = neurons.activations(subject.model, ids[:NEURON_TOKENS], tokenizer.start_id)
    sampling = Sampling(options.only(sampling_groups()))
    calibration = breakdown.calibration(reading)
    figures = {
        "run": ", ".join(run.name for run in runs),
        "checkpoint": ", ".join(checkpoint.place.name for checkpoint in checkpoints),
        "text": evaluation.text_path or runs[0].spec.corpus.name,
        "texts": subject.describe(),
        "sampled": subject.describe_samples(),
        "unknown": options[UnknownOptions].unknown,
        "parameters": subject.model.num_parameters,
        "scores": rows,
        "adapting": constants,
        "examined_text": subject.main,
        "training": _training(runs[0]) if len(runs) == 1 else [],
        "internals": _internals(runs[0]) if len(runs) == 1 else {},
        "sampling": {**sampling.options.by_name(), "seed": options[ReportOptions].sample_seed},
        "by_class": breakdown.by_class(reading, pieces),
        "by_line": breakdown.by_line(reading, pieces),
        "calibration": calibration,
        "calibration_error": breakdown.calibration_error(calibration),
        "nats_by_position": _timed("loss by position", _by_position, subject),
        "neurons": neurons.rank(activations, pieces[: len(activations)]),
        **_timed("generated text", generated.write, subject, options[ReportOptions], sampling),
    }
    vocabulary = [tokenizer.label(i) for i in range(tokenizer.size)]
    return Assessment(figures, reading, pieces, vocabulary, activations)


def _training(run: Run) -> list[dict[str, Any]]:
    """The losses after each epoch; without rows that no training run can have written."""
    names = ("epoch", "loss", "validation_loss")
    rows = [{name: row[name] for name in names if name in row} for row in run.metrics()]
    return [row for row in rows if all(0 <= value < MAX_METRIC for value in row.values())]


def _internals(run: Run) -> dict[str, dict[str, list[list[float]]]]:
    """Steps and values by kind and layer, of the rows that are shown; see `history.by_layer`."""
    rows = run.step_metrics()
    shown = rows[:: math.ceil(len(rows) / MAX_INTERNAL_ROWS) or 1]
    return {
        kind: {
            name: [[step, value] for step, value in points if 0 <= value < MAX_METRIC]
            for name, points in lines.items()
        }
        for kind, lines in history.by_layer(shown).items()
    }


def _timed(what: str, function, *arguments):
    began = time.perf_counter()
    found = function(*arguments)
    seconds = time.perf_counter() - began
    if seconds >= SHOWN_SECONDS:
        logging.info("%s: %.1f s", what, seconds)
    return found


def _by_position(subject: Subject) -> list[float]:
    ids = subject.texts[subject.main].ids
    num_windows = POSITION_TOKENS // NUM_POSITIONS
    return likelihood.nats_by_position(subject.model, ids, NUM_POSITIONS, num_windows).tolist()
