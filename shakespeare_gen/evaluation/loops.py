"""Finds loops: a phrase that is repeated several times in a row.

Human text has short ones ("no, no, no"), so its figures are the standard of comparison. Knows
nothing about models.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from shakespeare_gen.data.texts import code_points

MIN_REPEATS = 3
MIN_LOOP_CHARS = 30
MAX_PHRASE_CHARS = 200
SHOWN_CHARS = 400
CONTEXT_CHARS = 80


@dataclasses.dataclass(frozen=True)
class Loops:
    """The loops of a text of N characters.

    Attributes:
      is_inside: bool [N], whether a character belongs to a loop.
      longest_chars: the length of the longest loop; 0: there is none.
      begin: the position of the longest loop.
      phrase_chars: the length of the phrase that the longest loop repeats.
    """

    is_inside: np.ndarray
    longest_chars: int = 0
    begin: int = 0
    phrase_chars: int = 1


def find(text: str) -> Loops:
    """Finds phrases of at most `MAX_PHRASE_CHARS` that occur `MIN_REPEATS` times in a row or more.

    Together, the repetitions must have at least `MIN_LOOP_CHARS` characters.
    """
    points = code_points(text)
    found = Loops(np.zeros(len(points), bool))
    for phrase_chars in range(1, min(MAX_PHRASE_CHARS, len(points) // MIN_REPEATS) + 1):
        shortest = max(MIN_REPEATS * phrase_chars, MIN_LOOP_CHARS)
        is_repeated = points[phrase_chars:] == points[:-phrase_chars]
        for begin, end in _runs(is_repeated, shortest - phrase_chars):
            end += phrase_chars
            found.is_inside[begin:end] = True
            if end - begin > found.longest_chars:
                found = Loops(found.is_inside, end - begin, begin, phrase_chars)
    return found


def measure(texts: Sequence[str]) -> dict[str, Any]:
    """The figures of several texts, and the longest loop with the text before it."""
    texts = list(texts) or [""]
    loops = [find(text) for text in texts]
    text, longest = max(zip(texts, loops, strict=True), key=lambda pair: pair[1].longest_chars)
    begin, length = longest.begin, longest.longest_chars
    num_chars = sum(map(len, texts))
    return {
        "characters": num_chars,
        "share_in_loops": sum(int(found.is_inside.sum()) for found in loops) / max(num_chars, 1),
        "longest_loop_chars": length,
        "repeats": length / longest.phrase_chars,
        "phrase": text[begin : begin + longest.phrase_chars * bool(length)],
        "before": text[max(begin - CONTEXT_CHARS, 0) : begin],
        "loop": text[begin : begin + min(length, SHOWN_CHARS)],
    }


def _runs(flags: np.ndarray, min_length: int) -> list[tuple[int, int]]:
    """The ranges of at least `min_length` consecutive true flags."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    is_long = ends - begins >= min_length
    return list(zip(begins[is_long].tolist(), ends[is_long].tolist(), strict=True))
