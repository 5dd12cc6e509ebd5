"""Writes the arrays of a corpus; see the folder's docstring.

Windows are written through a memory map, so they may be larger than memory. Every file is written
under another name first, and the JSON file last: an interrupted command leaves no invalid arrays.
"""

import contextlib
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from shakespeare_gen.data import texts, token_store, tokenizers, windows
from shakespeare_gen.data.arrays import folder
from shakespeare_gen.data.arrays.folder import ArraySpec, Place
from shakespeare_gen.data.corpora import SPLITS, Corpus
from shakespeare_gen.data.sources import find as find_source
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import ArrayOptions, WindowOptions
from shakespeare_gen.system import storage

CHUNK_BYTES = 1 << 24
MAX_NAME_CHARS = 60


def write(corpus: Corpus, options: Options) -> tuple[Place, ArraySpec]:
    """Tokenizes a corpus and writes its texts, tokens and windows.

    Args:
      options: those of the corpus and the tokenizer, and `ArrayOptions`.

    Raises:
      UserError: the text is too short, the folder has arrays already, or it cannot be written.
    """
    chosen = options[ArrayOptions]
    tokenizer = tokenizers.from_text(corpus.train, options)
    place = Place(pathlib.Path(chosen.output_dir).expanduser(), name_of(corpus), tokenizer.NAME)
    ids = token_store.tokenize(corpus, tokenizer)["train"].ids
    plan = windows.plan(
        len(ids),
        WindowOptions(
            window_chars=chosen.window_chars,
            window_stride=chosen.window_stride,
            random_offset=False,
        ),
    )
    # From here on, arrays that are there are overwritten: all errors of the user are reported.
    _make_room(place, corpus, chosen.overwrite)
    for split in SPLITS:
        _write_text(place.text_path(split), getattr(corpus, split))
    hashes = {
        "windows": _write_windows(place.array_path("windows"), ids, plan),
        "tokens": _write_array(place.array_path("tokens"), ids),
    }
    spec = ArraySpec(
        tokenizer,
        folder.saved_options(options),
        corpus.name,
        corpus.sha256,
        len(ids),
        plan.num_available,
        hashes,
    )
    folder.write_spec(place, spec)
    return place, spec


def name_of(corpus: Corpus) -> str:
    """The beginning of the names of the files: that of the corpus, without its suffix."""
    name = corpus.name if find_source(corpus.name) else pathlib.Path(corpus.path).stem
    return re.sub(r"[^\w.-]+", "_", name)[:MAX_NAME_CHARS].strip("_.") or "corpus"


def _make_room(place: Place, corpus: Corpus, overwrite: bool) -> None:
    """Creates the folder, and deletes the JSON file of arrays that will be overwritten."""
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        if place.spec_path.exists() and not overwrite:
            raise UserError(f"{place.spec_path}: expected no arrays, found some; use `overwrite`")
        for other in folder.listed(place.folder):
            if other != place:
                _check_same_text(other, place, corpus)
        place.spec_path.unlink(missing_ok=True)
    except OSError as error:
        reason = storage.reason(error)
        raise UserError(f"output_dir={place.folder}: cannot be written: {reason}") from None


def _check_same_text(other: Place, place: Place, corpus: Corpus) -> None:
    known = (other.name, folder.read_spec(other).corpus_sha256)
    if known != (place.name, corpus.sha256):
        raise UserError(
            f"output_dir={place.folder}: expected a folder without arrays, or with those "
            f"of the same text and splits, found those of {other.name}; choose another folder"
        )


def _write_text(path: pathlib.Path, text: str) -> None:
    with _replaced(path) as partial, partial.open("wb") as file:
        file.writelines(texts.utf_8(text))


def _write_array(path: pathlib.Path, array: np.ndarray) -> str:
    with _replaced(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
    return hashlib.sha256(array.data).hexdigest()


def _write_windows(path: pathlib.Path, ids: np.ndarray, plan: windows.Plan) -> str:
    """Writes the windows in chunks and returns their hash."""
    shape = (plan.num_available, plan.window_chars + 1)
    num_rows = max(CHUNK_BYTES // (shape[1] * ids.itemsize), 1)
    digest = hashlib.sha256()
    every = np.lib.stride_tricks.sliding_window_view(ids, shape[1])[:: plan.spacing]
    with _replaced(path) as partial:
        array = np.lib.format.open_memmap(partial, "w+", ids.dtype, shape)
        for begin in range(0, len(array), num_rows):
            chunk = np.ascontiguousarray(every[begin : begin + num_rows])
            array[begin : begin + num_rows] = chunk
            digest.update(chunk.data)
        array.flush()
    return digest.hexdigest()


@contextlib.contextmanager
def _replaced(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path for new content, which then replaces the file; on an error the file is kept."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {storage.reason(error)}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
