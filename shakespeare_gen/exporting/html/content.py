"""What a page holds, from the checkpoints of one or several runs, whose mean it writes with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shakespeare_gen import __version__, models
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting.html import quantization
from shakespeare_gen.exporting.html.page import Content
from shakespeare_gen.exporting.html.quantization import Packed
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.models.specs import Spec
from shakespeare_gen.runs import Run
from shakespeare_gen.runs.checkpoints import Checkpoint
from shakespeare_gen.serving import cards

# The options that the engine needs, by the families that it has.
_OPTIONS = {
    "recurrent": ("cell", "units", "num_layers", "residual"),
    "transformer": ("num_layers", "width", "num_heads", "context_tokens", "mlp"),
}


def content_of(
    sources: Sequence[tuple[Run, Checkpoint]], note: str
) -> tuple[Content, LanguageModel]:
    """What a page holds, and its model in NumPy: the weights are those of the page.

    Args:
      note: what is told about the model and its license, besides its card.

    Raises:
      UserError: the engine of the page has no such model.
    """
    specs = [run.spec.model_spec for run, _ in sources]
    for spec in specs:
        _check(spec)
    every = [quantization.packed(checkpoint.weights) for _, checkpoint in sources]
    rounded = [
        models.from_arrays(spec, packed.weights) for spec, packed in zip(specs, every, strict=True)
    ]
    model = rounded[0] if len(rounded) == 1 else Ensemble(rounded, np)
    run, _ = sources[0]
    content = Content(
        {"networks": _networks(specs, every), "tokenizer": _tokenizer(run.spec.tokenizer)},
        b"".join(packed.data for packed in every),
        _card([run for run, _ in sources]),
        _about(note),
    )
    return content, model


def _check(spec: Spec) -> None:
    if spec.family not in _OPTIONS:
        raise UserError(
            f"format=html: expected model={' or model='.join(_OPTIONS)}, received "
            f"model={spec.family}"
        )
    cell = getattr(spec, "options", None) and getattr(spec.options, "cell", None)
    if cell is not None and cell not in CELLS:
        raise UserError(
            f"format=html: expected one of the cells {', '.join(CELLS)}, received cell={cell}"
        )


# Those of `engine/cells.js`.
CELLS = ("lstm", "gru", "simple_rnn", "min_gru", "min_lstm", "handcrafted")


def _networks(specs: Sequence[Any], every: Sequence[Packed]) -> list[dict[str, Any]]:
    """The networks, as `engine/model.js` makes them."""
    networks, begin = [], 0
    for spec, packed in zip(specs, every, strict=True):
        options = {name: getattr(spec.options, name) for name in _OPTIONS[spec.family]}
        index = {
            name: {
                key: value if key == "shape" else value + begin for key, value in places.items()
            }
            for name, places in packed.index.items()
        }
        networks.append({"family": spec.family, "options": options, "weights": index})
        begin += len(packed.data)
    return networks


def _tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """A tokenizer, as `engine/tokenizers.js` makes it."""
    return {
        "tokens": tokenizer.NAME,
        **tokenizer.to_json(),
        "start_id": tokenizer.start_id,
        "end_id": tokenizer.end_id,
        "unknown_id": tokenizer.unknown_id,
        "forbidden_ids": list(tokenizer.forbidden_ids),
    }


def _card(runs: Sequence[Run]) -> dict[str, Any]:
    """The name of the model and its card, as the page shows them."""
    names = [run.name if run.name.startswith("pretrained:") else run.path.name for run in runs]
    first, *others = [cards.card(name, run) for name, run in zip(names, runs, strict=True)]
    card = {**first["shakespeare_gen"], "report": None}
    if others:  # the losses of one are not those of the mean
        every = [first, *others]
        total = sum(each["shakespeare_gen"]["parameters"] for each in every)
        card |= {"parameters": total, "losses": {}, "curve": []}
    return {"id": "+".join(names), "card": card}


def _about(note: str) -> str:
    return (
        "This file holds the model, in 8-bit weights, and the program that writes with it. It "
        f"sends nothing, and works without a network. Made by shakespeare_gen {__version__}, whose "
        f"program has the MIT license. {note}"
    )
