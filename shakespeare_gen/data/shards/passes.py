"""What a process computes for a unit: counts in the first pass, a shard in the second.

The results are files, so that a preparation that was interrupted goes on where it was. Knows
nothing about processes.

    counts/00012.json      characters and words of unit 12; 00012-train.json: of a part of it
    train-00012.ids, validation-00012.txt, test-00012.txt, lines-00012.u64
    shards/00012.json      what unit 12 has become; written last
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from shakespeare_gen.data import texts, token_store, tokenizers
from shakespeare_gen.data.corpora import SPLITS
from shakespeare_gen.data.line_sketch import LineSampler
from shakespeare_gen.data.shards import pieces
from shakespeare_gen.data.shards.pieces import Cut
from shakespeare_gen.data.shards.units import Scope, Unit
from shakespeare_gen.data.tokenizers import TextCounts, Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import storage


@dataclasses.dataclass(frozen=True)
class Work:
    """A unit, and what both passes need for it.

    Attributes:
      number: the number of the unit.
      folder: where the results are written.
    """

    number: int
    unit: Unit
    scope: Scope
    options: Options
    folder: pathlib.Path
    cut: Cut | None = None

    def path(self, name: str) -> pathlib.Path:
        """The path of a result; `#` in `name` stands for the number."""
        return self.folder / name.replace("#", f"{self.number:05d}")

    def pieces(self) -> Iterator[pieces.Piece]:
        return pieces.read(self.unit, self.scope, self.options[CorpusOptions], self.cut)


@dataclasses.dataclass(frozen=True)
class Shard:
    """The result of the second pass.

    Attributes:
      num_tokens, num_chars: of the training text, without characters that were left out.
      chars, bytes: the lengths of the texts by split, all characters included.
      sha256: of the tokens.
    """

    num_tokens: int
    num_chars: int
    chars: dict[str, int]
    bytes: dict[str, int]
    sha256: str


def count(work: Work) -> int:
    """Counts the training text of a unit, for `counts`.

    Returns:
      The characters that count for positions in the scope of the unit.

    Raises:
      UserError: a file cannot be read, or the result cannot be written.
    """
    path, num_chars = _counts_path(work), 0
    if is_counted(work):
        return json.loads(path.read_bytes())["num_chars"]
    found = tokenizers.new_counts(work.options)
    for piece in work.pieces():
        num_chars += piece.num_chars
        if piece.split == "train":
            found.add(piece.data)
    storage.write(path, json.dumps({"num_chars": num_chars, **found.to_json()}).encode())
    return num_chars


def counts(work: Work) -> TextCounts:
    """What `count` has counted."""
    return TextCounts.from_json(json.loads(_counts_path(work).read_bytes()))


def is_counted(work: Work) -> bool:
    """Whether `count` has finished a unit."""
    return _counts_path(work).exists()


def _counts_path(work: Work) -> pathlib.Path:
    return work.path("counts/#.json" if work.cut is None else "counts/#-train.json")


def encode(work: Work, tokenizer: Tokenizer) -> Shard:
    """Writes the tokens of the training text of a unit, and its held-out texts.

    Raises:
      UserError: a file cannot be read, or the result cannot be written.
    """
    path = _shard_path(work)
    if is_encoded(work):
        return Shard(**json.loads(path.read_bytes()))
    chars, sizes = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    num_tokens, num_chars, lines, digest = 0, 0, LineSampler(), hashlib.sha256()
    unknown = token_store.unknown_policy(tokenizer)
    with _Outputs(work) as outputs:
        for split, data, _ in work.pieces():
            chars[split] += texts.num_chars(data)
            sizes[split] += len(data)
            if split != "train":
                outputs.write(f"{split}-#.txt", data)
                continue
            ids, kept_chars = tokenizer.encode_utf8(data, unknown)
            num_tokens += len(ids)
            num_chars += kept_chars
            lines.add(data)
            digest.update(ids.data)
            outputs.write("train-#.ids", ids.data)
    shard = Shard(num_tokens, num_chars, chars, sizes, digest.hexdigest())
    storage.write(work.path("lines-#.u64"), lines.sketch().hashes.tobytes())
    storage.write(path, json.dumps(dataclasses.asdict(shard)).encode())
    return shard


def is_encoded(work: Work) -> bool:
    """Whether `encode` has finished a unit."""
    return _shard_path(work).exists()


def _shard_path(work: Work) -> pathlib.Path:
    return work.path("shards/#.json")


class _Outputs(contextlib.ExitStack):
    """The files of a unit, created when there is something to write, and synced at the end."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work, self._files = work, dict[str, BinaryIO]()

    def write(self, name: str, data: bytes | memoryview) -> None:
        path = self._work.path(name)
        try:
            if name not in self._files:
                self._files[name] = self.enter_context(path.open("wb"))
                self.callback(self._sync, path, self._files[name])
            self._files[name].write(data)
        except OSError as error:
            raise _unwritable(path, error) from None

    def _sync(self, path: pathlib.Path, file: BinaryIO) -> None:
        try:
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(path, error) from None


def _unwritable(path: pathlib.Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be written: {storage.reason(error)}; run the command again to continue"
    )


def lines(work: Work) -> np.ndarray:
    """The hashes of lines that `encode` has written, uint64."""
    return np.frombuffer(work.path("lines-#.u64").read_bytes(), np.uint64)
