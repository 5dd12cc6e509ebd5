"""What is evaluated: a run's network, the texts it is scored on, its training text.

Knows where texts come from, and scores nothing.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np
from absl import logging

from shakespeare_gen import runs
from shakespeare_gen.data import corpora
from shakespeare_gen.data.tokenizers.characters import Vocabulary, prepare_text
from shakespeare_gen.errors import UserError
from shakespeare_gen.evaluation import ngrams


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is evaluated: a network, the texts it is scored on by name, its training text.

    `changed` tells by name how many characters of a text were left out or replaced, for the
    vocabulary lacks them. `train_places` are the places of `train` in the corpus, where some of
    its characters were left out. `train`, `train_ids` and `validation_ids` are None where the
    corpus is not here, or has no such text.
    """

    network: Any
    vocabulary: Vocabulary
    texts: dict[str, str]
    ids: dict[str, np.ndarray]
    changed: dict[str, int]
    train: str | None
    train_places: np.ndarray | None
    train_ids: np.ndarray | None
    validation_ids: np.ndarray | None

    @property
    def main(self) -> str:
        """The text that is looked at closely: validation where there is any, for test is only
        scored."""
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

    @functools.cached_property
    def adapting_ngrams(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What n-grams that adapt say of each text, see `NGrams.adapting`."""
        best = self.best_context_chars
        return {name: self.ngrams.adapting(ids, best) for name, ids in self.ids.items()}

    def describe(self) -> dict[str, dict[str, int]]:
        """Of each text how many characters are scored, how many of them are the unknown one,
        and how many were left out or replaced."""
        unknown = self.vocabulary.unknown_id
        return {
            name: {
                "characters": len(ids),
                "unknown": 0 if unknown is None else int((ids == unknown).sum()),
                "left_out_or_replaced": self.changed[name],
            }
            for name, ids in self.ids.items()
        }


def find(run: runs.Run, network, options: dict) -> Subject:
    """What `options` (the fields of `config.EvaluationOptions`, and `unknown`) ask for, of a run.

    Raises:
      UserError: there is nothing to score, or the corpus is another one than the run's.
    """
    vocabulary = run.read_vocabulary()
    corpus = _corpus(run, needed=not options["text_path"] or options["adapt"])
    every = {} if corpus is None else {split: getattr(corpus, split) for split in corpora.SPLITS}
    # As in training: left out, but where the vocabulary has an id for them.
    policy = "error" if vocabulary.has_unknown_id else "skip"
    known = {split: prepare_text(text, vocabulary, policy) for split, text in every.items()}
    changed = {split: len(every[split]) - len(text) for split, text in known.items()}
    if options["text_path"]:
        text = _read_text(run, options)
        name = f"--text_path={options['text_path']}"
        texts = {"text": prepare_text(text, vocabulary, options["unknown"], name)}
        changed["text"] = _num_unknown(text, vocabulary) - _num_unknown(texts["text"], vocabulary)
        if not texts["text"]:
            raise UserError(f"{name}: expected text, received none")
    else:
        names = ("validation", "test") if options["include_test"] else ("validation",)
        texts = {name: known[name] for name in names if known[name]}
    if not texts:
        raise UserError(
            f"{run.path}: expected validation or test text to score, found none; "
            "--text_path scores any text"
        )
    for name in {**texts, **known}:
        if changed[name]:
            what = "%s: %d characters are outside the vocabulary and left out or replaced"
            logging.warning(what, name, changed[name])
    ids = {name: vocabulary.encode(text) for name, text in {**known, **texts}.items() if text}
    return Subject(
        network,
        vocabulary,
        texts,
        {name: ids[name] for name in texts},
        changed,
        known.get("train"),
        _places(every["train"], vocabulary) if changed.get("train") else None,
        ids.get("train"),
        ids.get("validation"),
    )


def _num_unknown(text: str, vocabulary: Vocabulary) -> int:
    return sum(map(len, vocabulary.unknown_characters(text).values()))


def _places(text: str, vocabulary: Vocabulary) -> np.ndarray:
    """Where the characters that have an id stand."""
    known = set(vocabulary.characters)
    return np.flatnonzero([c in known for c in text])


def _corpus(run: runs.Run, needed: bool) -> corpora.Corpus | None:
    """The run's corpus, surely the one it was trained on; None where it is not here."""
    saved = run.read_config()
    name = saved["data"]["name"]
    try:
        corpus = corpora.load(**saved["corpus"] | {"corpus": name, "fallback_corpus": ""})
        if corpus.sha256 != saved["data"]["sha256"]:
            raise UserError(
                f"expected the corpus {name} it was trained on, "
                f"SHA-256 {saved['data']['sha256'][:16]}…, received {corpus.sha256[:16]}…"
            )
    except UserError as error:
        if needed:
            way = "--text_path=FILE without --adapt needs no corpus"
            raise type(error)(f"{run.path}: {error}; {way}") from None
        reason = str(error).splitlines()[0]
        logging.warning("%s; what needs the training text is left out", reason)
        return None
    return corpus


def _read_text(run: runs.Run, options: dict) -> str:
    place = pathlib.Path(options["text_path"]).expanduser()
    encoding = options["encoding"] or run.read_config()["corpus"]["encoding"]
    return corpora.files.read(place, encoding, options["encoding_errors"])
