"""Rows of scores: a model or method, its protocol, and its score on each text.

The protocols are never compared: `frozen` and `windows of N` learn nothing from the text,
`adapting` learns from what it has read of it.
"""

import math

import numpy as np
from absl import logging

from shakespeare_gen.errors import UserError
from shakespeare_gen.evaluation import compressors, dynamic, likelihood, mixture, scores
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.evaluation.scores import Tally
from shakespeare_gen.evaluation.subject import Subject

FROZEN, ADAPTING = "frozen", "adapting"
TUNING_CHARS = 20_000
# The best on the validation text of tiny_shakespeare, for `flags/tiny_shakespeare.cfg`.
CONSTANTS = {"rms": {"rate": 1e-3, "decay": 1e-2}, "sgd": {"rate": 0.1, "decay": 1e-3}}
TUNING_GRIDS = {
    "rms": {"rate": (3e-4, 5e-4, 1e-3, 2e-3), "decay": (3e-3, 1e-2, 3e-2)},
    "sgd": {"rate": (0.01, 0.03, 0.1, 0.3), "decay": (3e-4, 1e-3, 3e-3)},
}


def model_rows(subject: Subject, readings: dict[str, Reading], options: dict) -> list[dict]:
    """The frozen network, and where it was asked for over windows that start from nothing."""
    tallies = {name: reading.tally() for name, reading in readings.items()}
    found = [_row(subject, "this model", FROZEN, tallies)]
    if options["protocol"] == "windows":
        size, stride = options["window_chars"], options["window_stride"]
        by_windows = {
            name: likelihood.read_windows(subject.network, ids, size, stride)
            for name, ids in subject.ids.items()
        }
        protocol = f"windows of {size}" + (f", stride {stride}" if stride not in (0, size) else "")
        found.append(_row(subject, "this model", protocol, by_windows))
    return found


def check(subject: Subject, options: dict) -> None:
    """Refuses what can't be done, before anything is read.

    Raises:
      UserError: a text is too short for windows, or there is no text to tune on.
    """
    for name, ids in subject.ids.items():
        if options["protocol"] == "windows" and len(ids) < 2:
            raise UserError(f"--protocol=windows: expected 2 characters of {name}, received 1")
    if options["adapt_tune"] and subject.validation_ids is None:
        raise UserError("--adapt_tune: expected a run with validation text, found none")


def _row(subject: Subject, model: str, protocol: str, tallies: dict[str, Tally]) -> dict:
    """One row: the score of each text, and of validation and test together."""
    parts, texts = dict(tallies), dict(subject.texts)
    if set(parts) == {"validation", "test"}:
        parts["both"] = scores.joined(list(tallies.values()))
        texts["both"] = "".join(subject.texts.values())
    splits = {name: scores.score(part, texts[name]).to_json() for name, part in parts.items()}
    return {"model": model, "protocol": protocol, "splits": splits}


def _nats_row(subject: Subject, model: str, protocol: str, nats: dict[str, np.ndarray]) -> dict:
    """The same from losses alone, by text."""
    return _row(subject, model, protocol, {name: Tally(part) for name, part in nats.items()})


def adapting_rows(subject: Subject, options: dict) -> tuple[list[dict], dict | None]:
    """Dynamic evaluation, and its mixture with n-grams; with the constants that were used."""
    if not options["adapt"]:
        return [], None
    assert subject.train_ids is not None
    adapter = dynamic.Adapter(subject.network, subject.train_ids, options["adapt_segment_chars"])
    constants = {"rule": options["adapt_rule"], **_constants(subject, adapter, options)}
    readings = {
        name: adapter.read(ids, subject.vocabulary.start_id, **constants)
        for name, ids in subject.ids.items()
    }
    # Far above a model that knows nothing: the weights ran away.
    limit = 2 * math.log(subject.vocabulary.size) + 1
    if not all(reading.nats.mean() < limit for reading in readings.values()):
        rate = constants["rate"]
        raise UserError(
            f"--adapt_rate: expected a step that keeps the loss finite, received {rate:g}; "
            f"try {rate / 3:.2g}, or --adapt_tune"
        )
    tallies = {name: reading.tally() for name, reading in readings.items()}
    found = [_row(subject, "this model", ADAPTING, tallies)]
    if options["mix"]:
        mixed = {}
        for name, reading in readings.items():
            nats, known = subject.adapting_ngrams[name]
            mixed[name] = mixture.mixed_nats(np.stack([reading.nats, nats]), known)
        found.append(_nats_row(subject, "this model + n-grams", ADAPTING, mixed))
    return found, {**constants, "segment_chars": options["adapt_segment_chars"]}


def _constants(subject: Subject, adapter: dynamic.Adapter, options: dict) -> dict[str, float]:
    """The size of a step and the way back: those asked for, or the best ones on validation."""
    rule = options["adapt_rule"]
    found = dict(CONSTANTS[rule])
    if options["adapt_rate"] != 0:
        found["rate"] = options["adapt_rate"]
    if options["adapt_decay"] != -1:
        found["decay"] = options["adapt_decay"]
    if not options["adapt_tune"]:
        return found
    assert subject.validation_ids is not None
    ids = subject.validation_ids[:TUNING_CHARS]

    def loss(**constants) -> float:
        reading = adapter.read(ids, subject.vocabulary.start_id, rule, **constants)
        nats = float(reading.nats.mean())
        shown = ", ".join(f"{name} {value:g}" for name, value in constants.items())
        logging.info("adapt_tune: %s: %.4f nats", shown, nats)
        return nats if math.isfinite(nats) else math.inf

    for name, values in TUNING_GRIDS[rule].items():
        losses = {value: loss(**{**found, name: value}) for value in values}
        found[name] = min(losses, key=losses.__getitem__)
    return found


def baseline_rows(subject: Subject) -> list[dict]:
    """Nothing known, n-grams frozen and adapting, and compressors."""
    assert subject.train is not None
    size, ids, best = subject.vocabulary.size, subject.ids, subject.best_context_chars
    uniform = {name: np.full(len(part), math.log(size)) for name, part in ids.items()}
    frozen = {name: subject.ngrams.frozen(part) for name, part in ids.items()}
    adapted = {name: nats for name, (nats, _) in subject.adapting_ngrams.items()}
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
