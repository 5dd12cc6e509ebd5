"""Rows of scores: a model or method, its protocol, and its score on each text.

Only rows of the same protocol are comparable: `frozen` and `windows of N` learn nothing from the
text, `adapting` learns from the part that has been read.
"""

import collections
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from absl import logging

from shakespeare_gen.errors import UserError
from shakespeare_gen.evaluation import compressors, dynamic, likelihood, mixture, scores, words
from shakespeare_gen.evaluation.dynamic import Segment
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.evaluation.rows import ReadingPlan, Sharing
from shakespeare_gen.evaluation.scores import Tally, TextSize
from shakespeare_gen.evaluation.subject import Subject
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import AdaptationOptions, EvaluationOptions

FROZEN, ADAPTING = "frozen", "adapting"
THIS_MODEL, UNIFORM, UNIGRAM = "this model", "uniform", "1-gram"
TUNING_TOKENS = 20_000
# The best values on the validation text of tiny_shakespeare with `flags/tiny_shakespeare.cfg`.
CONSTANTS = {"rms": {"rate": 1e-3, "decay": 1e-2}, "sgd": {"rate": 0.1, "decay": 1e-3}}
TUNING_GRIDS = {
    "rms": {"rate": (3e-4, 5e-4, 1e-3, 2e-3), "decay": (3e-3, 1e-2, 3e-2)},
    "sgd": {"rate": (0.01, 0.03, 0.1, 0.3), "decay": (3e-4, 1e-3, 3e-3)},
}


def check(subject: Subject, options: Options) -> None:
    """Checks that the requested evaluation is possible, before any text is read.

    Raises:
      UserError: a text is too short for windows, there is no text to tune on, or the model cannot
        adapt.
    """
    if options[AdaptationOptions].adapt and not subject.model.has_gradients:
        raise UserError(
            "adapt: expected a model with gradients, received n-grams, which are counted; "
            "evaluate it without `adapt`"
        )
    for name, text in subject.texts.items():
        if options[EvaluationOptions].protocol == "windows" and text.num_tokens < 2:
            raise UserError(f"protocol=windows: expected 2 tokens of {name}, received 1")
    if options[AdaptationOptions].adapt_tune and subject.validation is None:
        raise UserError("adapt_tune: expected a run with validation text, found none")


class Readings(NamedTuple):
    """What the frozen model predicts for each text.

    Attributes:
      windows: with the `windows` protocol, if it is requested.
    """

    frozen: dict[str, Reading]
    windows: dict[str, Tally]


def read(subject: Subject, options: EvaluationOptions, sharing: Sharing | None = None) -> Readings:
    """Reads each text with the frozen model.

    Args:
      sharing: the processes that share the work; all of them call this.
    """
    plan = ReadingPlan(num_streams=options.num_streams, sharing=sharing)
    model, texts, start_id = subject.model, subject.texts, subject.tokenizer.start_id
    frozen = {n: likelihood.read(model, text.ids, start_id, plan) for n, text in texts.items()}
    if options.protocol != "windows":
        return Readings(frozen, {})
    size, stride = options.window_chars, options.window_stride
    windows = {
        name: likelihood.read_windows(model, text.ids, size, stride, sharing)
        for name, text in texts.items()
    }
    return Readings(frozen, windows)


def model_rows(subject: Subject, readings: Readings, options: EvaluationOptions) -> list[dict]:
    """Rows of the frozen model, and of the `windows` protocol if requested."""
    tallies = {name: reading.tally() for name, reading in readings.frozen.items()}
    found = [_row(subject, THIS_MODEL, FROZEN, tallies)]
    if readings.windows:
        size, stride = options.window_chars, options.window_stride
        protocol = f"windows of {size}" + (f", stride {stride}" if stride not in (0, size) else "")
        found.append(_row(subject, THIS_MODEL, protocol, readings.windows))
    return found


def _row(subject: Subject, model: str, protocol: str, tallies: dict[str, Tally]) -> dict:
    """A row: the score of each text, and of validation and test together."""
    parts = dict(tallies)
    sizes = {name: TextSize.of([text]) for name, text in subject.texts.items()}
    if set(parts) == {"validation", "test"}:
        parts["both"] = scores.joined(list(tallies.values()))
        sizes["both"] = TextSize.of(list(subject.texts.values()))
    splits = {name: scores.score(part, sizes[name]).to_json() for name, part in parts.items()}
    return {"model": model, "protocol": protocol, "splits": splits}


def _nats_row(subject: Subject, model: str, protocol: str, nats: dict[str, np.ndarray]) -> dict:
    """A row from losses per token, by text."""
    return _row(subject, model, protocol, {name: Tally(part) for name, part in nats.items()})


