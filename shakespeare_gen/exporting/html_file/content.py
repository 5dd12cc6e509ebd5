"""What a page holds of a subject, and the model of a page that was written.

Knows nothing about HTML.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from shakespeare_gen import __version__, models, pretrained
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting.html_file import quantization
from shakespeare_gen.exporting.html_file.quantization import Packed
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.runs import Run
from shakespeare_gen.serving import cards

# The options that the engine needs, by the families that it has.
_OPTIONS = {
    "recurrent": ("cell", "units", "num_layers", "embedding_size", "residual"),
    "transformer": ("num_layers", "width", "num_heads", "context_tokens", "mlp", "tied_embeddings"),
}
_CELLS = ("lstm", "gru", "simple_rnn", "min_gru", "min_lstm", "handcrafted")  # `engine/cells.js`
_TOKENS = ("characters", "bytes", "words")  # `engine/tokenizers.js`


@dataclasses.dataclass(frozen=True)
class Content:
    """What a page holds.

    Attributes:
      description: the networks and the tokenizer, as `engine/model.js` loads them.
      data: the weights.
      model: the name of the model and its card, as the page shows them.
      note: what the file is.
    """

    description: dict[str, Any]
    data: bytes
    model: dict[str, Any]
    note: str

    @classmethod
    def of(cls, subject: Subject) -> "Content":
        """The content for a subject that `check` accepts."""
        every = [quantization.packed(checkpoint.weights) for checkpoint in subject.checkpoints]
        return cls(
            {"networks": _networks(subject, every), "tokenizer": _tokenizer(subject.tokenizer)},
            b"".join(packed.data for packed in every),
            _model(subject.runs),
            _note(subject.runs),
        )


def check(subject: Subject) -> None:
    """Raises `UserError` unless the engine of the page has the models and their tokenizer."""
    subject.check_is_network()
    for run, spec in zip(subject.runs, subject.specs, strict=True):
        cell = getattr(spec, "options").cell if spec.family == "recurrent" else None  # noqa: B009
        for name, value, known in (
            ("model", spec.family, tuple(_OPTIONS)),
            ("cell", cell, (None, *_CELLS)),
            ("tokens", subject.tokenizer.NAME, _TOKENS),
        ):
            if value not in known:
                names = ", ".join(filter(None, known))
                raise UserError(
                    f"run_dir={run.name}: expected {name} among {names} with `format=html`, "
                    f"found {name}={value}"
                )


def model_of(description: dict[str, Any], data: bytes) -> LanguageModel:
    """The model of a page in NumPy, with the weights as they were rounded."""
    size = description["tokenizer"]["size"]
    made = []
    for network in description["networks"]:
        family = models.FAMILIES[network["family"]]
        spec = family.spec(size, family.options(**network["options"]))
        made.append(models.from_arrays(spec, quantization.unpacked(network["weights"], data)))
    return made[0] if len(made) == 1 else Ensemble(made, np)


def _networks(subject: Subject, every: Sequence[Packed]) -> list[dict[str, Any]]:
    """The networks, as `engine/model.js` makes them."""
    networks, begin = [], 0
    for spec, packed in zip(subject.specs, every, strict=True):
        options = {name: getattr(spec.options, name) for name in _OPTIONS[spec.family]}  # type: ignore[attr-defined]
        weights = quantization.moved(packed.index, begin)
        networks.append({"family": spec.family, "options": options, "weights": weights})
        begin += len(packed.data)
    return networks


def _tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """A tokenizer, as `engine/tokenizers.js` makes it."""
    return {
        "tokens": tokenizer.NAME,
        **tokenizer.to_json(),
        "size": tokenizer.size,
        "start_id": tokenizer.start_id,
        "end_id": tokenizer.end_id,
        "unknown_id": tokenizer.unknown_id,
        "forbidden_ids": list(tokenizer.forbidden_ids),
    }


def _model(runs: Sequence[Run]) -> dict[str, Any]:
    """The name of the model and its card, as the page shows them."""
    names = [run.name if pretrained.is_name(run.name) else run.path.name for run in runs]
    every = [
        cards.card(name, run)["shakespeare_gen"] for name, run in zip(names, runs, strict=True)
    ]
    card = {**every[0], "report": None}
    if len(every) > 1:  # the losses of one are not those of the mean
        total = sum(each["parameters"] for each in every)
        card |= {"parameters": total, "losses": {}, "curve": []}
    return {"id": "+".join(names), "card": card}


def _note(runs: Sequence[Run]) -> str:
    """What the file is, and what is known of licenses."""
    texts = " and ".join(dict.fromkeys(run.spec.corpus.title for run in runs))
    if all(pretrained.is_name(run.name) for run in runs):
        readmes = [(run.path / "README.md").read_text("utf-8") for run in runs]
        told = " ".join(dict.fromkeys(" ".join(_last_paragraph(text)) for text in readmes))
    else:
        told = (
            f"The model was trained on {texts}, of which it may repeat passages: the license of "
            "that text also concerns what the model writes."
        )
    return (
        "This file holds the model, with weights of 8 bits, and the program that writes with it. "
        f"It works without a network and sends nothing. The program, of shakespeare_gen "
        f"{__version__}, has the MIT license. {told}"
    )


def _last_paragraph(text: str) -> list[str]:
    """The words of the last paragraph of a README, which is about the license."""
    return text.strip().rpartition("\n\n")[2].split()
