"""One evaluation, from a run to figures: what is scored, in which order, and against what.

Puts a run's network and corpus (`subject`) together with the modules of `evaluation`: `rows`
of scores, and what is `generated`. What it returns is plain values: the page and the tables
are made of them elsewhere.
"""

import dataclasses
import time
from typing import Any

import numpy as np
from absl import logging

from shakespeare_gen import runs
from shakespeare_gen.data.tokenizers.characters import Vocabulary
from shakespeare_gen.evaluation import breakdown, generated, leaderboard, likelihood, neurons
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.evaluation.subject import Subject, find

__all__ = ["Assessment", "assess", "find"]
NEURON_CHARS = 20_000
POSITION_CHARS = 150_000
NUM_POSITIONS = 256


@dataclasses.dataclass(frozen=True)
class Assessment:
    """The figures as JSON values, and what only the page shows."""

    figures: dict[str, Any]
    reading: Reading
    text: str
    vocabulary: Vocabulary
    activations: np.ndarray


def assess(
    run: runs.Run, checkpoint, subject: Subject, options: dict, sampling: dict
) -> Assessment:
    """Evaluates what `find` found.

    Args:
      options: the fields of `config.EvaluationOptions`, and `unknown`.
      sampling: those of `config.SamplingOptions`, for the generated text.

    Raises:
      UserError: a text is too short for what is asked, or adapting ran away.
    """
    leaderboard.check(subject, options)
    network, start_id = subject.network, subject.vocabulary.start_id
    readings = {
        name: _timed(f"{name}, frozen", likelihood.read, network, ids, start_id)
        for name, ids in subject.ids.items()
    }
    scored = _timed("this model", leaderboard.model_rows, subject, readings, options)
    adapting, constants = _timed("adapting", leaderboard.adapting_rows, subject, options)
    scored += adapting
    if options["baselines"] and subject.train_ids is not None:
        scored += _timed("baselines", leaderboard.baseline_rows, subject)
    reading, text = readings[subject.main], subject.texts[subject.main]
    close_ids = subject.ids[subject.main][:NEURON_CHARS]
    outputs = neurons.activations(network, close_ids, start_id)
    calibration = breakdown.calibration(reading)
    figures = {
        "run": str(run.path),
        "checkpoint": checkpoint.place.name,
        "text": options["text_path"] or run.read_config()["data"]["name"],
        "texts": subject.describe(),
        "unknown": options["unknown"],
        "parameters": int(network.count_params()),
        "scores": scored,
        "adapting": constants,
        "looked_at_closely": subject.main,
        "sampling": {**sampling, "seed": options["sample_seed"]},
        "by_class": breakdown.by_class(reading, text),
        "by_line": breakdown.by_line(reading, text),
        "calibration": calibration,
        "calibration_error": breakdown.calibration_error(calibration),
        "nats_by_position": _timed("loss by position", _by_position, subject),
        "neurons": neurons.rank(outputs, text[: len(close_ids)]),
        **_timed("generated text", generated.write, subject, options, sampling),
    }
    return Assessment(figures, reading, text, subject.vocabulary, outputs)


def _timed(what: str, function, *arguments):
    began = time.perf_counter()
    found = function(*arguments)
    logging.info("%s: %.1f s", what, time.perf_counter() - began)
    return found


def _by_position(subject: Subject) -> list[float]:
    ids = subject.ids[subject.main]
    num_windows = POSITION_CHARS // NUM_POSITIONS
    found = likelihood.nats_by_position(subject.network, ids, NUM_POSITIONS, num_windows)
    return found.tolist()
