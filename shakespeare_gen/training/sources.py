"""The text of a run, from a corpus, or from arrays or shards in files, as tokens.

A corpus is loaded and tokenized in memory. Arrays and shards are mapped, and they bring their
tokenizer and some options with them. Knows nothing about run folders and batches.
"""

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np

from shakespeare_gen.data import corpora, token_store, tokenizers
from shakespeare_gen.data.arrays import folder as array_folder
from shakespeare_gen.data.arrays import reading
from shakespeare_gen.data.arrays.folder import Place
from shakespeare_gen.data.corpora import CorpusIdentity
from shakespeare_gen.data.line_sketch import LineSketch
from shakespeare_gen.data.shards import manifest
from shakespeare_gen.data.shards import reading as shard_reading
from shakespeare_gen.data.token_store import TokenizedText, Tokens
from shakespeare_gen.data.tokenizers import Tokenizer, TokenOptions
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.runs import RunSpec

CHUNK_TOKENS = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSource:
    """A tokenized corpus.

    Attributes:
      held_out: validation and test.
      window_array: all windows of `train`, if they are stored.
      stored_lines: the sketch of the lines of `train`, if it is stored.
    """

    corpus: CorpusIdentity
    tokenizer: Tokenizer
    train: Tokens
    held_out: dict[str, TokenizedText]
    window_array: np.ndarray | None = None
    stored_lines: LineSketch | None = None

    def lines(self) -> LineSketch:
        """The sketch of the lines of the training text."""
        if self.stored_lines is not None:
            return self.stored_lines
        return LineSketch.of(self._train_pieces())

    def _train_pieces(self) -> Iterator[str]:
        if isinstance(self.train, TokenizedText):
            yield self.train.text
            return
        decoder = self.tokenizer.decoder()
        for begin in range(0, self.train.num_tokens, CHUNK_TOKENS):
            ids = self.train.ids[begin : begin + CHUNK_TOKENS]
            yield "".join(decoder.feed(ids.tolist()))


def load(
    options: Options, text: str | None = None, known: Tokenizer | None = None
) -> tuple[TrainingSource, Options]:
    """The text of a new run, and its options: those of arrays are determined by them.

    Args:
      text: the text itself, instead of the option `corpus`.
      known: a tokenizer to extend, instead of a new one; arrays have their own.

    Raises:
      UserError: the corpus or the arrays cannot be read, or a given option differs from theirs.
    """
    if folder := _shards(options[CorpusOptions], text):
        found = manifest.read(folder)
        options = shard_reading.fixed_options(options, folder, found)
        return _of_shards(folder, found, options[CorpusOptions].corpus), options
    place = _arrays(options[CorpusOptions], _given_tokens(options), text)
    if place is None:
        corpus = corpora.load(options[CorpusOptions], text)
        tokenizer = (
            tokenizers.extended(known, corpus.train, options)
            if known
            else tokenizers.from_text(corpus.train, options)
        )
        return _tokenized(corpus, tokenizer), options
    spec = array_folder.read_spec(place)
    options = reading.fixed_options(options, place, spec)
    return _of_arrays(place, spec, options[CorpusOptions].corpus), options


def load_again(run: RunSpec, location: CorpusOptions, text: str | None = None) -> TrainingSource:
    """The text of a run that is resumed, with the tokenizer of the run.

    Args:
      location: the result of `resuming.corpus_options`.

    Raises:
      UserError: the corpus or the arrays cannot be read, or they are not those of the run.
    """
    if folder := _shards(location, text):
        found = manifest.read(folder)
        shard_reading.check_options(run.options, folder, found)
        _check_tokenizer(found.tokenizer, run, location)
        return _of_shards(folder, found, location.corpus)
    place = _arrays(location, run.tokenizer.NAME, text)
    if place is None:
        return _tokenized(corpora.load(location, text), run.tokenizer)
    spec = array_folder.read_spec(place)
    reading.check_options(run.options, place, spec)
    _check_tokenizer(spec.tokenizer, run, location)
    return _of_arrays(place, spec, location.corpus)


def _check_tokenizer(found: Tokenizer, run: RunSpec, location: CorpusOptions) -> None:
    if found != run.tokenizer:
        raise UserError(
            f"corpus={location.corpus}: expected the tokenizer of the run, found another"
        )


def _given_tokens(options: Options) -> str:
    return options[TokenOptions].tokens if "tokens" in options.given else ""


def _arrays(options: CorpusOptions, tokens: str, text: str | None) -> Place | None:
    is_path = text is None and corpora.is_files(options.corpus)
    return array_folder.find(options.corpus, tokens) if is_path else None


def _shards(options: CorpusOptions, text: str | None) -> pathlib.Path | None:
    is_path = text is None and corpora.is_files(options.corpus)
    return manifest.find(options.corpus) if is_path else None


def _of_shards(folder: pathlib.Path, found: manifest.Manifest, corpus: str) -> TrainingSource:
    read = shard_reading.read(folder, found, corpus)
    held_out = token_store.tokenize(read.corpus, found.tokenizer, manifest.HELD_OUT)
    return TrainingSource(
        read.corpus, found.tokenizer, read.train, held_out, stored_lines=read.lines
    )


def _tokenized(corpus: corpora.Corpus, tokenizer: Tokenizer) -> TrainingSource:
    texts = token_store.tokenize(corpus, tokenizer)
    return TrainingSource(corpus, tokenizer, texts.pop("train"), texts)


def _of_arrays(place: Place, spec: array_folder.ArraySpec, corpus: str) -> TrainingSource:
    found = reading.read(place, spec, corpus)
    return TrainingSource(found.corpus, spec.tokenizer, found.train, found.held_out, found.windows)