def adapting_rows(subject: Subject, options: AdaptationOptions) -> tuple[list[dict], dict | None]:
    """Rows of dynamic evaluation and its mixture with n-grams; also the constants used."""
    if not options.adapt:
        return [], None
    assert subject.train is not None
    adapter = dynamic.Adapter(subject.model, subject.train.ids, options.adapt_segment_chars)
    constants = _constants(subject, adapter, options)
    tallies, mixed = {}, {}
    for name, text in subject.texts.items():
        start_id, readings = subject.tokenizer.start_id, list[Reading]()
        segments = adapter.segments(text.ids, start_id, options.adapt_rule, **constants)
        predictions = _recorded(segments, readings)
        if options.mix:
            mixed[name] = mixture.mixed_nats(
                text.ids,
                predictions,
                subject.train.ids,
                subject.ngrams,
                words.letters(subject.tokenizer),
            )
        else:
            collections.deque(predictions, maxlen=0)
        tallies[name] = dynamic.joined(readings).tally()
    _check_finite(subject, tallies, constants["rate"])
    found = [_row(subject, THIS_MODEL, ADAPTING, tallies)]
    if options.mix:
        found.append(_nats_row(subject, f"{THIS_MODEL} + n-grams", ADAPTING, mixed))
    segment = {"segment_chars": options.adapt_segment_chars}
    return found, {"rule": options.adapt_rule, **constants, **segment}


def _recorded(segments: Iterable[Segment], readings: list[Reading]) -> Iterator[np.ndarray]:
    """The log-probabilities [T, V] of each segment, whose reading is appended to `readings`."""
    for segment in segments:
        readings.append(segment.reading)
        yield segment.log_probabilities


def _check_finite(subject: Subject, tallies: dict[str, Tally], rate: float) -> None:
    # A loss far above that of a uniform model: the weights have diverged.
    limit = 2 * math.log(subject.tokenizer.size) + 1
    if not all(tally.nats.mean() < limit for tally in tallies.values()):
        raise UserError(
            f"adapt_rate: expected a step size that keeps the loss finite, received {rate:g}; "
            f"try `adapt_rate={rate / 3:.2g}`, or `adapt_tune`"
        )


def _constants(
    subject: Subject, adapter: dynamic.Adapter, options: AdaptationOptions
) -> dict[str, float]:
    """Step size and decay: as requested, or the best ones on the validation text."""
    rule = options.adapt_rule
    found = dict(CONSTANTS[rule])
    if options.adapt_rate != 0:
        found["rate"] = options.adapt_rate
    if options.adapt_decay != -1:
        found["decay"] = options.adapt_decay
    if not options.adapt_tune:
        return found
    assert subject.validation is not None
    ids = subject.validation.ids[:TUNING_TOKENS]

    def loss(**constants) -> float:
        reading = adapter.read(ids, subject.tokenizer.start_id, rule, **constants)
        nats = float(reading.nats.mean())
        shown = ", ".join(f"{name} {value:g}" for name, value in constants.items())
        logging.info("adapt_tune: %s: %.4f nats", shown, nats)
        return nats if math.isfinite(nats) else math.inf

    for name, values in TUNING_GRIDS[rule].items():
        losses = {value: loss(**{**found, name: value}) for value in values}
        found[name] = min(losses, key=losses.__getitem__)
    return found


def baseline_rows(subject: Subject) -> list[dict]:
    """Rows of the uniform model, frozen and adapting n-grams, and compressors."""
    texts, best = subject.texts, subject.best_context_tokens
    uniform = {
        name: np.full(text.num_tokens, math.log(subject.tokenizer.size))
        for name, text in texts.items()
    }
    frozen = {name: subject.ngrams.frozen(text.ids) for name, text in texts.items()}
    by_order = {k: {name: nats[k] for name, nats in frozen.items()} for k in (0, best)}
    kneser_ney = f"Kneser-Ney {best + 1}-gram"
    return [
        _nats_row(subject, UNIFORM, FROZEN, uniform),
        _nats_row(subject, UNIGRAM, FROZEN, by_order[0]),
        _nats_row(subject, kneser_ney, FROZEN, by_order[best]),
        _nats_row(subject, kneser_ney, ADAPTING, subject.adapting_ngrams),
        *(_compressor_row(subject, name) for name in compressors.COMPRESSORS),
    ]


def _compressor_row(subject: Subject, name: str) -> dict:
    assert subject.train is not None
    texts = list(subject.texts.values())
    costs = compressors.nats_per_character(name, subject.train.text, [t.text for t in texts])
    nats = {
        split: np.full(text.num_tokens, cost * text.num_chars / text.num_tokens)
        for (split, text), cost in zip(subject.texts.items(), costs, strict=True)
    }
    row = _nats_row(subject, name, ADAPTING, nats)
    for score in row["splits"].values():
        score["standard_error_nats"] = None  # only the size of the whole text is known
    return row
