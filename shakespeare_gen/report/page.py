"""One page that holds the whole evaluation: no other file, no network, light and dark.

Jinja escapes what the texts contain; the heatmap's characters travel as JSON and become
text nodes. The page's policy allows its own script, named by its hash, and no other.
"""

import base64
import hashlib
import importlib.resources
import json
from typing import Any

import jinja2
import numpy as np

from shakespeare_gen.data.tokenizers.characters import Vocabulary
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.evaluation.neurons import EXCERPT_CHARS
from shakespeare_gen.report import plots, tables


def render(
    figures: dict[str, Any],
    reading: Reading,
    text: str,
    vocabulary: Vocabulary,
    activations: np.ndarray,
    heatmap_chars: int,
) -> str:
    """The page as HTML."""
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
        heatmap=_for_script(_heatmap(reading, text, vocabulary, heatmap_chars)),
        heatmap_chars=min(heatmap_chars, len(text)),
        position_curve=plots.loss_by_position(figures["nats_by_position"]),
        calibration_curve=plots.calibration(figures["calibration"]),
        neurons=[_neuron(row, text, activations) for row in figures["neurons"]],
        number=tables.number,
    )


def _heatmap(reading: Reading, text: str, vocabulary: Vocabulary, num_chars: int) -> dict:
    """Text, tenths of bits a character, and the candidates of each with thousandths."""
    nats, candidates = reading.nats[:num_chars], reading.candidate_ids[:num_chars]
    thousandths = np.exp(-reading.candidate_nats[:num_chars]) * 1000
    return {
        # By code points: a script counts characters outside the first plane twice.
        "characters": list(text[:num_chars]),
        "tenthsOfBits": np.rint(nats / np.log(2) * 10).astype(int).tolist(),
        "numCandidates": int(candidates.shape[1]),
        "candidates": candidates.ravel().tolist(),
        "thousandths": np.rint(thousandths).astype(int).ravel().tolist(),
        "vocabulary": list(vocabulary.decode(range(vocabulary.size))),
    }


def _for_script(value: dict) -> str:
    """JSON that can't end the element it stands in."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _neuron(row: dict, text: str, activations: np.ndarray) -> dict:
    """An excerpt, character by character, with the unit's sign and strength."""
    values = activations[:, row["unit"]]
    strongest = float(np.abs(values).max()) or 1.0
    excerpt = range(row["begin"], min(row["begin"] + EXCERPT_CHARS, len(values)))
    characters = [
        (text[i], "p" if values[i] > 0 else "n", f"{abs(values[i]) / strongest:.2f}")
        for i in excerpt
    ]
    return {**row, "characters": characters}
