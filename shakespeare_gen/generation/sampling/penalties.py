"""Penalties on tokens of the last `repeat_window` tokens, those of the prompt included.

- repetition penalty: Keskar et al. 2019, arXiv 1909.05858;
- frequency and presence penalty: subtracted from the logits, as in the OpenAI API.

Shapes: B batch, V vocabulary, W window.
"""

import numpy as np

from shakespeare_gen.generation.sampling.transform import Transform
from shakespeare_gen.options import OptionGroup, option

MAX_REPEAT_WINDOW = 4096


class RepeatWindow(OptionGroup):
    """How far the transforms that avoid repetition look back."""

    TITLE = "Sampling"

    repeat_window: int = option(
        64,
        "number of previous tokens that the penalties and no_repeat_ngram look at, including "
        "those of the prompt",
        minimum=1,
        maximum=MAX_REPEAT_WINDOW,
    )


class Penalties(Transform):
    """Lowers the logits of tokens that occur in the window.

    The memory is `counts`, float32 [B, V]: how often each id occurs in the window of its row. It
    changes by one id that enters and one that leaves, so that the cost of a step does not depend on
    the size of the window.
    """

    looks_back = True

    repetition_penalty: float = option(
        1.0,
        "divides positive logits, and multiplies negative ones, of tokens in the window; 1: off",
        above=0,
        maximum=1000,
    )
    frequency_penalty: float = option(
        0.0,
        "subtracted from the logit of a token once per occurrence in the window",
        minimum=-1000,
        maximum=1000,
    )
    presence_penalty: float = option(
        0.0,
        "subtracted from the logit of a token that occurs in the window",
        minimum=-1000,
        maximum=1000,
    )

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        counts = memory
        penalty = values["repetition_penalty"]
        lowered = xp.where(logits > 0, logits / penalty, logits * penalty)
        is_present = counts > 0
        logits = xp.where(is_present, lowered, logits)
        logits = logits - values["frequency_penalty"] * counts
        return xp.where(is_present, logits - values["presence_penalty"], logits)

    @staticmethod
    def start(values, recent, vocabulary_size):
        width = recent.shape[1]
        is_inside = (np.arange(width) >= width - values["repeat_window"]) & (recent >= 0)
        counts = np.zeros((len(recent), vocabulary_size), np.float32)
        rows, columns = np.nonzero(is_inside)
        np.add.at(counts, (rows, recent[rows, columns]), 1)
        return counts

    @staticmethod
    def update(xp, values, memory, logits, ids, recent):
        # `recent` ends with `ids`: the id that left the window stands just before the window.
        first = recent.shape[1] - 1 - xp.asarray(values["repeat_window"], dtype=np.int32)
        left = xp.take_along_axis(recent, first, 1)
        every = np.arange(memory.shape[1], dtype=np.int32)
        entered = xp.where(xp.expand_dims(ids, 1) == every, np.float32(1), np.float32(0))
        return memory + entered - xp.where(left == every, np.float32(1), np.float32(0))
