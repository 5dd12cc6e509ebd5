"""The subject of an evaluation: a model, the texts to score, its training text.

Loads and tokenizes the texts. Knows nothing about scores.
"""

import dataclasses
import functools
import os
import pathlib

import numpy as np
from absl import logging

from shakespeare_gen.data import corpora, text_files, token_store
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.evaluation import ngrams
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import (
    AdaptationOptions,
    CorpusLocationOptions,
    CorpusOptions,
    EvaluationOptions,
    UnknownOptions,
)
from shakespeare_gen.runs import Run, resuming

DEFAULT_CONTEXT_TOKENS = 5  # context of the n-grams if there is no validation text


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model, the texts to score by name, and its training text.

    Attributes:
      changed: by text name, the number of characters that were left out or replaced because they
        are not in the vocabulary.
      train, validation: None if the corpus is not available or the split is empty.
      train_positions: the positions of the characters of `train` in the corpus; None if no
        characters were left out.
      sampled: for each split of the corpus that is a sample, its length and that of the whole; see
        `Corpus.samples`.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    texts: dict[str, TokenizedText]
    changed: dict[str, int]
    train: TokenizedText | None = None
    validation: TokenizedText | None = None
    train_positions: np.ndarray | None = None
    sampled: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)

    @property
    def main(self) -> str:
        """The name of the text to examine in detail: validation if there is one, because the test
        text is only scored."""
        return next(iter(self.texts))

    @functools.cached_property
    def ngrams(self) -> ngrams.NGrams:
        """Counts of the training text."""
        assert self.train is not None
        max_context = ngrams.scaled_context(
            ngrams.MAX_CONTEXT_TOKENS, self.train.tokens_per_character
        )
        return ngrams.NGrams(
            self.train.ids, self.tokenizer.size, self.tokenizer.start_id, max_context
        )

    @functools.cached_property
    def best_context_tokens(self) -> int:
        """The context length of the n-grams with the lowest loss on the validation text."""
        if self.validation is None:
            assert self.train is not None
            return ngrams.scaled_context(DEFAULT_CONTEXT_TOKENS, self.train.tokens_per_character)
        return int(self.ngrams.frozen(self.validation.ids).mean(1).argmin())

    @functools.cached_property
    def adapting_ngrams(self) -> dict[str, np.ndarray]:
        """The losses of adapting n-grams on each text; see `NGrams.adapting`."""
        best = self.best_context_tokens
        return {name: self.ngrams.adapting(text.ids, best) for name, text in self.texts.items()}

    def describe(self) -> dict[str, dict[str, int]]:
        """The length of each text, its unknown tokens, and the number of changed characters."""
        unknown = self.tokenizer.unknown_id
        return {
            name: {
                "characters": text.num_chars,
                "tokens": text.num_tokens,
                "unknown": 0 if unknown is None else int((text.ids == unknown).sum()),
                "left_out_or_replaced": self.changed[name],
            }
            for name, text in self.texts.items()
        }

    def describe_samples(self) -> dict[str, dict[str, int]]:
        """`sampled` of the texts that are there."""
        texts = {"train": self.train, "validation": self.validation, **self.texts}
        return {name: part for name, part in self.sampled.items() if texts.get(name) is not None}


def find(
    run: Run, model: LanguageModel, options: Options, corpus_text: str | None = None
) -> Subject:
    """Loads the texts to score and the training text of `run`.

    Args:
      corpus_text: the text of the corpus, instead of its location.

    Raises:
      UserError: there is nothing to score, or the corpus is not that of the run.
    """
    evaluation, tokenizer = options[EvaluationOptions], run.spec.tokenizer
    location = options[CorpusLocationOptions]
    is_given = bool(location.corpus or location.data_dir or corpus_text is not None)
    needed = not evaluation.text_path or options[AdaptationOptions].adapt or is_given
    corpus = _corpus(run, location, needed, corpus_text)
    raw = {} if corpus is None else {split: getattr(corpus, split) for split in corpora.SPLITS}
    policy = token_store.unknown_policy(tokenizer)  # as in training
    known = {split: TokenizedText.of(t, tokenizer, policy, split) for split, t in raw.items()}
    if evaluation.text_path:
        raw["text"] = _read_text(run, evaluation)
        name = f"text_path={evaluation.text_path}"
        unknown = options[UnknownOptions].unknown
        texts = {"text": TokenizedText.of(raw["text"], tokenizer, unknown, name)}
        if not texts["text"].num_tokens:
            raise UserError(f"{name}: expected text, received none")
    else:
        names = ("validation", "test") if evaluation.include_test else ("validation",)
        texts = {name: known[name] for name in names if name in known and known[name].num_tokens}
    if not texts:
        raise UserError(
            f"{run.path}: expected validation or test text to score, found none; "
            "`text_path` scores any text"
        )
    found = {**known, **texts}
    changed = {name: _num_changed(raw[name], text, tokenizer) for name, text in found.items()}
    for name in found:
        if changed[name]:
            what = "%s: %d characters are outside the vocabulary and were left out or replaced"
            logging.warning(what, name, changed[name])
    return Subject(
        model,
        tokenizer,
        texts,
        changed,
        _unless_empty(known.get("train")),
        _unless_empty(known.get("validation")),
        _kept_positions(raw["train"], tokenizer) if changed.get("train") else None,
        corpus.samples() if corpus else {},
    )


def _unless_empty(text: TokenizedText | None) -> TokenizedText | None:
    return text if text is not None and text.num_tokens else None


def _num_changed(raw: str, text: TokenizedText, tokenizer: Tokenizer) -> int:
    def num_unknown(string: str) -> int:
        return sum(map(string.count, tokenizer.unknown_characters(string)))

    return num_unknown(raw) - num_unknown(text.text)


def _kept_positions(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """The positions of the characters that are in the vocabulary."""
    unknown = tokenizer.unknown_characters(text)
    return np.flatnonzero([c not in unknown for c in text])


def _corpus(
    run: Run, location: CorpusLocationOptions, needed: bool, text: str | None
) -> corpora.Corpus | None:
    """The corpus that the run was trained on; None if it is not available."""
    try:
        options = resuming.corpus_options(run.spec, location.corpus, location.data_dir)
        corpus = corpora.load(options, text)
        resuming.check_corpus(run.spec, corpus)
    except UserError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if needed:
            raise UserError(
                f"{reason}; `corpus=PATH` or `data_dir` locate the text of {run.path}, and "
                "`text_path=FILE` without `adapt` does not need it"
            ) from None
        # As the message itself, so that options are spelled as flags.
        logging.warning(f"{reason}; skipping results that need the training text")
        return None
    return corpus


def _read_text(run: Run, options: EvaluationOptions) -> str:
    path = pathlib.Path(os.path.expanduser(options.text_path))
    encoding = options.encoding or run.spec.options[CorpusOptions].encoding
    found = text_files.read(path, encoding, options.encoding_errors)
    logging.info("Read %s: %s bytes, %s", path, f"{found.num_bytes:,}", found.encoding)
    return found.text
