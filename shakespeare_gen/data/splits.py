"""Splits a text into train, validation and test, in this order."""

import dataclasses
from typing import NamedTuple

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
    validation_end = len(text) - int(len(text) * test_fraction)
    train_end = validation_end - int(len(text) * validation_fraction)
    return Splits(text[:train_end], text[train_end:validation_end], text[validation_end:])


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
