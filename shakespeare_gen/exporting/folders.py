"""What every exported folder contains besides the model: config, tokenizer, programs, README.

Knows nothing about the format of the model.
"""

import dataclasses
import pathlib

from shakespeare_gen.data import tokenizers
from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting import output, programs
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.system import storage

PROGRAMS = pathlib.Path(programs.__file__).parent
_TOKENIZERS = {"characters": "characters.py", "bytes": "byte_tokens.py", "words": "words.py"}


@dataclasses.dataclass(frozen=True)
class Pages:
    """The parts of README.md that depend on the format.

    Attributes:
      usage: how to load the model; `{prompt}` stands for a prompt as a Python string.
    """

    usage: str


def write_common(
    subject: Subject, path: pathlib.Path, format: str, quantize: str, pages: Pages
) -> None:
    """Writes everything but the model.

    Raises:
      UserError: no program knows the tokenizer.
    """
    config = subject.config(format, quantize)
    (path / output.CONFIG).write_bytes(storage.to_json(config))
    (path / "tokenizer.json").write_bytes(storage.to_json(subject.tokenizer_json()))
    copy_program(tokenizer_program(subject.tokenizer), path / "tokenizer.py")
    copy_program("generate.py", path / "generate.py")
    (path / "README.md").write_text(readme(subject, config, pages), "utf-8")


def tokenizer_program(tokenizer: tokenizers.Tokenizer) -> str:
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


def readme(subject: Subject, config: dict, pages: Pages) -> str:
    """The README of a folder."""
    tokenizer, [first, *_] = subject.tokenizer, config["models"]
    prompt = repr("ROMEO:" if not tokenizer.unknown_characters("ROMEO:") else tokenizer.label(0))
    losses = ", ".join(f"{split} {loss:.4f}" for split, loss in first["losses"].items())
    num_parameters = sum(spec.num_parameters for spec in subject.specs)
    rows = [
        f"| {part['name']} | {part['dtype']} [{', '.join(map(str, part['shape']))}] |"
        for part in config["state"]
    ]
    lines = [
        f"# {subject.name}",
        "",
        f"A language model with {num_parameters:,} parameters, trained on {first['corpus']}, in "
        f"the format `{config['format']}` of shakespeare_gen.",
        *([f"Its losses in nats per character: {losses}."] if losses else []),
        "",
        '    python generate.py "ROMEO:" 300 0.8 1    # prompt, tokens, temperature, seed',
        "",
        pages.usage.replace("{prompt}", prompt).rstrip(),
        "",
        "## Shapes and state",
        "",
        f"The model reads token ids, integers below {tokenizer.size:,}, and gives one logit per id "
        "for the next token. A text starts with a state of zeros; what a step returns as the new "
        "state is passed to the next step. Rows of a batch are independent.",
        "",
        "| state | type and shape |",
        "|---|---|",
        *rows,
        "",
        "## Vocabulary",
        "",
        _vocabulary(subject, config),
        "",
    ]
    return "\n".join(lines)


def _vocabulary(subject: Subject, config: dict) -> str:
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
