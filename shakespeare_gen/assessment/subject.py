"""What is evaluated: a run's network, the texts it is scored on, its training text.

Knows where texts come from, and scores nothing.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np
from absl import logging

from shakespeare_gen import corpora, runs
from shakespeare_gen.errors import UserError
from shakespeare_gen.evaluation import ngrams
from shakespeare_gen.vocabulary import Vocabulary, prepare_text


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is evaluated: a network, the texts it is scored on by name, its training text.

    `train` and `ids["train"]` are None where the corpus is not here.
    """

    network: Any
    vocabulary: Vocabulary
    texts: dict[str, str]
    ids: dict[str, np.ndarray]
    train: str | None
    train_ids: np.ndarray | None
    validation_ids: np.ndarray | None

    @property
    def main(self) -> str:
        """The text that is looked at closely: validation, for test is only scored."""
        return next(iter(self.texts))

    @functools.cached_property
    def ngrams(self) -> ngrams.NGrams:
        """Counts of the training text."""
        assert self.train_ids is not None
        return ngrams.NGrams(self.train_ids, self.vocabulary.size, self.vocabulary.start_id)

    @functools.cached_property
    def best_context_chars(self) -> int:
        """The n-grams' context with the least loss on validation; without it, five characters."""
        if self.validation_ids is None:
            return 5
        return int(self.ngrams.frozen(self.validation_ids).mean(1).argmin())


def find(run: runs.Run, network, options: dict) -> Subject:
    """What `options` (see `assessment.assess`) ask for, of a run."""
    vocabulary = run.read_vocabulary()
    corpus = _corpus(run, needed=not options["text_path"] or options["adapt"])
    known = {} if corpus is None else {s: _readable(corpus, s, vocabulary) for s in corpora.SPLITS}
    if options["text_path"]:
        texts = {"text": _read_text(options["text_path"], vocabulary, options["unknown"])}
    else:
        names = ("validation", "test") if options["include_test"] else ("validation",)
        texts = {name: known[name] for name in names if known[name]}
    if not texts:
        raise UserError(
            f"{run.path}: expected validation or test text to score, found none; "
            "--text_path scores any text"
        )
    ids = {name: vocabulary.encode(text) for name, text in {**known, **texts}.items() if text}
    return Subject(
        network,
        vocabulary,
        texts,
        {name: ids[name] for name in texts},
        known.get("train"),
        ids.get("train"),
        ids.get("validation"),
    )


def _corpus(run: runs.Run, needed: bool) -> corpora.Corpus | None:
    """The run's corpus, surely the one it was trained on; None where it is not here."""
    saved = run.read_config()
    source = saved["corpus"] | {"corpus": saved["data"]["name"], "fallback_corpus": ""}
    try:
        corpus = corpora.load(**source)
        if corpus.sha256 != saved["data"]["sha256"]:
            raise UserError(
                f"{run.path}: expected the corpus {saved['data']['name']} it was trained on, "
                f"SHA-256 {saved['data']['sha256'][:16]}…, received {corpus.sha256[:16]}…"
            )
    except UserError as error:
        if needed:
            raise
        logging.warning("%s; what needs the training text is left out", error)
        return None
    return corpus


def _readable(corpus: corpora.Corpus, split: str, vocabulary: Vocabulary) -> str:
    """A split as training saw it: characters without an id are left out, and counted."""
    text = getattr(corpus, split)
    if vocabulary.has_unknown_id:
        return text
    kept = prepare_text(text, vocabulary, "skip")
    if len(kept) < len(text):
        logging.warning(
            "%d of %d %s characters are outside the vocabulary and left out",
            len(text) - len(kept),
            len(text),
            split,
        )
    return kept


def _read_text(path: str, vocabulary: Vocabulary, unknown: str) -> str:
    text = corpora.files.read(pathlib.Path(path).expanduser(), "utf-8", "strict")
    text = prepare_text(text, vocabulary, unknown, f"--text_path={path}")
    if not text:
        raise UserError(f"--text_path={path}: expected text, received none")
    return text
