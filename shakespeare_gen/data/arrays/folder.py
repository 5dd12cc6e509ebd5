"""The files of a folder of arrays, and the JSON file that describes them.

Knows nothing about the content of arrays.
"""

import dataclasses
import os
import pathlib
import re
from typing import Any

from shakespeare_gen.data import tokenizers
from shakespeare_gen.data.tokenizers import TOKENIZERS, Tokenizer, TokenOptions
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup, Options
from shakespeare_gen.options.groups import ArrayOptions, CorpusOptions
from shakespeare_gen.system import storage

FORMAT_VERSION = 1
MAX_SPEC_BYTES = 1 << 26  # mostly the vocabulary
MAX_TOKENS = 1 << 40
ARRAYS = ("windows", "tokens")
# Options that a run cannot take from a folder: where the text was, and how the folder was made.
LOCATION = frozenset(
    {
        "corpus",
        "data_dir",
        "fallback_corpus",
        "layout",
        "num_processes",
        "output_dir",
        "overwrite",
    }
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Place:
    """The paths of the arrays of one text by one tokenizer.

    Attributes:
      name: the beginning of the names of all files of the text.
      tokens: the name of the tokenizer.
    """

    folder: pathlib.Path
    name: str
    tokens: str

    @property
    def spec_path(self) -> pathlib.Path:
        return self.folder / f"{self.name}_{noun(self.tokens)}s.json"

    def array_path(self, array: str) -> pathlib.Path:
        """The path of one of `ARRAYS`."""
        return self.folder / f"{self.name}_{noun(self.tokens)}_{array}.npy"

    def text_path(self, split: str) -> pathlib.Path:
        return self.folder / f"{self.name}_{split}.txt"


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """The content of the JSON file.

    Attributes:
      options: those of the corpus, the tokenizer and the windows, without `LOCATION`; options
        that are missing in the file have their defaults.
      corpus_name: the corpus that the arrays were made from.
      corpus_sha256: see `corpora.Corpus.sha256`.
      num_tokens: of the training text.
      array_sha256: hash of the numbers of each array.
    """

    tokenizer: Tokenizer
    options: dict[str, Any]
    corpus_name: str
    corpus_sha256: str
    num_tokens: int
    num_windows: int
    array_sha256: dict[str, str]

    @property
    def window_chars(self) -> int:
        return self.options["window_chars"]


def noun(tokens: str) -> str:
    """One token of a tokenizer, for file names: `char`, `word`, `byte`."""
    return {"characters": "char"}.get(tokens, tokens.removesuffix("s"))


def find(corpus: str, tokens: str = "") -> Place | None:
    """The arrays that a path refers to: a folder, or the JSON file in it; None for other paths.

    Args:
      tokens: the tokenizer; "": any, first of all characters.

    Raises:
      UserError: there are several texts in the folder, or none by this tokenizer.
    """
    path = pathlib.Path(os.path.expanduser(corpus))
    places = listed(path) or [place for place in listed(path.parent) if place.spec_path == path]
    if not places:
        _check_no_arrays(path)
        return None
    texts = sorted({place.name for place in places})
    if len(texts) > 1:
        shown = ", ".join(str(place.spec_path) for place in places[:4])
        raise UserError(f"corpus={corpus}: expected arrays of one text; choose one: {shown}")
    by_tokens = {place.tokens: place for place in places}
    if tokens and tokens not in by_tokens:
        raise UserError(
            f"tokens: expected one of {', '.join(by_tokens)}, of which there are arrays in "
            f"{corpus}, received {tokens}"
        )
    return by_tokens[tokens] if tokens else places[0]


def _check_no_arrays(folder: pathlib.Path) -> None:
    """Checks that a folder without complete arrays has no others: its texts are those of all
    splits."""
    arrays = [name for name in _names(folder) if name.endswith("_windows.npy")]
    if arrays:
        raise UserError(
            f"corpus={folder}: expected arrays and their JSON file, found {arrays[0]} without "
            "one; make them again with `prepare`"
        )


def _names(folder: pathlib.Path) -> list[str]:
    """The sorted names in a folder; none if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []


def listed(folder: pathlib.Path) -> list[Place]:
    """All arrays in a folder, those of characters first."""
    names = _names(folder)
    places = [
        Place(folder, name.removesuffix(f"_{noun(tokens)}s.json"), tokens)
        for tokens in TOKENIZERS
        for name in names
        if name.endswith(f"_{noun(tokens)}s.json")
    ]
    return [place for place in places if place.array_path("windows").name in names]


def groups(tokens: str) -> tuple[type[OptionGroup], ...]:
    """The types of the options that determine arrays."""
    return CorpusOptions, TokenOptions, TOKENIZERS[tokens].OPTIONS, ArrayOptions


def saved_options(options: Options) -> dict[str, Any]:
    """The options that a folder stores, by name."""
    kept = options.only(groups(options[TokenOptions].tokens)).by_name()
    return {name: value for name, value in kept.items() if name not in LOCATION}


def write_spec(place: Place, spec: ArraySpec) -> None:
    """Stores the JSON file; it is written last, so that an unfinished folder has none."""
    value = {
        "format_version": FORMAT_VERSION,
        **dataclasses.asdict(spec),
        "tokenizer": tokenizers.to_json(spec.tokenizer),
    }
    storage.write(place.spec_path, storage.to_json(storage.sealed(value)))


def read_spec(place: Place) -> ArraySpec:
    """Reads and verifies the JSON file.

    Raises:
      UserError: it is damaged, or its values are invalid or do not match.
    """
    path = place.spec_path
    value = storage.read_sealed(path, MAX_SPEC_BYTES, lambda found: _check_version(found, path))
    fields = [field.name for field in dataclasses.fields(ArraySpec)]
    storage.check_keys(value, ("format_version", *fields), path)
    _check(path, value)
    try:
        tokenizer = tokenizers.from_json(value["tokenizer"])
        parsed = Options.parse(groups(place.tokens), value["options"])
    except UserError as error:
        raise UserError(f"{path}: {str(error)[:400]}") from None
    if not tokenizer.NAME == place.tokens == parsed[TokenOptions].tokens:
        raise UserError(f"{path}: expected tokens={place.tokens}, found {tokenizer.NAME}")
    if located := sorted(LOCATION & value["options"].keys()):
        raise UserError(f"{path}: expected no {located[0]} in the options, found one")
    checked = {"tokenizer": tokenizer, "options": saved_options(parsed)}
    return ArraySpec(**{**{name: value[name] for name in fields}, **checked})


def _check_version(value: dict[str, Any], path: pathlib.Path) -> None:
    if value.get("format_version") != FORMAT_VERSION:
        found = str(value.get("format_version"))[:20]
        raise UserError(f"{path}: expected format_version {FORMAT_VERSION}, found {found}")


def _check(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Checks types and bounds of the values that are not options."""
    hashes = value["array_sha256"]
    is_valid = {
        "tokenizer": isinstance(value["tokenizer"], dict),
        "options": isinstance(value["options"], dict),
        "corpus_name": isinstance(value["corpus_name"], str),
        "corpus_sha256": _is_sha256(value["corpus_sha256"]),
        "num_tokens": _is_count(value["num_tokens"]),
        "num_windows": _is_count(value["num_windows"]),
        "array_sha256": isinstance(hashes, dict)
        and sorted(hashes) == sorted(ARRAYS)
        and all(map(_is_sha256, hashes.values())),
    }
    for name in [name for name, valid in is_valid.items() if not valid]:
        raise UserError(f"{path}: expected a valid {name}, found {str(value[name])[:80]!r}")


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_TOKENS
