"""What is told about a model, from its run folder. Loads no model.

A run folder is not trusted: values of the run card that have another type are left out.
"""

import math
import os
import pathlib
from typing import Any

from shakespeare_gen.data.tokenizers import CharacterTokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.runs import Run
from shakespeare_gen.serving.checking import Schema

REPORT = "evaluation.html"  # in the folder `evaluation` of a run
MAX_REPORT_BYTES = 64 << 20
MAX_CURVE_POINTS = 1000
MAX_SPEAKERS, MAX_SPEAKER_CHARS = 100, 60
OWNER = "shakespeare_gen"

_NULL: Schema = {"type": "null"}
_FACTS = {
    "parameters": {"type": "integer"},
    "corpus": {"type": "string"},
    "losses": {"type": "object", "additionalProperties": {"type": "number"}},
    "curve": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    },
    "speakers": {"type": "array", "items": {"type": "string"}},
    "tokens": {"type": "string"},
    "vocabulary": {"anyOf": [{"type": "string"}, _NULL]},
    "report": {"anyOf": [{"type": "string"}, _NULL]},
}
SCHEMA: Schema = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by", "shakespeare_gen"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "enum": ["model"]},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
        "shakespeare_gen": {"type": "object", "required": list(_FACTS), "properties": _FACTS},
    },
}


def card(model: str, run: Run) -> dict[str, Any]:
    """A model of /v1/models, as JSON values."""
    spec, tokenizer = run.spec, run.spec.tokenizer
    shapes = spec.model_spec.weight_shapes().values()
    characters = tokenizer.characters if isinstance(tokenizer, CharacterTokenizer) else None
    facts = {
        "parameters": _num_parameters(run.folder.card(), list(shapes)),
        "corpus": spec.corpus.title,
        "losses": {k: v for k, v in run.losses.items() if math.isfinite(v)},
        "curve": _curve(run),
        "speakers": _speakers(run),
        "tokens": tokenizer.NAME,
        "vocabulary": characters,
        "report": f"/reports/{model}" if report_path(run) else None,
    }
    created = int(os.path.getmtime(run.folder.config_path))
    return {
        "id": model,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "shakespeare_gen": facts,
    }


def report_path(run: Run) -> pathlib.Path | None:
    """The page that `evaluate` wrote; None if there is none."""
    folder = run.folder.evaluation_dir
    path = folder / REPORT
    is_link = folder.is_symlink() or path.is_symlink()
    return path if path.is_file() and not is_link else None


def _num_parameters(card: dict[str, Any], shapes: list) -> int:
    """Of the run card, or for a model without one of the spec."""
    told = card.get("num_parameters")
    if isinstance(told, int) and not isinstance(told, bool):
        return told
    is_exact = all(isinstance(size, int) for shape in shapes for size in shape)
    return sum(math.prod(shape) for shape in shapes) if is_exact else 0


def _speakers(run: Run) -> list[str]:
    """The main speakers of the training text; none if it is not a play."""
    told = run.folder.card().get("speakers")
    names = told if isinstance(told, list) else []
    return [n for n in names if isinstance(n, str) and len(n) <= MAX_SPEAKER_CHARS][:MAX_SPEAKERS]


def _curve(run: Run) -> list[list[float]]:
    """[step, validation loss in nats per character], at most `MAX_CURVE_POINTS`."""
    try:
        rows = run.metrics()
    except UserError:
        return []
    found = [[row["step"], row["validation_loss"]] for row in rows if "validation_loss" in row]
    return found[:: max(1, math.ceil(len(found) / MAX_CURVE_POINTS))]
