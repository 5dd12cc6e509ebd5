"""The files of a folder of shards, and the JSON file that describes them.

Knows nothing about how shards are written and read.
"""

import dataclasses
import os
import pathlib
from typing import Any

from shakespeare_gen.data import tokenizers
from shakespeare_gen.data.arrays.folder import LOCATION
from shakespeare_gen.data.tokenizers import TOKENIZERS, Tokenizer, TokenOptions
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup, Options
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import storage

FORMAT_VERSION = 1
NAME = "manifest.json"
MAX_BYTES = 1 << 26  # mostly the vocabulary
MAX_COUNT = 1 << 48
HELD_OUT = ("validation", "test")
LINES = "lines.npy"


@dataclasses.dataclass(frozen=True)
class File:
    """A file of the folder.

    Attributes:
      num_bytes: its size.
      modified_ns: when it was written, to notice a change without reading it.
    """

    name: str
    num_bytes: int
    modified_ns: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of the JSON file.

    Attributes:
      options: those of the corpus and the tokenizer.
      corpus_name: the corpus that the shards were made from.
      corpus_sha256: see `writing.identity`.
      chars: the characters of each split.
      num_tokens, num_chars: of the training text, without characters that were left out.
      num_missed: see `TextCounts`.
      shards: the tokens of the training text, in order.
      others: the held-out texts and the sample of lines.
    """

    tokenizer: Tokenizer
    options: dict[str, Any]
    corpus_name: str
    corpus_sha256: str
    chars: dict[str, int]
    num_tokens: int
    num_chars: int
    num_missed: int
    shards: tuple[File, ...]
    others: tuple[File, ...]


def find(corpus: str) -> pathlib.Path | None:
    """The folder of shards that a path refers to: itself, or its JSON file; None for others."""
    path = pathlib.Path(os.path.expanduser(corpus))
    if path.name == NAME:
        path = path.parent
    try:
        return path if (path / NAME).is_file() and _is_manifest(path) else None
    except (OSError, ValueError):
        return None


def _is_manifest(folder: pathlib.Path) -> bool:
    """Whether there are shards: a folder of texts may have a file with that name."""
    return any(folder.glob("train-*.ids"))


def groups(tokens: str) -> tuple[type[OptionGroup], ...]:
    """The types of the options that determine shards."""
    return CorpusOptions, TokenOptions, TOKENIZERS[tokens].OPTIONS


def saved_options(options: Options) -> dict[str, Any]:
    """The options that a folder stores, by name."""
    kept = options.only(groups(options[TokenOptions].tokens)).by_name()
    return {name: value for name, value in kept.items() if name not in LOCATION}


def write(folder: pathlib.Path, manifest: Manifest) -> None:
    """Stores the JSON file; it is written last, so that an unfinished folder has none."""
    value = {
        "format_version": FORMAT_VERSION,
        **dataclasses.asdict(manifest),
        "tokenizer": tokenizers.to_json(manifest.tokenizer),
    }
    storage.write(folder / NAME, storage.to_json(storage.sealed(value)))


def read(folder: pathlib.Path) -> Manifest:
    """Reads and verifies the JSON file.

    Raises:
      UserError: it is damaged, or its values are invalid.
    """
    path = folder / NAME
    value = storage.read_sealed(path, MAX_BYTES, lambda found: _check_version(found, path))
    fields = [field.name for field in dataclasses.fields(Manifest)]
    storage.check_keys(value, ("format_version", *fields), path)
    _check(path, value)
    try:
        tokenizer = tokenizers.from_json(value["tokenizer"])
        parsed = Options.parse(groups(tokenizer.NAME), value["options"])
    except UserError as error:
        raise UserError(f"{path}: {str(error)[:400]}") from None
    if parsed[TokenOptions].tokens != tokenizer.NAME:
        raise UserError(f"{path}: expected tokens={tokenizer.NAME} in the options, found others")
    checked = {
        "tokenizer": tokenizer,
        "options": saved_options(parsed),
        "shards": tuple(File(**file) for file in value["shards"]),
        "others": tuple(File(**file) for file in value["others"]),
    }
    return Manifest(**{**{name: value[name] for name in fields}, **checked})


def _check_version(value: dict[str, Any], path: pathlib.Path) -> None:
    if value.get("format_version") != FORMAT_VERSION:
        found = str(value.get("format_version"))[:20]
        raise UserError(f"{path}: expected format_version {FORMAT_VERSION}, found {found}")


def _check(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Checks types and bounds of the values that are not options."""
    counts = {name: value[name] for name in ("num_tokens", "num_chars", "num_missed")}
    names = {name for files in (value["shards"], value["others"]) for name in _names(files)}
    is_valid = {
        "tokenizer": isinstance(value["tokenizer"], dict),
        "options": isinstance(value["options"], dict) and not LOCATION & value["options"].keys(),
        "corpus_name": isinstance(value["corpus_name"], str),
        "corpus_sha256": isinstance(value["corpus_sha256"], str),
        "chars": _is_counts(value["chars"], ("train", *HELD_OUT)),
        **{name: _is_count(count) for name, count in counts.items()},
        "shards": _is_files(value["shards"]) and bool(value["shards"]),
        "others": _is_files(value["others"])
        and names >= {LINES, *(f"{split}.txt" for split in HELD_OUT)},
    }
    for name in [name for name, valid in is_valid.items() if not valid]:
        raise UserError(f"{path}: expected a valid {name}, found {str(value[name])[:80]!r}")


def _names(files: Any) -> list[Any]:
    return [file.get("name") for file in files if isinstance(file, dict)] if _is_list(files) else []


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_files(files: Any) -> bool:
    types = {"name": str, "num_bytes": int, "modified_ns": int, "sha256": str}
    return _is_list(files) and all(
        isinstance(file, dict)
        and {key: type(item) for key, item in file.items()} == types
        and pathlib.PurePath(file["name"]).name == file["name"]
        and 0 <= file["num_bytes"] <= MAX_COUNT
        for file in files
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _is_counts(value: Any, keys: tuple[str, ...]) -> bool:
    return (
        isinstance(value, dict) and set(value) == set(keys) and all(map(_is_count, value.values()))
    )
