"""What every exported folder contains besides the model: config, tokenizer, programs, README.

A README is the page of its format in `pages`, between a heading and the shapes and vocabulary of
the model. Knows nothing about how a model is written.
"""

import json
import math
import pathlib
import string
from typing import Any

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting import output, programs
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.system import storage

PROGRAMS = pathlib.Path(programs.__file__).parent
PAGES = pathlib.Path(__file__).parent / "pages"
_TOKENIZERS = {"characters": "characters.py", "bytes": "byte_tokens.py", "words": "words.py"}


def write_common(
    subject: Subject, path: pathlib.Path, format: str, quantize: str, **facts: Any
) -> None:
    """Writes everything but the model.

    Args:
      facts: values for the page of the format, besides `values`.

    Raises:
      UserError: no program knows the tokenizer.
    """
    write_files(subject, path, format, quantize)
    page = readme(subject, subject.config(format, quantize), facts)
    (path / "README.md").write_text(page, "utf-8")


def write_files(subject: Subject, path: pathlib.Path, format: str, quantize: str) -> None:
    """Writes everything but the model and the README; see `write_common`."""
    config = subject.config(format, quantize)
    (path / output.CONFIG).write_bytes(storage.to_json(config))
    (path / "tokenizer.json").write_bytes(storage.to_json(subject.tokenizer_json()))
    copy_program(_tokenizer_program(subject.tokenizer), path / "tokenizer.py")
    copy_program("generate.py", path / "generate.py")


def _tokenizer_program(tokenizer: Tokenizer) -> str:
    """The program for a tokenizer.

    Raises:
      UserError: there is none.
    """
    if tokenizer.NAME not in _TOKENIZERS:
        raise UserError(
            f"run_dir: expected a model with tokens {', '.join(_TOKENIZERS)}, which can be "
            f"exported, found tokens={tokenizer.NAME}"
        )
    return _TOKENIZERS[tokenizer.NAME]


def copy_program(name: str, path: pathlib.Path) -> None:
    """Copies one of `programs`."""
    path.write_bytes((PROGRAMS / name).read_bytes())


def prompt(tokenizer: Tokenizer) -> str:
    """A prompt for examples: known, and without characters that a shell would interpret."""
    for text in ("ROMEO:", "The"):
        if not tokenizer.unknown_characters(text):
            return text
    labels = map(tokenizer.label, range(tokenizer.size))
    return next((label for label in labels if label.isalnum()), "")


def readme(subject: Subject, config: dict[str, Any], facts: dict[str, Any]) -> str:
    """The README of a folder."""
    page = string.Template((PAGES / f"{config['format']}.md").read_text("utf-8"))
    lines = [
        *heading(subject, config),
        "",
        f'    python generate.py "{prompt(subject.tokenizer)}" 300 0.8 1    '
        "# prompt, tokens, temperature, seed",
        "",
        page.substitute({**values(subject, config), **facts}).rstrip(),
        "",
        *shapes(subject, config),
    ]
    return "\n".join(lines)


def heading(subject: Subject, config: dict[str, Any]) -> list[str]:
    """What the model is."""
    first = config["models"][0]
    losses = ", ".join(f"{split} {loss:.4f}" for split, loss in first["losses"].items())
    num_parameters = sum(spec.num_parameters for spec in subject.specs)
    quantized = "" if config["quantize"] == "none" else f", weights in {config['quantize']}"
    return [
        f"# {subject.name}",
        "",
        f"A language model with {num_parameters:,} parameters, trained on {first['corpus']}.",
        f"Format: `{config['format']}`{quantized}, exported by {config['exported_by']}.",
        *([f"Losses before the export, in nats per character: {losses}."] if losses else []),
    ]


def values(subject: Subject, config: dict[str, Any]) -> dict[str, Any]:
    """What the pages may contain."""
    tokenizer = subject.tokenizer
    text = prompt(tokenizer)
    ids = tokenizer.encode(text).tolist()
    sizes = {part["name"]: part["shape"][1:] for part in config["state"]}
    numbers = {name: math.prod(shape) for name, shape in sizes.items()}
    return {
        "prompt": json.dumps(text),
        "text": text,
        "ids": ids,
        "first_ids": ", ".join(map(str, ids)),
        "size": config["vocabulary_size"],
        "start_id": config["start_id"],
        "kotlin_sizes": ", ".join(f'"{name}" to {size}' for name, size in numbers.items()),
        "swift_sizes": ", ".join(f'"{name}": {size}' for name, size in numbers.items()),
        "kotlin_tensors": "\n".join(
            ["", *(f'    "{name}" to {_kotlin_zeros(shape)},' for name, shape in sizes.items()), ""]
        ),
        "json_state": ", ".join(f'"{name}": [[0, ...]]' for name in sizes),
    }


def _kotlin_zeros(shape: list[int]) -> str:
    dims = ", ".join(f"{length}L" for length in (1, *shape))
    buffer = f"FloatBuffer.allocate({math.prod(shape)})"
    return f"OnnxTensor.createTensor(environment, {buffer}, longArrayOf({dims}))"


def shapes(subject: Subject, config: dict[str, Any]) -> list[str]:
    """The sections about the state and the vocabulary."""
    rows = [
        f"| `{part['name']}` | {part['dtype']} [{', '.join(map(str, part['shape']))}] "
        f"| {part['initial']} |"
        for part in config["state"]
    ]
    return [
        "## Shapes and state",
        "",
        f"The model reads token ids, integers below {config['vocabulary_size']:,}, and gives one "
        "logit per id for the next token. What a call returns as the state is passed to the next "
        "one; at the start of a text, every number of it is the one in the table.",
        "",
        "| state | type and shape | at the start |",
        "|---|---|---|",
        *rows,
        "",
        "## Vocabulary",
        "",
        _vocabulary(subject, config),
        "",
    ]


def _vocabulary(subject: Subject, config: dict[str, Any]) -> str:
    kind = {
        "characters": "An id is the position of a character in `characters` of `tokenizer.json`"
        + ("; the last id stands for every other character." if config["forbidden_ids"] else "."),
        "bytes": "An id is a byte of UTF-8.",
        "words": "An id below 256 is a byte of UTF-8; the others are the `texts` of "
        "`tokenizer.json`, from 256 on.",
    }[subject.tokenizer.NAME]
    end = "" if config["end_id"] is None else f" Id {config['end_id']} ends a document."
    return (
        f"{kind} Before the first token of a text without a prompt, the model reads id "
        f"{config['start_id']}.{end} `tokenizer.py` encodes and decodes."
    )
