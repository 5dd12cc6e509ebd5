"""Reads rows of ids with a model, in chunks: all rows in this process, or each process its share.

What is kept of a chunk is chosen by a function of logits and targets: `losses`, or `predictions`
with the most likely tokens. Knows nothing about how a text is cut into rows; see `likelihood`.

    results, state = Rows(None, len(ids)).read(Reader(model, losses), model, ids, targets)

Shapes: S rows, T time, V vocabulary, K candidates. Losses are in nats per token.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from shakespeare_gen.models import LanguageModel, states

CHUNK_TOKENS = 64
NUM_CANDIDATES = 5
MAX_COMPILED = 16


def _nothing() -> None:
    """The default of `poll`."""


class Sharing(Protocol):
    """Several processes that each read some rows of a batch; all of them receive all results."""

    @property
    def size(self) -> int:
        """The number of processes."""

    @property
    def index(self) -> int:
        """The position of this process."""

    def rows(self, num_rows: int) -> slice:
        """The rows that this process reads."""

    def gathered(self, part: np.ndarray, rows: slice, num_rows: int) -> np.ndarray:
        """The results of all rows [num_rows, ...], from those of this process."""


@dataclasses.dataclass(frozen=True)
class ReadingPlan:
    """How a text is read in parallel.

    Attributes:
      num_streams: maximum number of parts.
      context_tokens: tokens that each part reads before its first scored token.
      poll: called before every chunk; may raise an exception to end the reading.
      sharing: the processes that share the parts; None: this process reads all.
    """

    num_streams: int = 64
    context_tokens: int = 128
    poll: Callable[[], None] = _nothing
    sharing: Sharing | None = None


class Rows:
    """The rows of a batch, of which several processes each read some."""

    def __init__(self, sharing: Sharing | None, num_rows: int) -> None:
        is_shared = sharing is not None and num_rows >= sharing.size
        self._sharing, self._num_rows = sharing if is_shared else None, num_rows
        self.own = self._sharing.rows(num_rows) if self._sharing else slice(0, num_rows)

    def whole(self, part) -> np.ndarray:
        """An array of all rows, from that of the own ones."""
        array = np.asarray(part)
        if self._sharing is None:
            return array
        return self._sharing.gathered(array, self.own, self._num_rows)

    def read(
        self,
        read_chunk: Callable,
        model: LanguageModel,
        inputs: np.ndarray,
        targets: np.ndarray,
        plan: ReadingPlan | None = None,
    ) -> tuple[list, object]:
        """The results of `_read_rows` for all rows, and the last state of the own ones."""
        own, has_first = self.own, self.own.start == 0
        found, state = _read_rows(read_chunk, model, inputs[own], targets[own], plan, has_first)
        return [self.whole(part) for part in found], state

    def preceding(self, state):
        """For each of the own rows, the last state of the row before; row 0 has the last one."""
        num_own = self.own.stop - self.own.start
        before = states.take(state, np.arange(-1, num_own - 1) % num_own)
        if self._sharing is None:
            return before
        number = self._sharing.index
        last = states.take(state, np.array([num_own - 1]))

        def of_previous(array):
            every = self._sharing.gathered(
                np.asarray(array), slice(number, number + 1), self._sharing.size
            )
            return tf.convert_to_tensor(every[[number - 1]])

        previous = states.map_arrays(of_previous, last)
        if num_own == 1:
            return previous
        rest = states.take(before, np.arange(1, num_own))
        return states.concatenate([previous, states.map_arrays(tf.convert_to_tensor, rest)])


def _read_rows(
    read_chunk: Callable,
    model: LanguageModel,
    inputs: np.ndarray,
    targets: np.ndarray,
    plan: ReadingPlan | None = None,
    has_first: bool = True,
) -> tuple[list, object]:
    """Reads rows of ids [S, T] in parallel, from empty states -> arrays [S, T, ...], last state.

    With a `plan`, the context of row 0 is padding, and the row starts from an empty state after it.

    Args:
      has_first: whether the first of these rows is row 0.
    """
    state, found = model.initial_state(len(inputs)), []
    for begin in range(0, inputs.shape[1], CHUNK_TOKENS):
        if plan:
            plan.poll()
            if has_first and begin == plan.context_tokens:
                state = _with_empty_first_row(model, state, len(inputs))
        chunk = slice(begin, begin + CHUNK_TOKENS)
        *results, state = read_chunk(inputs[:, chunk], targets[:, chunk], state)
        found.append([np.asarray(part) for part in results])
    return [np.concatenate(parts, 1) for parts in zip(*found, strict=True)], state


def _with_empty_first_row(model: LanguageModel, state, num_rows: int):
    if num_rows == 1:
        return model.initial_state(1)
    rest = states.take(state, np.arange(1, num_rows))
    return states.concatenate([model.initial_state(1), rest])


def losses(logits, targets) -> tuple:
    """Logits [..., V], targets [...] -> nats [...], the only result."""
    return (tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits),)


def predictions(logits, targets) -> tuple:
    """Logits [..., V], targets [...] -> nats [...], candidates' ids and nats [..., K]."""
    [nats] = losses(logits, targets)
    best, candidate_ids = tf.math.top_k(logits, min(NUM_CANDIDATES, logits.shape[-1]))
    # The logit and the loss of the target give the normalizer without another pass.
    target_logit = tf.gather(logits, targets, axis=-1, batch_dims=len(targets.shape))
    return nats, candidate_ids, (nats + target_logit)[..., None] - best


class Reader:
    """A compiled chunk: ids, targets [S, T], state -> the results of `score`, state."""

    def __init__(self, model: LanguageModel, score: Callable[..., tuple] = predictions) -> None:
        self._weights = model.weight_arrays()
        self._read = _compiled(model.read_function, score)

    def __call__(self, ids, targets, state):
        return self._read(self._weights, ids, targets, state)


@functools.lru_cache(maxsize=MAX_COMPILED)
def _compiled(read_function: Callable, score: Callable[..., tuple]) -> Callable:
    """Cached: models of the same shape share traces, so that evaluations do not add memory."""

    @tf.function(reduce_retracing=True, autograph=False)
    def read_chunk(weights, ids, targets, state):
        logits, state = read_function(weights, ids, state)
        return *score(logits, targets), state

    return read_chunk
