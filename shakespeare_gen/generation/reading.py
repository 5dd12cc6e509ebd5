"""Reading a prompt, and scoring a text.

Shapes: T tokens of a chunk, N tokens of a text, V vocabulary, W window.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation.sampling import MAX_REPEAT_WINDOW, arrays
from shakespeare_gen.models import LanguageModel, states
from shakespeare_gen.system import devices, threads

CHUNK_TOKENS = 256
# Compiling takes most of a second, in which NumPy reads about as many tokens times parameters.
NUMPY_WORK = 2 * 10**9


@dataclasses.dataclass(frozen=True)
class State:
    """The state after reading a text: an immutable value that can be continued many times.

    Attributes:
      model_state: the state of the model, one row.
      logits: float32 [1, V], of the next token.
      recent: int32 [1, at most MAX_REPEAT_WINDOW], the last ids.
    """

    model_state: Any
    logits: Any
    recent: np.ndarray

    def in_numpy(self) -> "State":
        """The same state in NumPy arrays."""
        model_state, logits = states.map_arrays(np.asarray, (self.model_state, self.logits))
        return State(model_state, logits, self.recent)

    @property
    def log_probabilities(self) -> np.ndarray:
        """Log-probabilities of the next token in nats, float32 [V]."""
        return arrays.log_softmax(np, np.asarray(self.logits))[0]


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads texts in chunks of constant memory; keeps the weights that the model has at first."""

    model: LanguageModel
    tokenizer: Tokenizer

    @functools.cached_property
    def _in_numpy(self) -> LanguageModel | None:
        return self.model.in_numpy()

    def read(
        self, text: str, unknown: str, start: State | None, check: Callable[[], None]
    ) -> State:
        """See `Generator.read`."""
        state = start
        for ids, logits, model_state in self._chunks(text, unknown, start):
            recent = state.recent if state else np.zeros((1, 0), np.int32)
            recent = np.concatenate([recent, ids[None]], 1)[:, -MAX_REPEAT_WINDOW:]
            state = State(model_state, logits[:, -1], recent)
            check()
        assert state is not None  # without a start at least the start token is read
        return state

    def score(self, text: str, unknown: str, start: State) -> np.ndarray:
        """See `Generator.score`."""
        logits, found = np.asarray(start.logits), [np.zeros(0, np.float32)]
        for ids, after, _ in self._chunks(text, unknown, start):
            every = np.concatenate([logits, np.asarray(after)[0]])
            log_p = arrays.log_softmax(np, every[:-1])
            found.append(log_p[np.arange(len(ids)), ids])
            logits = every[-1:]
        return np.concatenate(found)

    def _chunks(
        self, text: str, unknown: str, start: State | None
    ) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Ids [T], the logits [1, T, V] after each of them, and the state of the model."""
        devices.check_not_forked()
        ids = self.tokenizer.encode(self.tokenizer.prepare(text, unknown))
        if not len(ids) and start is None:
            ids = np.array([self.tokenizer.start_id], np.int32)
        read = self._read_function(len(ids))
        state = start.model_state if start else self.model.initial_state(1)
        for begin in range(0, len(ids), CHUNK_TOKENS):
            chunk = ids[begin : begin + CHUNK_TOKENS]
            with threads.single_threaded_products():
                logits, state = read(chunk[None], state)
            yield chunk, logits, state

    def _read_function(self, num_tokens: int) -> Callable:
        """ids [1, T], state -> logits [1, T, V], state."""
        if self.model.uses_numpy:
            return self.model.read
        is_short = num_tokens * self.model.num_parameters <= NUMPY_WORK
        if is_short and (in_numpy := self._in_numpy):
            return lambda ids, state: in_numpy.read(ids, states.map_arrays(np.asarray, state))
        if num_tokens <= CHUNK_TOKENS:  # compiling would take longer
            return self.model.read
        from shakespeare_gen.generation import programs

        program, weights = programs.reading(self.model.read_function), self.model.weight_arrays()
        return lambda ids, state: program(weights, ids, state)


def check_types(text: Any, start: Any) -> None:
    """Raises `UsageError` unless `text` is a string and `start` is a state or None."""
    if not isinstance(text, str):
        raise UsageError(f"prompt: expected a string, received {type(text).__name__}")
    if start is not None and not isinstance(start, State):
        raise UsageError(
            f"start: expected a State, the result of `read`, received {type(start).__name__}"
        )
