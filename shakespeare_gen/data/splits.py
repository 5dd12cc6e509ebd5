"""Splits a text or documents into train, validation and test, in this order."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from shakespeare_gen.data import documents
from shakespeare_gen.data.documents import END_CHARACTER

MAX_LINE_CHARS = 1000


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A file of a corpus: its size and encoding, or the reason why it was skipped."""

    path: str
    num_bytes: int = 0
    num_chars: int = 0
    encoding: str = ""
    skipped: str = ""


class Splits(NamedTuple):
    """Three texts, and the files that they come from; only `train` is never empty."""

    train: str
    validation: str
    test: str
    files: tuple[SourceFile, ...] = ()


def cut(text: str, validation_fraction: float, test_fraction: float) -> Splits:
    """Splits `text` by characters; the held-out parts are at its end."""
    train_end, validation_end = _ends(len(text), validation_fraction, test_fraction)
    return Splits(text[:train_end], text[train_end:validation_end], text[validation_end:])


def cut_documents(found: Sequence[str], validation_fraction: float, test_fraction: float) -> Splits:
    """Splits documents by their number and marks their ends; the held-out ones are the last."""
    train_end, validation_end = _ends(len(found), validation_fraction, test_fraction)
    parts = found[:train_end], found[train_end:validation_end], found[validation_end:]
    train, validation, test = map(documents.ended, parts)
    return Splits(train, validation, test)


def _ends(size: int, validation_fraction: float, test_fraction: float) -> tuple[int, int]:
    """The ends of train and validation."""
    validation_end = size - int(size * test_fraction)
    return validation_end - int(size * validation_fraction), validation_end


def cut_at_lines(text: str, validation_fraction: float, test_fraction: float) -> Splits:
    """Splits one of several texts, so that its parts can be joined with those of the others.

    Each position of `cut` is moved back to the last end of a document, or else to the start of its
    line, unless that is farther away than the size of the part or `MAX_LINE_CHARS`.
    """
    by_characters = cut(text, validation_fraction, test_fraction)
    train_end, test_size = len(by_characters.train), len(by_characters.test)
    validation_end = _moved(text, len(text) - test_size, test_size, train_end)
    train_end = _moved(text, train_end, len(by_characters.validation), 0)
    return Splits(text[:train_end], text[train_end:validation_end], text[validation_end:])


def _moved(text: str, position: int, part_size: int, minimum: int) -> int:
    first = max(position - min(part_size, MAX_LINE_CHARS), minimum)
    for end in (END_CHARACTER, "\n"):
        found = text.rfind(end, first, position)
        if found >= 0:
            return found + 1
    return position
