"""Where the text of shards comes from: finds the files, and unpacks what cannot be read in parts.

Compressed files, JSON lines, encodings other than UTF-8 and datasets of TFDS are written as UTF-8
to a folder, in one pass each; that takes as much space as the text while it is prepared. Small
files, and large ones in UTF-8, are read where they are.
"""

import dataclasses
import hashlib
import io
import itertools
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from absl import logging

from shakespeare_gen.data import compression, corpora, json_lines, text_encodings, text_files
from shakespeare_gen.data.shards import processes, units
from shakespeare_gen.data.shards.units import Scope, Unit
from shakespeare_gen.data.sources import files, tfds
from shakespeare_gen.errors import UserError
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import storage

BUFFER_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """The text of a corpus, in order.

    Attributes:
      num_bytes: the size of its text.
    """

    scopes: tuple[Scope, ...]
    units: tuple[Unit, ...]
    num_bytes: int


def fingerprint(options: CorpusOptions) -> str:
    """Identifies the files of a corpus by their paths, sizes and times of modification."""
    digest = hashlib.sha256()
    if corpora.is_files(options.corpus):
        for path in files.find(options.corpus).read:
            status = path.stat()
            digest.update(f"{path.absolute()}\0{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def plan(options: CorpusOptions, folder: pathlib.Path, num_processes: int) -> Plan:
    """Finds the text of a corpus, and unpacks it where necessary.

    Args:
      folder: where to unpack.

    Raises:
      UserError: there is no text, or it cannot be read or unpacked.
    """
    if corpora.is_files(options.corpus):
        return _of_files(options, folder, num_processes)
    fractions, texts = (0.0, 0.0), dict[str, Iterable[str]]()
    if dataset := _dataset(options.corpus):
        texts |= tfds.stream(dataset, options, options.corpus)
        fractions = tfds.fractions_left(texts, options)
    else:
        corpus = corpora.load(options)
        texts |= {split: [getattr(corpus, split)] for split in corpora.SPLITS}
    paths = {split: folder / f"{split}.txt" for split in texts}
    for split, pieces in texts.items():
        _write(paths[split], pieces)
    scopes = [
        Scope(
            fractions, has_endings=False, split="" if split == "train" and any(fractions) else split
        )
        for split in paths
    ]
    sizes = [os.path.getsize(path) for path in paths.values()]
    size = units.unit_bytes(sum(sizes))
    found = [
        unit
        for number, path in enumerate(paths.values())
        for unit in _stretches(path, number, size, options, is_unpacked=True)
    ]
    return Plan(tuple(scopes), tuple(found), sum(sizes))


def _dataset(corpus: str) -> str:
    """The name of a dataset of TFDS; "" for other corpora."""
    name, _, argument = corpus.partition(":")
    return argument if name == "tfds" else corpus if name == "tiny_shakespeare" else ""


def _of_files(options: CorpusOptions, folder: pathlib.Path, num_processes: int) -> Plan:
    listing = files.find(options.corpus)
    for path, reason in list(listing.skipped.items())[: corpora.MAX_LOGGED]:
        if reason:
            logging.info("Skipped %s: %s", path, reason)
    places = _unpacked(listing.read, options, folder, num_processes)
    num_bytes = sum(os.path.getsize(place) for place in places.values())
    if not num_bytes:
        raise UserError(f"corpus={options.corpus}: expected text, received empty files")
    size = units.unit_bytes(num_bytes)
    several = options.split_by == "file" and len(places) > 1
    whole = Scope((options.validation_fraction, options.test_fraction), several)
    scopes, found, small = [whole], list[Unit](), list[pathlib.Path]()
    for path, place in places.items():
        if path == place and _is_small(path):
            small.append(path)
            continue
        found += units.of_small_files(small, 0, size)
        small.clear()
        if several:
            scopes.append(whole)
        is_unpacked = path != place
        found += _stretches(place, len(scopes) - 1, size, options, is_unpacked)
    found += units.of_small_files(small, 0, size)
    return Plan(tuple(scopes), tuple(found), num_bytes)


def _stretches(
    path: pathlib.Path, scope: int, size: int, options: CorpusOptions, is_unpacked: bool
) -> Iterator[Unit]:
    begin = 0
    if not is_unpacked:
        with path.open("rb") as file:
            begin = 3 * (file.read(3) == b"\xef\xbb\xbf")
    for unit in units.of_large_file(path, scope, size, options.document_separator, begin):
        yield dataclasses.replace(unit, is_unpacked=is_unpacked)


def _is_small(path: pathlib.Path) -> bool:
    ratio = compression.MAX_RATIO if compression.is_packed(path) else 1
    return os.path.getsize(path) * ratio <= units.SMALL_BYTES


def _unpacked(
    paths: Sequence[pathlib.Path], options: CorpusOptions, folder: pathlib.Path, num_processes: int
) -> dict[pathlib.Path, pathlib.Path]:
    """Where the text of each file can be read in parts."""
    places = {path: path for path in paths}
    jobs = []
    for number, path in enumerate(paths):
        if not _is_small(path) and not _is_utf8(path, options):
            places[path] = folder / f"{number:05d}.txt"
            jobs.append((path, places[path], options))
    if jobs:
        logging.info("unpacking %d of %d files", len(jobs), len(paths))
    for _ in processes.run(unpack, jobs, min(num_processes, len(jobs))):
        pass
    return places


def unpack(path: pathlib.Path, place: pathlib.Path, options: CorpusOptions) -> None:
    """Writes the text of a file as UTF-8, unless that was done before."""
    _write(place, _text(path, options))


def _write(place: pathlib.Path, pieces: Iterable[str]) -> None:
    if place.exists():
        return
    partial = place.with_suffix(".partial")
    try:
        with partial.open("wb", BUFFER_BYTES) as file:
            file.writelines(piece.encode() for piece in pieces)
        partial.replace(place)
    except OSError as error:
        reason = storage.reason(error)
        raise UserError(
            f"{place}: cannot be written: {reason}; run the command again to continue"
        ) from None


def _is_utf8(path: pathlib.Path, options: CorpusOptions) -> bool:
    if compression.is_packed(path) or json_lines.is_json_lines(path):
        return False
    if options.encoding_errors != "strict":
        return False
    with storage.open_regular(path, sys.maxsize, follow_links=True) as file:
        sample = _sample(next(compression.chunks(path, file), b""))
    text_files.check_is_plain_text(path, sample)
    found = text_files.encoding_of(path, sample, options.encoding, options.encoding_errors)
    return found.lower().replace("_", "-") in ("utf-8", "utf8")


def _sample(data: bytes) -> bytes:
    """The beginning of a text, without what may be a part of a character at its end."""
    return data[: data.rfind(b"\n") + 1 or len(data)] if len(data) == BUFFER_BYTES else data


def _text(path: pathlib.Path, options: CorpusOptions) -> Iterator[str]:
    """The normalized text of a file, in pieces."""
    if json_lines.is_json_lines(path):
        yield from files.json_pieces(path, options)
        return
    with storage.open_regular(path, sys.maxsize, follow_links=True) as file:
        yield from _decoded(path, compression.chunks(path, file), options)


def _decoded(path: pathlib.Path, chunks: Iterator[bytes], options: CorpusOptions) -> Iterator[str]:
    first = next(chunks, b"")
    sample = _sample(first)
    text_files.check_is_plain_text(path, sample)
    encoding = text_files.encoding_of(path, sample, options.encoding, options.encoding_errors)
    decoder = text_encodings.decoder(encoding, options.encoding_errors)
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    position, is_first = 0, True
    for data in itertools.chain([first], chunks, [b""]):
        rest = decoder.getstate()[0]
        try:
            text = line_ends.decode(decoder.decode(data, final=not data), final=not data)
            text.encode()
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            offset = position - len(rest) + start
            whole = rest + data
            raise text_files.undecodable(path, offset, encoding, whole[start:], whole) from None
        position += len(data)
        yield text.removeprefix("\ufeff") if is_first else text
        is_first = False
