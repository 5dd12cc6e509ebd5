"""The text that an export is proved with.

Held-out text of the run if it is there, else text that the model writes. Knows nothing about
formats.
"""

import dataclasses

import numpy as np
from absl import logging

from shakespeare_gen.data import corpora, text_files, token_store
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.generation import Generator
from shakespeare_gen.options.groups import CorpusLocationOptions
from shakespeare_gen.runs import resuming

NUM_CHARS = 2000


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """A text and its tokens.

    Attributes:
      description: what text it is.
      ids: int32 [N], what the model reads: the start token, then all tokens but the last.
      targets: int32 [N], the tokens.
    """

    description: str
    ids: np.ndarray
    targets: np.ndarray
    num_chars: int


def find(subject: Subject, text_path: str, location: CorpusLocationOptions) -> HeldOut:
    """The first `NUM_CHARS` characters of a file, or of the validation text of the first run.

    Without validation text, or if the corpus is not available, the model writes the text.

    Raises:
      UserError: the file cannot be read, or the given corpus is not that of the run.
    """
    if text_path:
        text = text_files.read_named(text_path, "text_path=")
        return _held_out(subject, text, f"text_path={text_path}")
    try:
        text, reason = _validation(subject, location), "expected validation text, found none"
    except UserError as error:
        if location.corpus or location.data_dir:
            raise
        text, reason = "", str(error).splitlines()[0].rstrip(".")
    if text:
        return _held_out(subject, text, "validation text")
    # As the message itself, so that options are spelled as flags.
    logging.warning(f"{reason}; the proof reads text that the model writes; see `text_path`")
    return _held_out(subject, _written(subject), "text that the model wrote")


def _validation(subject: Subject, location: CorpusLocationOptions) -> str:
    spec = subject.runs[0].spec
    if not spec.corpus.validation_chars:
        return ""
    corpus = corpora.load(resuming.corpus_options(spec, location.corpus, location.data_dir))
    resuming.check_corpus(spec, corpus)
    return corpus.validation


def _written(subject: Subject) -> str:
    generator = Generator(subject.model(), subject.tokenizer)
    [result] = generator.generate(length=NUM_CHARS, temperature=1.0, seed=0)
    return result.text


def _held_out(subject: Subject, text: str, description: str) -> HeldOut:
    tokenizer = subject.tokenizer
    policy = token_store.unknown_policy(tokenizer)
    found = TokenizedText.of(text[:NUM_CHARS], tokenizer, policy, description)
    if not found.num_tokens:
        raise UserError(f"{description}: expected text, received none")
    ids = np.concatenate([[tokenizer.start_id], found.ids[:-1]]).astype(np.int32)
    return HeldOut(description, ids, found.ids.astype(np.int32), found.num_chars)
