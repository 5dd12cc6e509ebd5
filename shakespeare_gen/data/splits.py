"""Splits a text into train, validation and test, in this order."""

from typing import NamedTuple


class Splits(NamedTuple):
    """Three texts; only `train` is never empty."""

    train: str
    validation: str
    test: str


def cut(text: str, validation_fraction: float, test_fraction: float) -> Splits:
    """Splits `text` by characters; the held-out parts are at its end."""
    validation_end = len(text) - int(len(text) * test_fraction)
    train_end = validation_end - int(len(text) * validation_fraction)
    return Splits(text[:train_end], text[train_end:validation_end], text[validation_end:])
