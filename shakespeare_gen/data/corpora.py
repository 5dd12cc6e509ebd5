"""Text from TFDS, files or packaged plays, split into train, validation and test.

Each source is a module of its own: `datasets` (TFDS), `files`, `plays`. This
module picks the source and falls back when it can't be reached. It knows
nothing of windows or models.

    corpus = load("tiny_shakespeare")
    corpus.train, corpus.validation, corpus.test   # str
"""

import dataclasses
import hashlib

import numpy as np
from absl import logging

from shakespeare_gen.data.sources import files, plays, tfds
from shakespeare_gen.data.splits import Splits
from shakespeare_gen.errors import CorpusUnavailableError

END_CHARACTER = "\x03"  # END OF TEXT, which no text holds
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
        """Hash of the three splits, UTF-8, each preceded by its length."""
        digest = hashlib.sha256()
        for text in (self.train, self.validation, self.test):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(f"{len(data)}:".encode() + data)
        return digest.hexdigest()

    def describe(self, requested: str) -> dict:
        """Name, hash and lengths, as JSON values; `requested` is the name that was asked for."""
        lengths = {f"{split}_chars": len(getattr(self, split)) for split in SPLITS}
        return {"name": self.name, "requested": requested, "sha256": self.sha256, **lengths}


def load(
    corpus: str,
    text_feature: str = "text",
    data_dir: str = "",
    fallback_corpus: str = "",
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    document_separator: str = "",
    encoding: str = "utf-8",
    encoding_errors: str = "strict",
) -> Corpus:
    """Loads `corpus`, or `fallback_corpus` when it can't be fetched.

    With a `document_separator` each document ends in one `END_CHARACTER`.

    Raises:
      CorpusUnavailableError: neither can be had now.
      UserError: the name is unknown or the text can't be read.
    """

    def load_one(name: str) -> Splits:
        if name == "plays":
            return plays.load(document_separator)
        if is_files(name):
            return files.load(
                name,
                validation_fraction,
                test_fraction,
                encoding,
                encoding_errors,
                document_separator,
            )
        return tfds.load(
            name.removeprefix("tfds:"),
            text_feature,
            data_dir,
            validation_fraction,
            test_fraction,
            document_separator,
        )

    def load_marked(name: str) -> Corpus:
        texts = load_one(name)
        if document_separator:
            texts = Splits(*(t.replace(document_separator, END_CHARACTER) for t in texts))
        return Corpus(name, *texts)

    try:
        return load_marked(corpus)
    except CorpusUnavailableError as error:
        if not fallback_corpus:
            raise
        _warn_of_fallback(corpus, fallback_corpus, error)
        return load_marked(fallback_corpus)


def is_files(corpus: str) -> bool:
    """Whether a corpus of this name is the user's own files."""
    return corpus not in ("plays", "tiny_shakespeare") and not corpus.startswith("tfds:")


def _warn_of_fallback(corpus: str, fallback_corpus: str, error: Exception) -> None:
    reason = str(error).splitlines()[0]
    rule = "!" * 78
    logging.warning(
        "%s\n!! %s\n!! Training on the fallback corpus %r instead of %r.\n%s",
        rule,
        reason,
        fallback_corpus,
        corpus,
        rule,
    )


def encode(corpus: Corpus, vocabulary) -> dict[str, np.ndarray]:
    """Ids of each split; warns of characters without an id, which are left out.

    Those to train on are of the smallest type that holds them, for they stay in memory; the
    others are int32.
    """
    ids = {split: vocabulary.encode_known(getattr(corpus, split)) for split in SPLITS}
    for split, found in ids.items():
        text = getattr(corpus, split)
        if len(found) < len(text):
            left_out = "".join(sorted(vocabulary.unknown_characters(text)))
            logging.warning(
                "%d of %d %s characters are outside the vocabulary and left out: %r; "
                "--unknown_id keeps their places.",
                len(text) - len(found),
                len(text),
                split,
                left_out[:40],
            )
    ids["train"] = ids["train"].astype(np.min_scalar_type(vocabulary.size - 1))
    return ids
