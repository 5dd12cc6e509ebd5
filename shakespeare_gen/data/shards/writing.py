"""Writes the shards of a corpus in two passes: one counts, the other encodes.

Both passes run in parallel processes and keep their results in a hidden folder until all is done,
so that the same command goes on after an interruption. The vocabulary is counted in the training
text alone, whose end is known after the first pass: units that are cut are counted again. Knows
nothing about reading.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import pathlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from absl import logging

from shakespeare_gen.data import splits, text_files, tokenizers
from shakespeare_gen.data.arrays import folder as arrays
from shakespeare_gen.data.corpora import SPLITS
from shakespeare_gen.data.line_sketch import LineSketch
from shakespeare_gen.data.shards import manifest, passes, processes, sources
from shakespeare_gen.data.shards.manifest import File, Manifest
from shakespeare_gen.data.shards.passes import Shard, Work
from shakespeare_gen.data.shards.pieces import Cut
from shakespeare_gen.data.shards.progress import Pass
from shakespeare_gen.data.shards.sources import Plan
from shakespeare_gen.data.tokenizers import TextCounts, Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import ArrayOptions, CorpusOptions
from shakespeare_gen.system import devices, storage

STAGING = ".unfinished"
COPY_BYTES = 1 << 24


def write(options: Options) -> tuple[pathlib.Path, Manifest]:
    """Tokenizes a corpus and writes its shards and held-out texts.

    Args:
      options: those of the corpus and the tokenizer, and `ArrayOptions`.

    Returns:
      The folder, and what was written.

    Raises:
      UserError: the text cannot be read, the folder has shards or arrays already, another process
        prepares it, or it cannot be written.
    """
    chosen = options[ArrayOptions]
    folder = pathlib.Path(chosen.output_dir).expanduser()
    tokenizers.new_counts(options)  # reports a tokenizer that needs the whole text
    with _reserved(folder):
        _check_room(folder, chosen.overwrite)
        staging = _staging(folder, options)
        num_processes = chosen.num_processes or devices.num_cores()
        plan = sources.plan(options[CorpusOptions], staging / "text", num_processes)
        works = [
            Work(number, unit, plan.scopes[unit.scope], options, staging)
            for number, unit in enumerate(plan.units)
        ]
        works, counts = _counted(works, plan, num_processes)
        tokenizer = tokenizers.from_counts(counts, options)
        shards, lines = _encoded(works, tokenizer, plan, num_processes)
        if not sum(shard.num_tokens for shard in shards):
            raise UserError(f"corpus={options[CorpusOptions].corpus}: expected text, received none")
        found = _finished(folder, staging, works, shards, lines)
        written = Manifest(
            tokenizer,
            manifest.saved_options(options),
            options[CorpusOptions].corpus,
            identity(folder, works, shards, found),
            {split: sum(shard.chars[split] for shard in shards) for split in SPLITS},
            sum(shard.num_tokens for shard in shards),
            sum(shard.num_chars for shard in shards),
            counts.num_missed,
            *found,
        )
        manifest.write(folder, written)
        shutil.rmtree(staging)
    return folder, written


@contextlib.contextmanager
def _reserved(folder: pathlib.Path) -> Iterator[None]:
    """Reserves the folder for one process."""
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        with lock.acquire(blocking=False):
            yield
    except filelock.Timeout:
        raise UserError(
            f"output_dir={folder}: expected a folder that no other process prepares, found one "
            "that does"
        ) from None
    except OSError as error:
        raise UserError(
            f"output_dir={folder}: cannot be written: {storage.reason(error)}; run the command "
            "again to continue"
        ) from None


def _check_room(folder: pathlib.Path, overwrite: bool) -> None:
    if arrays.listed(folder):
        raise UserError(
            f"output_dir={folder}: expected no arrays, found some; choose another folder"
        )
    if (folder / manifest.NAME).exists() and not overwrite:
        raise UserError(f"output_dir={folder}: expected no shards, found some; use `overwrite`")


def _staging(folder: pathlib.Path, options: Options) -> pathlib.Path:
    """The folder of unfinished results; emptied unless they are those of the same command."""
    staging = folder / STAGING
    made_by = {
        "options": manifest.saved_options(options),
        "corpus": options[CorpusOptions].corpus,
        "files": sources.fingerprint(options[CorpusOptions]),
    }
    saved = staging / "made_by.json"
    if saved.exists() and saved.read_bytes() == storage.to_json(made_by):
        logging.info("continuing the preparation that was interrupted in %s", folder)
        return staging
    shutil.rmtree(staging, ignore_errors=True)
    for name in ("text", "counts", "shards"):
        (staging / name).mkdir(parents=True)
    storage.write(saved, storage.to_json(made_by))
    return staging


def _counted(works: list[Work], plan: Plan, num_processes: int) -> tuple[list[Work], TextCounts]:
    """The first pass: where each unit is cut, and the counts of the training text."""
    jobs = [(work,) for work in works]
    run = Pass("counting", plan.num_bytes, len(works), sum(map(passes.is_counted, works)))
    results = run.results(passes.count, jobs, num_processes)
    sizes = {work.number: num_chars for (work,), num_chars in results}
    counts, again = tokenizers.new_counts(works[0].options), list[processes.Job]()
    cut = [
        work
        for _, group in itertools.groupby(works, lambda work: work.unit.scope)
        for work in _cut(list(group), sizes)
    ]
    for before, work in zip(works, cut, strict=True):
        first, train_end = (work.cut.first, work.cut.ends[0]) if work.cut else (0, sys.maxsize)
        if first < train_end <= first + sizes[work.number]:
            again.append((work,))
        elif first < train_end:
            counts.merge(passes.counts(before))
    for (work,), _ in processes.run(passes.count, again, min(num_processes, len(again))):
        counts.merge(passes.counts(work))
    return cut, counts


def _cut(works: list[Work], sizes: dict[int, int]) -> list[Work]:
    """The units of a scope with their position in it, and that of its cuts."""
    scope = works[0].scope
    if scope.split or (scope.is_one_of_several and not works[0].unit.is_stretch):
        return works
    firsts = [0, *itertools.accumulate(sizes[work.number] for work in works)]
    size = firsts[-1]
    if scope.is_one_of_several:
        train_end, validation_end = splits.ends_at_lines(
            size, *scope.fractions, lambda begin, end: _excerpt(works, firsts, begin, end)
        )
    else:
        train_end, validation_end = splits.ends(size, *scope.fractions)
    ends = (train_end, validation_end, size)
    return [
        dataclasses.replace(work, cut=Cut(first, ends))
        for work, first in zip(works, firsts, strict=False)
    ]


def _excerpt(works: Sequence[Work], firsts: Sequence[int], begin: int, end: int) -> str:
    """The text of a scope between two positions."""
    found = []
    for work, first, after in zip(works, firsts, firsts[1:], strict=False):
        position = first
        for piece in work.pieces() if after > begin and first < end else ():
            if position + piece.num_chars > begin and position < end:
                found.append(piece.data.decode()[max(begin - position, 0) : end - position])
            position += piece.num_chars
    return "".join(found)


def _encoded(
    works: Sequence[Work], tokenizer: Tokenizer, plan: Plan, num_processes: int
) -> tuple[list[Shard], LineSketch]:
    """The second pass."""
    lines, found = LineSketch(np.zeros(0, np.uint64)), dict[int, Shard]()
    jobs = [(work, tokenizer) for work in works]
    run = Pass("encoding", plan.num_bytes, len(works), sum(map(passes.is_encoded, works)))
    for (work, *_), shard in run.results(passes.encode, jobs, num_processes):
        found[work.number] = shard
        lines = lines.merged(LineSketch(passes.lines(work)))
    return [found[work.number] for work in works], lines


def _finished(
    folder: pathlib.Path,
    staging: pathlib.Path,
    works: Sequence[Work],
    shards: Sequence[Shard],
    lines: LineSketch,
) -> tuple[tuple[File, ...], tuple[File, ...]]:
    """Moves the shards to their folder, and joins the held-out texts."""
    (folder / manifest.NAME).unlink(missing_ok=True)
    kept = [(work, shard) for work, shard in zip(works, shards, strict=True) if shard.num_tokens]
    names = [f"train-{number:05d}.ids" for number in range(len(kept))]
    for path in folder.glob("train-*.ids"):
        if path.name not in names:
            path.unlink()  # of the shards that are overwritten
    moved = []
    for name, (work, shard) in zip(names, kept, strict=True):
        place = work.path("train-#.ids")
        if place.exists():  # not if it was moved before an interruption
            place.replace(folder / name)
        moved.append(_file(folder / name, shard.sha256))
    others = [
        _join([work.path(f"{split}-#.txt") for work in works], folder / f"{split}.txt")
        for split in manifest.HELD_OUT
    ]
    data = lines.hashes.tobytes()
    storage.write(folder / manifest.LINES, data)
    others.append(_file(folder / manifest.LINES, hashlib.sha256(data).hexdigest()))
    return tuple(moved), tuple(others)


def _file(path: pathlib.Path, sha256: str) -> File:
    status = path.stat()
    return File(path.name, status.st_size, status.st_mtime_ns, sha256)


def _join(parts: Iterable[pathlib.Path], path: pathlib.Path) -> File:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            for data in _data(part) if part.exists() else ():
                digest.update(data)
                file.write(data)
    return _file(path, digest.hexdigest())


def _data(path: pathlib.Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(COPY_BYTES):
            yield data


def identity(
    folder: pathlib.Path,
    works: Sequence[Work],
    shards: Sequence[Shard],
    files: tuple[tuple[File, ...], tuple[File, ...]],
) -> str:
    """What identifies the corpus: `corpora.Corpus.sha256`, of a text that fits into memory.

    That hash cannot be computed in parallel. A larger text is identified by the hashes of its
    files.
    """
    digest = hashlib.sha256()
    sizes = {split: sum(shard.bytes[split] for shard in shards) for split in SPLITS}
    if sum(sizes.values()) > text_files.MAX_BYTES:
        for file in itertools.chain(*files):
            digest.update(f"{file.num_bytes}:{file.sha256}".encode())
        return digest.hexdigest()
    for split in SPLITS:
        digest.update(f"{sizes[split]}:".encode())
        for work in works:
            for piece in work.pieces() if split == "train" else ():
                digest.update(piece.data if piece.split == split else b"")
        if split != "train":
            for data in _data(folder / f"{split}.txt"):
                digest.update(data)
    return digest.hexdigest()
