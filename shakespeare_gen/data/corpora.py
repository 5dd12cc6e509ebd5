"""Loads a corpus: text split into train, validation and test.

Chooses the source, falls back to another corpus if the requested one is unavailable, marks the ends
of documents, and reports which files were read. Knows nothing about tokens, windows or models.

    corpus = load(CorpusOptions(corpus="tiny_shakespeare"))
    corpus.train, corpus.validation, corpus.test   # str
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from typing import Protocol

from absl import logging

from shakespeare_gen.data import documents, mojibake, sources, text_files, texts
from shakespeare_gen.data.arrays import folder
from shakespeare_gen.data.shards import manifest
from shakespeare_gen.data.sources import files
from shakespeare_gen.data.splits import SourceFile, Splits
from shakespeare_gen.data.text_encodings import AUTO
from shakespeare_gen.errors import CorpusUnavailableError, UsageError, UserError
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import storage

SPLITS = ("train", "validation", "test")
GIVEN_TEXT = "<text>"  # the name of a corpus that was given as a string
MAX_LOGGED = 20  # files that are named in the log


class CorpusIdentity(Protocol):
    """What identifies a corpus, whether or not its text is in memory; see `Corpus`."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def num_chars(self, split: str) -> int: ...


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A named text in three splits; `validation` and `test` may be empty.

    `files` are those that the text was read from, and those that were skipped; `sampled` are the
    splits that are a sample of a longer text.
    """

    name: str
    train: str
    validation: str
    test: str
    files: tuple[SourceFile, ...] = ()
    sampled: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of the three splits in UTF-8, each preceded by its length."""
        digest = hashlib.sha256()
        for text in (self.train, self.validation, self.test):
            digest.update(f"{texts.num_bytes(text)}:".encode())
            for data in texts.utf_8(text):
                digest.update(data)
        return digest.hexdigest()

    @property
    def path(self) -> str:
        """Absolute path of the user's files; "" for a registered source or a non-UTF-8 path."""
        path = os.path.abspath(os.path.expanduser(self.name)) if is_files(self.name) else ""
        return path if texts.first_surrogate(path) is None else ""

    def num_chars(self, split: str) -> int:
        """The length of a split; of the whole of it, if it is sampled."""
        return len(getattr(self, split))

    def samples(self) -> dict[str, dict[str, int]]:
        """The lengths of the splits that are samples, and of the whole ones."""
        return {
            split: {
                "characters": len(getattr(self, split)),
                "of_characters": self.num_chars(split),
            }
            for split in self.sampled
        }


def load(options: CorpusOptions, text: str | None = None) -> Corpus:
    """Loads `options.corpus`, or `options.fallback_corpus` if it cannot be downloaded.

    With a document separator, each document ends with one `documents.END_CHARACTER`.

    Args:
      text: the text itself; it replaces `options.corpus`.

    Raises:
      CorpusUnavailableError: neither can be downloaded.
      UserError: the name is unknown or the text cannot be read.
    """
    if text is not None:
        return _marked(GIVEN_TEXT, files.from_text(text, options), options)
    try:
        return _load(options.corpus, options)
    except CorpusUnavailableError as error:
        if not options.fallback_corpus:
            raise
        _warn_of_fallback(options, error)
        return _load(options.fallback_corpus, options)


def is_files(corpus: str) -> bool:
    """Whether a corpus name refers to the user's files."""
    return sources.find(corpus) is None and corpus != GIVEN_TEXT


def _load(name: str, options: CorpusOptions) -> Corpus:
    if not name:
        raise UsageError("corpus: expected a name or a path, received none")
    if name == GIVEN_TEXT:
        raise UserError(
            "corpus: expected the text of this run, which was given in Python, received none; pass "
            "it as text=... in Python, or as a file with `corpus=PATH`"
        )
    found = sources.find(name)
    if found is None and (shards := manifest.find(name)):
        from shakespeare_gen.data.shards import reading  # which extends this module

        return reading.load(shards, name)
    if found is None and (place := folder.find(name)):
        return _of_arrays(name, place)
    splits = found[0].load(found[1], options) if found else files.load(name, options)
    return _marked(name, splits, options)


def _of_arrays(name: str, place: folder.Place) -> Corpus:
    """The text that arrays were made from, in which ends of documents are marked already."""
    parts = {}
    for split in SPLITS:
        path = place.text_path(split)
        try:
            parts[split] = storage.read_bytes(path, text_files.MAX_BYTES).decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: expected UTF-8, found {error.reason}") from None
    corpus = Corpus(name, parts["train"], parts["validation"], parts["test"])
    if corpus.sha256 != folder.read_spec(place).corpus_sha256:
        raise UserError(
            f"corpus={name}: expected the texts that {place.spec_path.name} was made from, found "
            "others"
        )
    return corpus


def _marked(name: str, splits: Splits, options: CorpusOptions) -> Corpus:
    """The corpus of `splits`, with marked ends of documents; logs its files and their defects."""
    train, validation, test = (
        documents.mark_ends(text, options.document_separator) for text in splits[:3]
    )
    corpus = Corpus(name, train, validation, test, splits.files)
    _log_files(splits.files)
    if is_files(name) or name == GIVEN_TEXT:
        _warn_of_mojibake(corpus, options.encoding)
    return corpus


def _log_files(found: Sequence[SourceFile]) -> None:
    for file in found[:MAX_LOGGED]:
        path = file.path.removeprefix(os.path.join(os.getcwd(), ""))
        if file.skipped:
            logging.info("Skipped %s: %s", path, file.skipped)
        else:
            logging.info("Read %s: %s bytes, %s", path, f"{file.num_bytes:,}", file.encoding)
    if rest := found[MAX_LOGGED:]:
        skipped = sum(bool(file.skipped) for file in rest)
        logging.info("Read %d more files and skipped %d", len(rest) - skipped, skipped)


def _warn_of_mojibake(corpus: Corpus, encoding: str) -> None:
    for split in SPLITS:
        if found := mojibake.find(getattr(corpus, split)):
            is_explicit = encoding not in (AUTO, "utf-8")
            advice = "try `encoding=auto`, or " * is_explicit + f"mend the text with {found.remedy}"
            # As the message itself, so that options are spelled as flags.
            logging.warning(f"corpus={corpus.name}: found {found} in {split}; {advice}")
            return


def _warn_of_fallback(options: CorpusOptions, error: CorpusUnavailableError) -> None:
    reason = str(error).splitlines()[0]
    rule = "!" * 78
    logging.warning(
        "%s\n!! %s\n!! Training on the fallback corpus %r instead of %r.\n%s",
        rule,
        reason,
        options.fallback_corpus,
        options.corpus,
        rule,
    )
