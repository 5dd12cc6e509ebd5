"""No-repeat n-grams: an n-gram of the window is not generated a second time.

Shapes: B batch, V vocabulary, W window.
"""

import numpy as np

from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.generation.sampling.penalties import RepeatWindow
from shakespeare_gen.generation.sampling.transform import Transform
from shakespeare_gen.options import option


class NoRepeatNgram(Transform):
    """Forbids ids that would complete an n-gram of the window once more.

    If no id would remain, all remain. The memory is `runs`, int32 [B, W]: at each position of
    the window, the length of the match between the ids that end there and the last ids. The
    positions move with the window, so that a step compares each one with the new id alone, whatever
    n is.
    """

    looks_back = True

    no_repeat_ngram: int = option(
        0, "never repeat an n-gram of this many tokens within repeat_window; 0: off", minimum=0
    )

    def check_with(self, options):
        window = options[RepeatWindow].repeat_window
        if self.no_repeat_ngram > window:
            raise UsageError(
                f"no_repeat_ngram: expected at most `repeat_window={window}`, "
                f"received {self.no_repeat_ngram}"
            )

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        n, width = values["no_repeat_ngram"], recent.shape[1]
        places = np.arange(width, dtype=np.float32)
        run_before = xp.concatenate([xp.zeros_like(memory[:, :1]), memory[:, :-1]], axis=1)
        is_inside = places >= width - values["repeat_window"] + (n - np.float32(1))
        is_same = xp.asarray(run_before, dtype=np.float32) >= n - np.float32(1)
        ends = xp.where(is_inside & is_same & (n > 0), recent, np.int32(-1))
        forbidden = arrays.contains(xp, ends, logits.shape[1])
        remaining = xp.where(forbidden, arrays.MINUS_INFINITY, logits)
        any_remains = arrays.largest(xp, remaining) > arrays.MINUS_INFINITY
        return xp.where(any_remains, remaining, logits)

    @staticmethod
    def start(values, recent, vocabulary_size):
        runs = np.zeros(recent.shape, np.int32)
        is_same = np.ones(recent.shape, bool)
        for back in range(int(values["no_repeat_ngram"].max())):
            shifted = np.roll(recent, back, axis=1)
            is_same &= (shifted == recent[:, -1 - back, None]) & (shifted >= 0)
            is_same[:, :back] = False
            if not is_same.any():
                break
            runs += is_same
        return runs

    @staticmethod
    def update(xp, values, memory, logits, ids, recent):
        is_same = recent == xp.expand_dims(ids, 1)
        return xp.where(is_same, memory + np.int32(1), np.int32(0))
