"""Reads shards for training and evaluation, in memory that does not grow with the text.

Tokens are mapped. Of held-out texts of more than `MAX_HELD_OUT_BYTES`, a sample is read, and a
sample of the training text stands for it in baselines and statistics, which the log states.
"""

import bisect
import dataclasses
import hashlib
import itertools
import mmap
import os
import pathlib
import sys

import numpy as np
from absl import logging

from shakespeare_gen.data import texts, token_store
from shakespeare_gen.data.corpora import Corpus
from shakespeare_gen.data.line_sketch import MAX_LINES, LineSketch
from shakespeare_gen.data.shards import manifest
from shakespeare_gen.data.shards.manifest import File, Manifest
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.system import storage

MAX_HELD_OUT_BYTES = 1_000_000
MAX_TRAIN_TOKENS = 2_000_000
CHUNK_BYTES = 1 << 24
# Pages that were read stay in the memory of the process until they are given back to the system.
MAX_MAPPED_BYTES = 1 << 26
# Linux maps the pages around one that is read, too (`fault_around_bytes`), if they are cached.
FAULT_BYTES = 1 << 16


class ShardedIds:
    """The tokens of a text in several files, which slices read; see `token_store.Tokens`.

    Not for use by several threads at once.
    """

    def __init__(self, shards: list[np.ndarray], maps: list[mmap.mmap]) -> None:
        self._shards, self._maps, self._num_read = shards, maps, 0
        self._ends = list(itertools.accumulate(map(len, shards)))
        self.dtype = shards[0].dtype

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, places: slice) -> np.ndarray:
        """The tokens of a slice without a step, as a copy."""
        begin, end, step = places.indices(len(self))
        if step != 1:
            raise ValueError(f"expected a slice without a step, received {places}")
        found, number = [np.zeros(0, self.dtype)], bisect.bisect_right(self._ends, begin)
        while begin < end:
            first = self._ends[number] - len(self._shards[number])
            found.append(self._shards[number][begin - first : end - first])
            begin, number = self._ends[number], number + 1
        read = np.concatenate(found)
        self._give_back(read.nbytes)
        return read

    def _give_back(self, num_bytes: int) -> None:
        """Returns the pages to the system, once they are many; they are read again if needed."""
        self._num_read += num_bytes + FAULT_BYTES
        if self._num_read > MAX_MAPPED_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
            self._num_read = 0


