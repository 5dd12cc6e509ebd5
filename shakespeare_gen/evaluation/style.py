"""Measures of repetition and drift, for comparison with human text.

Each figure is a share or a mean over the text; some use the words and speakers of the training
text. Compare texts of similar length: the share of distinct n-grams depends on it.
"""

import collections
import re

import numpy as np

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
SPEAKER = re.compile(r"^([^\W\d_a-z][^\n:.,;!?]{0,40}):$", re.MULTILINE)
MIN_SPEECHES = 10  # a text with fewer is not a play
MAX_MAIN_SPEAKERS = 40


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return [word.lower() for word in _WORD.findall(text)]


def speakers(text: str) -> list[str]:
    """The speakers, one per speech: lines that consist of a name and a colon."""
    return SPEAKER.findall(text)


def main_speakers(text: str) -> list[str]:
    """The speakers with most speeches, the most frequent one first; none if it is not a play."""
    found = speakers(text)
    if len(found) < MIN_SPEECHES:
        return []
    return [name for name, _ in collections.Counter(found).most_common(MAX_MAIN_SPEAKERS)]


class Style:
    """Measures texts against the words and speakers of a training text."""

    def __init__(self, training_text: str) -> None:
        self.words = set(words(training_text))
        found = speakers(training_text)
        self.speakers = set(found) if len(found) >= MIN_SPEECHES else set()

    def measure(self, text: str) -> dict[str, float | None]:
        """All figures by name; None if the text has nothing to measure."""
        lines = [line for line in text.splitlines() if line.strip()]
        found: dict[str, float | None] = {
            "distinct_4_grams": distinct_share(text, 4),
            "distinct_12_grams": distinct_share(text, 12),
            "repeated_lines": _repeated_share(lines),
            "known_words": _share([word in self.words for word in words(text)]),
            "line_chars": _mean([len(line) for line in lines]),
        }
        if self.speakers:
            names = speakers(text)
            found["known_speakers"] = _share([name in self.speakers for name in names])
            speech_lines = len(lines) - len(names)
            found["speech_lines"] = speech_lines / len(names) if names else None
        return found


def mean_of(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean of each figure over the texts for which it is not None."""
    return {
        name: _mean([row[name] for row in rows if row[name] is not None])  # type: ignore[misc]
        for name in (rows[0] if rows else {})
    }


def distinct_share(text: str, size: int) -> float | None:
    """The number of distinct n-grams of `size` characters, as a fraction of all n-grams."""
    ngrams = collections.Counter(text[i : i + size] for i in range(len(text) - size + 1))
    return len(ngrams) / ngrams.total() if ngrams else None


def _repeated_share(lines: list[str]) -> float | None:
    return 1 - len(set(lines)) / len(lines) if lines else None


def _share(flags: list[bool]) -> float | None:
    return float(np.mean(flags)) if flags else None


def _mean(values: list) -> float | None:
    return float(np.mean(values)) if values else None
