"""Splits a text or documents into train, validation and test, in this order."""

import dataclasses
from collections.abc import Callable, Sequence
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
    train_end, validation_end = ends(len(text), validation_fraction, test_fraction)
    return Splits(text[:train_end], text[train_end:validation_end], text[validation_end:])


def cut_documents(found: Sequence[str], validation_fraction: float, test_fraction: float) -> Splits:
    """Splits documents by their number and marks their ends; the held-out ones are the last."""
    train_end, validation_end = ends(len(found), validation_fraction, test_fraction)
    parts = found[:train_end], found[train_end:validation_end], found[validation_end:]
    train, validation, test = map(documents.ended, parts)
    return Splits(train, validation, test)


def ends(size: int, validation_fraction: float, test_fraction: float) -> tuple[int, int]:
    """The ends of train and validation in a text of `size` characters; see `cut`."""
    validation_end = size - int(size * test_fraction)
    return validation_end - int(size * validation_fraction), validation_end


def cut_at_lines(text: str, validation_fraction: float, test_fraction: float) -> Splits:
    """Splits one of several texts, so that its parts can be joined with those of the others; see
    `ends_at_lines`."""
    train_end, validation_end = ends_at_lines(
        len(text), validation_fraction, test_fraction, lambda begin, end: text[begin:end]
    )
    return Splits(text[:train_end], text[train_end:validation_end], text[validation_end:])


def ends_at_lines(
    size: int,
    validation_fraction: float,
    test_fraction: float,
    excerpt: Callable[[int, int], str],
) -> tuple[int, int]:
    """The ends of train and validation in one of several texts.

    Each position of `ends` is moved back to the last end of a document, or else to the start of its
    line, unless that is farther away than the size of the part or `MAX_LINE_CHARS`.

    Args:
      excerpt: the text between two positions.
    """
    train_end, validation_end = ends(size, validation_fraction, test_fraction)

    def moved(position: int, part_size: int, minimum: int) -> int:
        first = max(position - min(part_size, MAX_LINE_CHARS), minimum)
        before = excerpt(first, position)
        for end in (END_CHARACTER, "\n"):
            found = before.rfind(end)
            if found >= 0:
                return first + found + 1
        return position

    return (
        moved(train_end, validation_end - train_end, 0),
        moved(validation_end, size - validation_end, train_end),
    )