@dataclasses.dataclass(frozen=True, eq=False)
class ShardedTokens:
    """The tokens of a training text in shards; see `token_store.Tokens`."""

    ids: ShardedIds
    num_chars: int

    @property
    def num_tokens(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class ShardedCorpus(Corpus):
    """A corpus in shards, of which long texts are sampled.

    Attributes:
      identity: `sha256` of the whole corpus.
      chars: the length of each whole split.
    """

    identity: str = ""
    chars: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return self.identity

    def num_chars(self, split: str) -> int:
        return self.chars[split]


@dataclasses.dataclass(frozen=True, eq=False)
class Shards:
    """The content of a folder.

    Attributes:
      corpus: its training text is empty.
      lines: the sketch of the lines of the training text.
    """

    corpus: ShardedCorpus
    train: ShardedTokens
    lines: LineSketch


def fixed_options(options: Options, folder: pathlib.Path, found: Manifest) -> Options:
    """The options of a new run, with the values that the shards determine.

    Raises:
      UsageError: a given value differs.
    """
    given = options.by_name()
    _check_options(found, {n: given[n] for n in found.options if n in options.given}, folder)
    return options.replaced(**found.options)


def check_options(options: Options, folder: pathlib.Path, found: Manifest) -> None:
    """Checks that the shards suit the saved options of a run.

    Raises:
      UsageError: a value differs.
    """
    saved = options.by_name()
    _check_options(found, {name: saved.get(name) for name in found.options}, folder)


def _check_options(found: Manifest, received: dict[str, object], folder: pathlib.Path) -> None:
    for name, value in received.items():
        if value != found.options[name]:
            raise UsageError(
                f"{name}: expected {found.options[name]!r} for the shards in {folder}, "
                f"received {value!r}"
            )


def read(folder: pathlib.Path, found: Manifest, name: str) -> Shards:
    """Maps the shards, and reads held-out texts.

    Files that were changed after they were written are verified by their hashes.

    Args:
      name: the requested corpus.

    Raises:
      UserError: a file is missing, has another size or another content.
    """
    ids = _mapped(folder, found)
    path = folder / manifest.LINES
    _verify(folder, _other(found, manifest.LINES), found)
    hashes = np.frombuffer(storage.read_bytes(path, 8 * MAX_LINES), np.uint64)
    return Shards(
        _corpus(folder, found, name, ""),
        ShardedTokens(ids, found.num_chars),
        LineSketch(hashes),
    )


def load(folder: pathlib.Path, name: str) -> ShardedCorpus:
    """The texts of a corpus, or samples of long ones; logs which.

    Of the training text, characters that have no token are left out.

    Raises:
      UserError: see `read`.
    """
    found = manifest.read(folder)
    ids = _mapped(folder, found)
    train = found.tokenizer.decode(token_store.sample(ids, MAX_TRAIN_TOKENS).tolist())
    if len(ids) > MAX_TRAIN_TOKENS:
        _log_sample(name, "train", len(train), found)
    return _corpus(folder, found, name, train)


def _corpus(folder: pathlib.Path, found: Manifest, name: str, train: str) -> ShardedCorpus:
    validation, test = (_held_out(folder, found, name, split) for split in manifest.HELD_OUT)
    sizes = {split: _other(found, f"{split}.txt").num_bytes for split in manifest.HELD_OUT}
    sampled = ["train"] * (found.num_tokens > MAX_TRAIN_TOKENS)
    sampled += [split for split, size in sizes.items() if size > MAX_HELD_OUT_BYTES]
    return ShardedCorpus(
        name,
        train,
        validation,
        test,
        sampled=tuple(sampled),
        identity=found.corpus_sha256,
        chars=found.chars,
    )


def _held_out(folder: pathlib.Path, found: Manifest, name: str, split: str) -> str:
    """A held-out text, or a sample of whole lines of it."""
    file = _other(found, f"{split}.txt")
    _verify(folder, file, found)
    path = folder / file.name
    if file.num_bytes <= MAX_HELD_OUT_BYTES:
        return _decoded(path, storage.read_bytes(path, MAX_HELD_OUT_BYTES))
    size = MAX_HELD_OUT_BYTES // token_store.NUM_STRETCHES
    parts = []
    with storage.open_regular(path, sys.maxsize) as opened:
        for begin in (
            np.linspace(0, file.num_bytes - size, token_store.NUM_STRETCHES)
            .astype(np.int64)
            .tolist()
        ):
            opened.seek(begin)
            parts.append(_decoded(path, _whole_lines(opened.read(size), is_first=not begin)))
    text = "".join(parts)
    _log_sample(name, split, len(text), found)
    return text


def _whole_lines(data: bytes, is_first: bool) -> bytes:
    """The whole lines of a part of a text; whole characters, if there are none."""
    begin = 0 if is_first else data.find(b"\n") + 1
    end = data.rfind(b"\n") + 1
    if begin < end:
        return data[begin:end]
    starts = texts.is_start(data).nonzero()[0]
    return data[int(starts[0]) : int(starts[-1])] if len(starts) else b""


def _decoded(path: pathlib.Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8, found {error.reason}") from None


def _log_sample(name: str, split: str, num_chars: int, found: Manifest) -> None:
    logging.info(
        "corpus=%s: a sample of %s of %s characters of %s, in %d parts",
        name,
        f"{num_chars:,}",
        f"{found.chars[split]:,}",
        split,
        token_store.NUM_STRETCHES,
    )


def _other(found: Manifest, name: str) -> File:
    return next(file for file in found.others if file.name == name)


def _mapped(folder: pathlib.Path, found: Manifest) -> ShardedIds:
    itemsize = found.tokenizer.dtype.itemsize
    if sum(file.num_bytes for file in found.shards) != found.num_tokens * itemsize:
        raise UserError(
            f"{folder / manifest.NAME}: expected shards of {found.num_tokens:,} tokens of "
            f"{itemsize} bytes, found others"
        )
    shards, maps = [], []
    for file in found.shards:
        _verify(folder, file, found)
        path = folder / file.name
        with storage.open_regular(path, file.num_bytes) as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)  # windows are read at random, one page each
        maps.append(mapped)
        shards.append(np.frombuffer(mapped, found.tokenizer.dtype))
    return ShardedIds(shards, maps)


def _verify(folder: pathlib.Path, file: File, found: Manifest) -> None:
    """Checks the size of a file; its hash if it was modified since, and that its ids are valid."""
    path = folder / file.name
    with storage.open_regular(path, sys.maxsize) as opened:
        status = os.fstat(opened.fileno())
        if status.st_size != file.num_bytes:
            raise UserError(
                f"{path}: expected {file.num_bytes:,} bytes, found {status.st_size:,}: the file "
                "was changed after `prepare`"
            )
        if status.st_mtime_ns == file.modified_ns:
            return
        digest, highest = hashlib.sha256(), 0
        while data := opened.read(CHUNK_BYTES):
            digest.update(data)
            if file in found.shards:
                ids = np.frombuffer(data, found.tokenizer.dtype)
                highest = max(highest, int(ids.max(initial=0)))
    if digest.hexdigest() != file.sha256:
        raise UserError(
            f"{path}: expected content that matches the SHA-256 in {manifest.NAME}, found other "
            "content: the file was changed after `prepare`"
        )
    if highest >= found.tokenizer.size:
        raise UserError(
            f"{path}: expected ids below {found.tokenizer.size}, the size of the vocabulary, "
            f"found {highest}"
        )
