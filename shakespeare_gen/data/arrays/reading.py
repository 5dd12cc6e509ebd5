"""Reads the arrays of a corpus for training, in constant memory; see the folder's docstring.

Also decides which options of a run the arrays determine.
"""

import codecs
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from shakespeare_gen.data import text_files, token_store, windows
from shakespeare_gen.data.arrays import folder
from shakespeare_gen.data.arrays.folder import ArraySpec, Place
from shakespeare_gen.data.corpora import SPLITS, Corpus
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import WindowOptions
from shakespeare_gen.system import storage

CHUNK_BYTES = 1 << 24
# Streams need a continuous text, and the positions of the windows are fixed.
FIXED_OPTIONS = {"carry_state": False, "random_offset": False}


@dataclasses.dataclass(frozen=True)
class StoredCorpus:
    """A corpus whose text stays in its files; see `corpora.CorpusIdentity`."""

    name: str
    path: str
    sha256: str
    chars_by_split: dict[str, int]

    def num_chars(self, split: str) -> int:
        return self.chars_by_split[split]


@dataclasses.dataclass(frozen=True, eq=False)
class StoredTokens:
    """The tokens of a text that stays in its file; see `token_store.Tokens`."""

    ids: np.ndarray
    num_chars: int

    @property
    def num_tokens(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """The verified content of a folder.

    Attributes:
      train: the tokens of the training text, mapped.
      held_out: the tokens of validation and test.
      windows: unsigned integers [num_windows, T + 1], mapped.
    """

    corpus: StoredCorpus
    train: StoredTokens
    held_out: dict[str, TokenizedText]
    windows: np.ndarray


def fixed_options(options: Options, place: Place, spec: ArraySpec) -> Options:
    """The options of a new run, with the values that the arrays determine.

    Raises:
      UsageError: a given value differs.
    """
    fixed = {**spec.options, **FIXED_OPTIONS}
    given = options.by_name()
    _check_options(fixed, {n: given[n] for n in fixed if n in options.given}, place)
    return options.replaced(**fixed)


def check_options(options: Options, place: Place, spec: ArraySpec) -> None:
    """Checks that the arrays suit the saved options of a run.

    Raises:
      UsageError: a value differs.
    """
    fixed = {**spec.options, **FIXED_OPTIONS}
    saved = options.by_name()
    _check_options(fixed, {name: saved.get(name) for name in fixed}, place)


def read(place: Place, spec: ArraySpec, name: str) -> Arrays:
    """Opens the arrays and verifies all texts and numbers, in chunks.

    Args:
      name: the requested corpus.

    Raises:
      UserError: a file is missing or damaged, or does not match the others.
    """
    corpus, kept_chars, texts = _texts(place, spec, name)
    plan = windows.plan(
        spec.num_tokens,
        WindowOptions(
            window_chars=spec.window_chars,
            window_stride=spec.options["window_stride"],
            random_offset=False,
        ),
    )
    if plan.num_available != spec.num_windows:
        raise UserError(
            f"{place.spec_path}: expected {plan.num_available:,} windows of {spec.num_tokens:,} "
            f"tokens, found {spec.num_windows:,}"
        )
    ids = _array(place, spec, "tokens", (spec.num_tokens,))
    return Arrays(
        corpus,
        StoredTokens(ids, kept_chars),
        token_store.tokenize(texts, spec.tokenizer, ("validation", "test")),
        _array(place, spec, "windows", (spec.num_windows, spec.window_chars + 1)),
    )


def _check_options(fixed: dict[str, object], received: dict[str, object], place: Place) -> None:
    for name, value in received.items():
        if value != fixed[name]:
            raise UsageError(
                f"{name}: expected {fixed[name]!r} for the arrays in {place.spec_path}, "
                f"received {value!r}"
            )


def _texts(place: Place, spec: ArraySpec, name: str) -> tuple[StoredCorpus, int, Corpus]:
    """The corpus, the number of training characters that are tokens, and the held-out texts."""
    digest = hashlib.sha256()
    num_chars, kept_chars, held_out = {}, 0, {"validation": "", "test": ""}
    policy = token_store.unknown_policy(spec.tokenizer)
    for split in SPLITS:
        num_chars[split] = 0
        for chunk in _chunks(place.text_path(split), digest):
            num_chars[split] += len(chunk)
            if split in held_out:
                held_out[split] += chunk
            else:
                kept_chars += len(spec.tokenizer.prepare(chunk, policy, split))
    if digest.hexdigest() != spec.corpus_sha256:
        raise UserError(
            f"{place.text_path('train')}: expected the texts that the arrays were made from, "
            f"found others"
        )
    path = os.path.abspath(os.path.expanduser(name))
    corpus = StoredCorpus(name, path, digest.hexdigest(), num_chars)
    return corpus, kept_chars, Corpus(name, "", held_out["validation"], held_out["test"])


def _chunks(path: pathlib.Path, digest: "hashlib._Hash") -> Iterator[str]:
    """The text of a file in chunks; adds its length and its bytes to `digest`."""
    with storage.open_regular(path, text_files.MAX_BYTES) as file:
        digest.update(f"{os.fstat(file.fileno()).st_size}:".encode())
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for data in _blocks(file):
                digest.update(data)
                yield decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: expected UTF-8, found {error.reason}") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {storage.reason(error)}") from None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        yield data


def _array(place: Place, spec: ArraySpec, array: str, shape: tuple[int, ...]) -> np.ndarray:
    """Maps an array; verifies its shape, its type, its ids and its hash."""
    path = place.array_path(array)
    dtype = np.min_scalar_type(spec.tokenizer.size - 1)
    found = _mapped(path)
    if found.shape != shape or found.dtype != dtype or not found.flags.c_contiguous:
        raise UserError(
            f"{path}: expected an array of shape {shape} and type {dtype}, found shape "
            f"{str(found.shape)[:80]} and type {str(found.dtype)[:80]}"
        )
    digest = hashlib.sha256()
    num_rows = max(CHUNK_BYTES // (dtype.itemsize * (shape[1] if shape[1:] else 1)), 1)
    for begin in range(0, len(found), num_rows):
        chunk = found[begin : begin + num_rows]
        if (highest := int(chunk.max())) >= spec.tokenizer.size:
            raise UserError(
                f"{path}: expected ids below {spec.tokenizer.size}, the size of the vocabulary, "
                f"found {highest}"
            )
        digest.update(chunk.data)
    if digest.hexdigest() != spec.array_sha256[array]:
        raise UserError(
            f"{path}: expected numbers that match the SHA-256 in {place.spec_path.name}, found "
            "others: the file is damaged or was edited"
        )
    return found


def _mapped(path: pathlib.Path) -> np.ndarray:
    with storage.open_regular(path, folder.MAX_TOKENS):  # no link, no pipe
        pass
    try:
        # Refuses arrays of objects, which would be unpickled.
        return np.lib.format.open_memmap(path, "r")
    except (ValueError, OSError, EOFError, OverflowError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"{path}: expected a NumPy array, found {reason}") from None
