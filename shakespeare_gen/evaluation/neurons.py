"""Which units of a network track something a reader can name.

Each unit's output after a character is compared with properties of the text at that
character, as in Karpathy, Johnson and Li 2015 (arXiv 1506.02078), but ranked by
correlation instead of by eye. N characters, U units of all layers together.
"""

import re
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from shakespeare_gen.evaluation import likelihood, style
from shakespeare_gen.models import recurrent

MIN_SHARE = 0.002  # a property that is rarer, or commoner than the rest, ranks nothing
EXCERPT_CHARS = 320
QUOTATION = re.compile(r'"[^"\n]*(?:\n[^"\n]+)*"|“[^”]*”')
BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")


def _since(text: str, is_end: Callable[[str], bool]) -> np.ndarray:
    """Characters since the last one that `is_end`, at most 99."""
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


def activations(network, ids: np.ndarray, start_id: int) -> np.ndarray:
    """The output of every unit after each character of `ids`: float32 [N, U]."""
    hidden = [layer.output[0] for layer in recurrent.recurrent_layers(network)]
    probe = keras.Model(network.inputs, [*hidden, *network.outputs[1:]])

    @tf.function(reduce_retracing=True)
    def read_chunk(inputs, targets, state):
        # The output after a character is there when that one is read, not predicted.
        outputs = probe([targets, *state], training=False)
        found = tf.concat([tf.cast(h, tf.float32) for h in outputs[: len(hidden)]], -1)
        return found, outputs[len(hidden) :]

    [found] = likelihood.read_with(read_chunk, network, ids, start_id)
    return found


def rank(outputs: np.ndarray, text: str) -> list[dict]:
    """For each property of the text the unit that tracks it best, the best-tracked first.

    `unit` counts over all layers, `correlation` is Pearson's; `begin` is where an excerpt
    shows the property change most.
    """
    centred = outputs - outputs.mean(0)
    norms = np.linalg.norm(centred, axis=0) + 1e-12
    found = []
    for name, measure in PROPERTIES.items():
        values = np.asarray(measure(text), float)
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
                "begin": _liveliest(values),
            }
        )
    return sorted(found, key=lambda row: -abs(row["correlation"]))


def _liveliest(values: np.ndarray) -> int:
    """Where the excerpt begins whose values vary most."""
    starts = np.arange(0, max(len(values) - EXCERPT_CHARS, 0) + 1, EXCERPT_CHARS // 2)
    return int(max(starts, key=lambda start: values[start : start + EXCERPT_CHARS].var()))
