"""An HTML page with the whole evaluation: self-contained, offline, light and dark.

Jinja escapes texts; the tokens of the heatmap are embedded as JSON and become text nodes. The
content security policy of the page allows only its own script, identified by its hash.
"""

import base64
import hashlib
import importlib.resources
import json

import jinja2
import numpy as np

from shakespeare_gen.evaluation.assessment import Assessment
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.evaluation.neurons import EXCERPT_TOKENS
from shakespeare_gen.report import plots, tables


def render(assessment: Assessment, heatmap_tokens: int) -> str:
    """The HTML page of an evaluation."""
    figures, pieces = assessment.figures, assessment.pieces
    folder = importlib.resources.files("shakespeare_gen.report")
    script = (folder / "page.js").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = (tables.percent, tables.nats, tables.size, tables.perplexity)
    environment.filters |= {function.__name__: function for function in filters}
    template = environment.from_string((folder / "page.html").read_text("utf-8"))
    return template.render(
        figures=figures,
        style=(folder / "page.css").read_text("utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        heatmap=heatmap(assessment.reading, pieces, assessment.vocabulary, heatmap_tokens),
        heatmap_tokens=min(heatmap_tokens, len(pieces)),
        position_curve=plots.loss_by_position(figures["nats_by_position"]),
        calibration_curve=plots.calibration(figures["calibration"]),
        neurons=[_neuron(row, pieces, assessment.activations) for row in figures["neurons"]],
        number=tables.number,
    )


def heatmap(reading: Reading, pieces: list[str], vocabulary: list[str], size: int) -> str:
    """The data of the heatmap's script: the first `size` tokens with their candidates.

    Losses are in tenths of bits, probabilities of candidates in thousandths.
    """
    nats, candidates = reading.nats[:size], reading.candidate_ids[:size]
    thousandths = np.exp(-reading.candidate_nats[:size]) * 1000
    return _for_script(
        {
            "tokens": pieces[:size],
            "tenthsOfBits": np.rint(nats / np.log(2) * 10).astype(int).tolist(),
            "numCandidates": int(candidates.shape[1]),
            "candidates": candidates.ravel().tolist(),
            "thousandths": np.rint(thousandths).astype(int).ravel().tolist(),
            "vocabulary": vocabulary,
        }
    )


def _for_script(value: dict) -> str:
    """JSON that cannot close the enclosing script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _neuron(row: dict, pieces: list[str], activations: np.ndarray) -> dict:
    """An excerpt as tokens, each with the sign and the strength of the unit."""
    values = activations[:, row["unit"]]
    strongest = float(np.abs(values).max()) or 1.0
    excerpt = range(row["begin"], min(row["begin"] + EXCERPT_TOKENS, len(values)))
    tokens = [
        (pieces[i], "p" if values[i] > 0 else "n", f"{abs(values[i]) / strongest:.2f}")
        for i in excerpt
    ]
    return {**row, "tokens": tokens}
