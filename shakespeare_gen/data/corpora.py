"""Loads a corpus: text split into train, validation and test.

Chooses the source, falls back to another corpus if the requested one is unavailable, and marks the
ends of documents. Knows nothing about tokens, windows or models.

    corpus = load(CorpusOptions(corpus="tiny_shakespeare"))
    corpus.train, corpus.validation, corpus.test   # str
"""

import dataclasses
import hashlib
import os

from absl import logging

from shakespeare_gen.data import documents, sources, texts
from shakespeare_gen.data.sources import files
from shakespeare_gen.errors import CorpusUnavailableError, UsageError
from shakespeare_gen.options.groups import CorpusOptions

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A named text in three splits; `validation` and `test` may be empty."""

    name: str
    train: str
    validation: str
    test: str

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

    def describe(self, requested: str) -> dict[str, str | int]:
        """Name, path, hash and lengths as JSON values.

        Args:
          requested: the requested name, which differs from `name` if the fallback was used.
        """
        lengths = {f"{split}_chars": len(getattr(self, split)) for split in SPLITS}
        return {
            "name": self.name,
            "requested": requested,
            "path": self.path,
            "sha256": self.sha256,
            **lengths,
        }


def load(options: CorpusOptions) -> Corpus:
    """Loads `options.corpus`, or `options.fallback_corpus` if it cannot be downloaded.

    With a document separator, each document ends with one `documents.END_CHARACTER`.

    Raises:
      CorpusUnavailableError: neither can be downloaded.
      UserError: the name is unknown or the text cannot be read.
    """
    try:
        return _load(options.corpus, options)
    except CorpusUnavailableError as error:
        if not options.fallback_corpus:
            raise
        _warn_of_fallback(options, error)
        return _load(options.fallback_corpus, options)


def is_files(corpus: str) -> bool:
    """Whether a corpus name refers to the user's files."""
    return sources.find(corpus) is None


def _load(name: str, options: CorpusOptions) -> Corpus:
    if not name:
        raise UsageError("corpus: expected a name or a path, received none")
    found = sources.find(name)
    splits = found[0].load(found[1], options) if found else files.load(name, options)
    separator = options.document_separator
    return Corpus(name, *(documents.mark_ends(text, separator) for text in splits))


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
