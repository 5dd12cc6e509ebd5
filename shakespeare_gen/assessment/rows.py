"""Rows of scores: a model or method, its protocol, and its score on each text.

The protocols are never compared: `frozen` and `windows of N` learn nothing from the text,
`adapting` learns from what it has read of it.
"""

import math

import numpy as np
from absl import logging

from shakespeare_gen.assessment.subject import Subject
from shakespeare_gen.errors import UserError
from shakespeare_gen.evaluation import adapting, compressors, likelihood, mixture, scores
from shakespeare_gen.evaluation.likelihood import Reading

FROZEN, ADAPTING = "frozen", "adapting"
TUNING_CHARS = 20_000
TUNING_GRIDS = {
    "rms": {"rate": (1e-4, 3e-4, 1e-3, 3e-3), "decay": (3e-3, 1e-2, 3e-2)},
    "sgd": {"rate": (0.003, 0.01, 0.03, 0.1), "decay": (3e-4, 1e-3, 3e-3)},
}


def model_rows(subject: Subject, readings: dict[str, Reading], options: dict) -> list[dict]:
    """The frozen network, and where it was asked for over windows that start from nothing."""
    found = [_row(subject, "this model", FROZEN, readings)]
    if options["protocol"] == "windows":
        size, stride = options["window_chars"], options["window_stride"]
        by_windows = {
            name: likelihood.read_windows(subject.network, ids, size, stride)
            for name, ids in subject.ids.items()
        }
        protocol = f"windows of {size}" + (f", stride {stride}" if stride not in (0, size) else "")
        found.append(_row(subject, "this model", protocol, by_windows))
    return found


def _row(subject: Subject, model: str, protocol: str, readings: dict[str, Reading]) -> dict:
    """One row: the score of each text, and of validation and test together."""
    parts, texts = dict(readings), dict(subject.texts)
    if set(parts) == {"validation", "test"}:
        parts["both"] = likelihood.joined(list(readings.values()))
        texts["both"] = "".join(subject.texts.values())
    splits = {name: scores.score(part, texts[name]).to_json() for name, part in parts.items()}
    return {"model": model, "protocol": protocol, "splits": splits}


def _nats_row(subject: Subject, model: str, protocol: str, nats: dict[str, np.ndarray]) -> dict:
    """The same from losses alone, by text."""
    readings = {name: Reading.of_nats(subject.ids[name], part) for name, part in nats.items()}
    return _row(subject, model, protocol, readings)


def adapting_rows(subject: Subject, options: dict) -> tuple[list[dict], dict | None]:
    """Dynamic evaluation, and its mixture with n-grams; with the constants that were used."""
    if not options["adapt"]:
        return [], None
    assert subject.train_ids is not None
    adapter = adapting.Adapter(subject.network, subject.train_ids, options["adapt_segment_chars"])
    constants = {"rule": options["adapt_rule"], **_constants(subject, adapter, options)}
    readings = {
        name: adapter.read(ids, subject.vocabulary.start_id, **constants)
        for name, ids in subject.ids.items()
    }
    if not all(np.isfinite(reading.nats).all() for reading in readings.values()):
        rate = constants["rate"]
        raise UserError(
            f"--adapt_rate: expected a step that keeps the loss finite, received {rate:g}; "
            f"try {rate / 3:.2g}, or --adapt_tune"
        )
    found = [_row(subject, "this model", ADAPTING, readings)]
    if options["mix"]:
        mixed = {}
        for name, reading in readings.items():
            nats, known = subject.ngrams.adapting(subject.ids[name], subject.best_context_chars)
            mixed[name] = mixture.mixed_nats(np.stack([reading.nats, nats]), known)
        found.append(_nats_row(subject, "this model + n-grams", ADAPTING, mixed))
    return found, {**constants, "segment_chars": options["adapt_segment_chars"]}


def _constants(subject: Subject, adapter: adapting.Adapter, options: dict) -> dict[str, float]:
    """The size of a step and the way back: those asked for, or the best ones on validation."""
    found = {"rate": options["adapt_rate"], "decay": options["adapt_decay"]}
    if not options["adapt_tune"]:
        return found
    if subject.validation_ids is None:
        raise UserError("--adapt_tune: expected a run with validation text, found none")
    ids, rule = subject.validation_ids[:TUNING_CHARS], options["adapt_rule"]

    def loss(**constants) -> float:
        reading = adapter.read(ids, subject.vocabulary.start_id, rule, **constants)
        nats = float(reading.nats.mean())
        shown = ", ".join(f"{name} {value:g}" for name, value in constants.items())
        logging.info("adapt_tune: %s: %.4f nats", shown, nats)
        return nats if math.isfinite(nats) else math.inf

    grid = TUNING_GRIDS[rule]
    found["decay"] = grid["decay"][1]
    for name, values in grid.items():
        losses = {value: loss(**{**found, name: value}) for value in values}
        found[name] = min(losses, key=losses.__getitem__)
    return found


def baseline_rows(subject: Subject) -> list[dict]:
    """Nothing known, n-grams frozen and adapting, and compressors."""
    assert subject.train is not None
    size, ids = subject.vocabulary.size, subject.ids
    uniform = {name: np.full(len(part), math.log(size)) for name, part in ids.items()}
    model, best = subject.ngrams, subject.best_context_chars
    frozen = {name: model.frozen(part) for name, part in ids.items()}
    adapted = {name: model.adapting(part, best)[0] for name, part in ids.items()}
    found = [
        _nats_row(subject, "uniform", FROZEN, uniform),
        _nats_row(subject, "1-gram", FROZEN, {name: part[0] for name, part in frozen.items()}),
        _nats_row(
            subject,
            f"Kneser-Ney {best + 1}-gram",
            FROZEN,
            {name: part[best] for name, part in frozen.items()},
        ),
        _nats_row(subject, f"Kneser-Ney {best + 1}-gram", ADAPTING, adapted),
    ]
    for name in compressors.COMPRESSORS:
        costs = compressors.nats_per_character(name, subject.train, list(subject.texts.values()))
        nats = {
            split: np.full(len(text), cost)
            for (split, text), cost in zip(subject.texts.items(), costs, strict=True)
        }
        row = _nats_row(subject, name, ADAPTING, nats)
        for score in row["splits"].values():
            score["standard_error_nats"] = None  # a compressor tells the size of the whole alone
        found.append(row)
    return found
