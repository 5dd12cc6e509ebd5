"""An HTML page with the whole evaluation: self-contained, offline, light and dark.

Jinja escapes texts; the tokens of the heatmap are embedded as JSON and become text nodes. The
content security policy of the page allows only its own script, identified by its hash.
"""

import base64
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from shakespeare_gen.evaluation.assessment import Assessment
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.report import charts, excerpts, formatting, layer_charts, templates, verdict

# In the order of the page; a section without content is left out.
SECTIONS = {
    "loss": "Loss against baselines",
    "samples": "Generated text",
    "copying": "Copying",
    "loops": "Loops, repetition and drift",
    "surprise": "Surprise, token by token",
    "lines": "Hardest and easiest lines",
    "classes": "Loss by kind of character",
    "training": "Training",
    "internals": "Inside the network during training",
    "context": "Use of context, and calibration",
    "units": "What single units track",
    "details": "Details of this evaluation",
}
SPLITS = {"both": "both texts", "text": "given text"}
MEASURES = {
    "distinct_4_grams": "distinct sequences of 4 characters",
    "distinct_12_grams": "distinct sequences of 12 characters",
    "repeated_lines": "lines that occurred before",
    "known_words": "words that occur in the training text",
    "line_chars": "characters per line",
    "known_speakers": "speakers that occur in the training text",
    "speech_lines": "lines per speech",
}
CONSTANTS = {
    "rule": "update rule",
    "rate": "step size",
    "segment_chars": "tokens between updates",
}


def render(assessment: Assessment, heatmap_tokens: int) -> str:
    """The HTML page of an evaluation."""
    script = templates.source("page.js")
    filters = (
        formatting.percent,
        formatting.perplexity,
        formatting.size,
        formatting.samples,
        formatting.number,
        formatting.document_rows,
        bits_per_character,
        verdict.name_of,
        bits,
        label,
    )
    reading, pieces = assessment.reading, assessment.pieces
    return templates.render(
        "page.html",
        filters,
        figures=assessment.figures,
        style=templates.source("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        heatmap=heatmap(reading, pieces, assessment.vocabulary, heatmap_tokens),
        heatmap_tokens=min(heatmap_tokens, len(pieces)),
        sections=_sections(assessment.figures, heatmap_tokens),
        **_content(assessment),
    )


def _content(assessment: Assessment) -> dict[str, Any]:
    """What the page shows besides the plain figures."""
    figures, pieces = assessment.figures, assessment.pieces
    return {
        "name": ", ".join(map(_name, figures["run"].split(", "))),  # an ensemble has several
        "verdict": verdict.sentences(figures),
        "highlights": highlights(figures),
        "protocols": protocols(figures["scores"]),
        "copied": {
            kind: excerpts.copied_spans(row) for kind, row in (figures["copying"] or {}).items()
        },
        "lines": {
            kind: excerpts.lines(assessment.reading, pieces, rows)
            for kind, rows in figures["by_line"].items()
        },
        "token": token(figures["texts"]),
        "training": charts.training(figures["training"]),
        "internals": layer_charts.of(figures["internals"]),
        "context": charts.loss_by_position(figures["nats_by_position"]),
        "calibration": charts.calibration(figures["calibration"]),
        "units": [excerpts.unit(row, pieces, assessment.activations) for row in figures["neurons"]],
    }


def _name(path: str) -> str:
    return pathlib.PurePath(path).name or path


def _sections(figures: dict[str, Any], heatmap_tokens: int) -> dict[str, str]:
    """The titles of the sections that have content, by id."""
    is_empty = {
        "samples": not figures["samples"],
        "copying": not figures["copying"],
        "loops": not figures["loops"],
        "surprise": not heatmap_tokens,
        "lines": not any(figures["by_line"].values()),
        "training": not figures["training"],
        "internals": not figures["internals"],
        "units": not figures["neurons"],
    }
    return {name: title for name, title in SECTIONS.items() if not is_empty.get(name, False)}


def highlights(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """A few figures with their labels; those that were measured."""
    score = list(figures["scores"][0]["splits"].values())[-1]
    copying, style = figures["copying"], figures["style"]
    words = style and style["generated"].get("known_words")
    found = [
        (f"{score['bits_per_character']:.2f}", "bits per character"),
        (formatting.percent(score["top_1_accuracy"]), "of tokens guessed at the first try"),
    ]
    if copying:
        longest = copying["generated"]["longest_span_chars"]
        found.append((f"{longest:,}", "characters in the longest copied span"))
    if words is not None:
        found.append((formatting.percent(words), "of generated words occur in the training text"))
    return found


def protocols(scores: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of scores by protocol, the lowest loss first, with the width of a bar in percent."""

    def loss(row: dict[str, Any]) -> float:
        return list(row["splits"].values())[-1]["bits_per_character"]

    highest = max(map(loss, scores)) or 1.0
    found: dict[str, list[dict[str, Any]]] = {row["protocol"]: [] for row in scores}
    for row in sorted(scores, key=loss):
        bar = f"{100 * loss(row) / highest:.1f}"
        found[row["protocol"]].append({**row, "bar": bar, "is_own": verdict.is_this_model(row)})
    return found


def bits(found: dict[str, Any]) -> tuple[str, str]:
    """A loss in bits per character, and its standard error, if there is one."""
    error = found["standard_error_nats"]
    shown = f"{bits_per_character(error):.3f}" if error else ""
    return f"{found['bits_per_character']:.3f}", "" if shown == "0.000" else shown


def token(texts: dict[str, dict[str, int]]) -> str:
    """What a token of these texts is."""
    is_character = all(text["tokens"] == text["characters"] for text in texts.values())
    return "one character" if is_character else "one or several characters, or a part of one"


def label(name: str) -> str:
    """The label of a text or a measure on the page."""
    return {**SPLITS, **MEASURES, **CONSTANTS}.get(name, name.replace("_", " "))


def heatmap(reading: Reading, pieces: list[str], vocabulary: list[str], size: int) -> str:
    """The data of the heatmap's script: the first `size` tokens with their candidates.

    Losses are in tenths of bits, probabilities of candidates in thousandths. `ranks` are the places
    of the tokens among their candidates; -1: not among them.
    """
    nats, candidates = reading.nats[:size], reading.candidate_ids[:size]
    thousandths = np.exp(-reading.candidate_nats[:size]) * 1000
    is_actual = candidates == reading.ids[:size, None]
    ranks = np.where(is_actual.any(1), is_actual.argmax(1), -1)
    used, places = np.unique(candidates, return_inverse=True)
    return _for_script(
        {
            "tokens": pieces[:size],
            "tenthsOfBits": np.rint(nats / np.log(2) * 10).astype(int).tolist(),
            "numCandidates": int(candidates.shape[1]),
            "candidates": places.ravel().tolist(),
            "thousandths": np.rint(thousandths).astype(int).ravel().tolist(),
            "ranks": ranks.tolist(),
            "vocabulary": [vocabulary[i] for i in used],
        }
    )


def _for_script(value: dict) -> str:
    """JSON that cannot close the enclosing script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
