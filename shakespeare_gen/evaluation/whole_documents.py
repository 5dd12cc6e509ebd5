"""Generated documents, one at a time: how many are new, and how many tunes are valid.

For models of a text with marked ends of documents, such as a list of names or a collection of
tunes. Generation of a document starts after the end of another one. Knows nothing about losses.
"""

from typing import Any

import numpy as np

from shakespeare_gen.data import documents
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.evaluation import tunes
from shakespeare_gen.evaluation.subject import Subject
from shakespeare_gen.generation import Generator, Request
from shakespeare_gen.generation.sampling import Sampling
from shakespeare_gen.options.groups import GenerationOptions, ReportOptions

MIN_DOCUMENTS = 20  # known, and generated; with fewer, a share says nothing
MAX_GENERATED = 1000
LENGTH_FACTOR = 2  # a document may be longer than the longest one of the training text
MAX_TOKENS = 4000
MAX_BLANKS = 10  # blank characters between documents
MAX_NAME_CHARS = 40


def write(subject: Subject, options: ReportOptions, sampling: Sampling) -> dict[str, Any] | None:
    """The figures of generated and of held-out documents; None if the text is not a collection.

    Returns:
      `kind`: "tunes", "names" (documents of one short line) or "documents"; `generated` and
      `human`: `num`, `new` (the share that is not in the corpus), and for tunes `valid`.
    """
    if subject.tokenizer.end_id is None or subject.train is None:
        return None
    found = _documents(subject)
    known = found["train"]
    num = options.sample_chars * len(known) // subject.train.num_chars
    if min(len(known), num) < MIN_DOCUMENTS:
        return None
    asked = GenerationOptions(
        num_samples=min(num, MAX_GENERATED),
        length=_max_tokens(subject.train, known),
        seed=options.sample_seed,
    )
    generated = _generated(subject, asked, sampling)
    kind = kind_of(known)
    every = {document for part in found.values() for document in part}
    human = found.get(subject.main, [])
    return {
        "kind": kind,
        "generated": measure(generated, every, kind),
        "human": measure(human, set(known), kind),
    }


def kind_of(known: list[str]) -> str:
    """What the documents of a text are."""
    if np.mean([tunes.is_tune(document) for document in known]) > 0.5:
        return "tunes"
    is_line = ["\n" not in d and len(d) <= MAX_NAME_CHARS for d in known]
    return "names" if all(is_line) else "documents"


def measure(found: list[str], known: set[str], kind: str) -> dict[str, float | None]:
    """The number of documents, the share that is not in `known`, and for tunes the valid share."""
    new = sum(document not in known for document in found) / len(found) if found else None
    valid = {"valid": tunes.valid_share(found)} if kind == "tunes" else {}
    return {"num": len(found), "new": new, **valid}


def _documents(subject: Subject) -> dict[str, list[str]]:
    """The whole documents of all texts; the first one of a held-out text may be a part."""
    parts = {"train": subject.train, "validation": subject.validation, **subject.texts}
    return {name: documents.whole(text.text) for name, text in parts.items() if text is not None}


def _max_tokens(train: TokenizedText, known: list[str]) -> int:
    """The maximum length of a generated document."""
    per_character = max(train.num_tokens / train.num_chars, 1)
    return int(min(LENGTH_FACTOR * max(map(len, known)) * per_character + 1, MAX_TOKENS))


def _generated(subject: Subject, asked: GenerationOptions, sampling: Sampling) -> list[str]:
    """Generated documents; one that does not end is cut."""
    assert subject.train is not None
    generator = Generator(subject.model, subject.tokenizer)
    [results] = generator.generate_batch([Request(_start(subject.train.text), asked, sampling)])
    return [result.text.strip() for result in results]


def _start(train: str) -> str:
    """The text between two documents: an end and the blank characters after it."""
    begin = train.find(documents.END_CHARACTER) + 1
    rest = train[begin : begin + MAX_BLANKS]
    return documents.END_CHARACTER + rest[: len(rest) - len(rest.lstrip())]
