"""Finds units of a model that track interpretable properties of the text.

The output of each unit after a token is compared with properties of the text at that position, as
in Karpathy, Johnson and Li 2015 (arXiv 1506.02078), but ranked by correlation instead of by visual
inspection. Shapes: N tokens, U units of all layers.
"""

import functools
import re
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from shakespeare_gen.evaluation import likelihood, rows, style
from shakespeare_gen.evaluation.rows import ReadingPlan
from shakespeare_gen.models import LanguageModel

MIN_SHARE = 0.002  # properties that hold more rarely, or nearly always, are not ranked
EXCERPT_TOKENS = 320
QUOTATION = re.compile(r'"[^"\n]*(?:\n[^"\n]+)*"|“[^”]*”')
BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")


def _since(text: str, is_end: Callable[[str], bool]) -> np.ndarray:
    """Characters since the last one for which `is_end` is true, at most 99."""
    found, count = [], 0
    for character in text:
        count = 0 if is_end(character) else min(count + 1, 99)
        found.append(count)
    return np.array(found)


def _inside(text: str, pattern: re.Pattern) -> np.ndarray:
    found = np.zeros(len(text))
    for match in pattern.finditer(text):
        found[match.start() : match.end()] = 1
    return found


def _lines_of_speech(text: str) -> np.ndarray:
    found, lines, previous = [], 0, ""
    for character in text:
        if character == "\n":
            lines = 0 if previous == "\n" else min(lines + 1, 20)
        previous = character
        found.append(lines)
    return np.array(found)


PROPERTIES: dict[str, Callable[[str], np.ndarray]] = {
    "inside quotation marks": lambda text: _inside(text, QUOTATION),
    "position in the line": lambda text: _since(text, lambda c: c == "\n"),
    "inside a speaker's name": lambda text: _inside(text, style.SPEAKER),
    "lines since the speech began": _lines_of_speech,
    "position in the word": lambda text: _since(text, lambda c: not c.isalpha()),
    "position in the sentence": lambda text: _since(text, lambda c: c in ".?!"),
    "inside brackets": lambda text: _inside(text, BRACKETS),
    "after a line end": lambda text: np.array([c == "\n" for c in text], float),
    "a capital letter": lambda text: np.array([c.isupper() for c in text], float),
}


def activations(model: LanguageModel, ids: np.ndarray, start_id: int) -> np.ndarray:
    """The output of every unit after each token of `ids`: float32 [N, U]."""
    weights, read_hidden = model.weight_arrays(), _compiled(model.hidden_function)

    def read_chunk(inputs, targets, state):
        # The output after a token is available when the token is read, not when it is predicted.
        return read_hidden(weights, targets, state)

    [found] = likelihood.read_with(read_chunk, model, ids, start_id, ReadingPlan())
    return found


@functools.lru_cache(maxsize=rows.MAX_COMPILED)
def _compiled(hidden_function: Callable) -> Callable:
    return tf.function(hidden_function, reduce_retracing=True, autograph=False)


def rank(outputs: np.ndarray, pieces: Sequence[str]) -> list[dict]:
    """The unit that tracks each property of the text best, sorted by correlation.

    Args:
      outputs: float [N, U], the outputs after each token.
      pieces: the texts of the N tokens.

    Returns:
      Rows with `property`; `unit`, numbered across all layers; `correlation` (Pearson); and
      `begin`, the first token of the excerpt in which the unit tracks the property best.
    """
    if not outputs.shape[1]:
        return []
    centred = outputs - outputs.mean(0)
    norms = np.linalg.norm(centred, axis=0) + 1e-12
    found = []
    for name in PROPERTIES:
        values = property_values(name, pieces)
        share = (values > 0).mean()
        if not MIN_SHARE <= share <= 1 - MIN_SHARE:
            continue
        values = values - values.mean()
        correlations = centred.T @ values / (norms * np.linalg.norm(values))
        unit = int(np.abs(correlations).argmax())
        found.append(
            {
                "property": name,
                "unit": unit,
                "correlation": float(correlations[unit]),
                "begin": _clearest(centred[:, unit] * np.sign(correlations[unit]), values),
            }
        )
    return sorted(found, key=lambda row: -abs(row["correlation"]))


def property_values(name: str, pieces: Sequence[str]) -> np.ndarray:
    """A property of the text after each of its tokens: float [N]."""
    ends = np.cumsum([len(piece) for piece in pieces]) - 1
    return np.asarray(PROPERTIES[name]("".join(pieces)), float)[np.maximum(ends, 0)]


def _clearest(outputs: np.ndarray, values: np.ndarray) -> int:
    """The start of the excerpt within which output and property covary most."""
    starts = range(0, max(len(values) - EXCERPT_TOKENS, 0) + 1, EXCERPT_TOKENS // 2)

    def covariance(start: int) -> float:
        part = slice(start, start + EXCERPT_TOKENS)
        return float(outputs[part] @ (values[part] - values[part].mean()))

    return max(starts, key=covariance)
