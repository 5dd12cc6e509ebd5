"""Prompts, and states of prompts that were read, so that a long prompt is read once.

A prompt is read from the longest of its beginnings that is stored. Long prompts leave states on
their way, for prompts that differ only at their end. Safe to use by several threads. Knows nothing
about requests.

Shapes: N tokens.
"""

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Self

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.generation.reading import Reader, State
from shakespeare_gen.models import states

STRIDE_TOKENS = 1024  # between the states on the way


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
    """What comes before a text.

    Attributes:
      text: without a character that is incomplete at its end.
      ids: int32 [N].
      word: the unfinished word at the end of a prompt that was given as text; see
        `Tokenizer.unfinished`. Ids are continued as they are.
    """

    text: str
    ids: np.ndarray
    word: str = ""

    @classmethod
    def of_text(cls, text: str, tokenizer: Tokenizer) -> Self:
        """From a text that is known to the tokenizer."""
        return cls(text, tokenizer.encode(text), tokenizer.unfinished(text))

    @classmethod
    def of_ids(cls, ids: list[int], tokenizer: Tokenizer) -> Self:
        """From ids of the tokenizer."""
        return cls("".join(tokenizer.decoder().feed(ids)), np.array(ids, np.int32))


class PromptStore:
    """A least-recently-used store of states by model and ids, bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._states: OrderedDict[tuple[str, bytes], tuple[State, int]] = OrderedDict()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """The size of all stored states."""
        return self._num_bytes

    def put(self, model: str, ids: np.ndarray, state: State) -> None:
        """Stores a state; drops those that were not used for longest, down to the limit."""
        key = (model, ids.tobytes())
        size = num_bytes(state) + ids.nbytes
        with self._lock:
            self._remove(key)
            self._states[key] = (state, size)
            self._num_bytes += size
            while self._num_bytes > self._max_bytes:
                self._remove(next(iter(self._states)))

    def _remove(self, key: tuple[str, bytes]) -> None:
        _, size = self._states.pop(key, (None, 0))
        self._num_bytes -= size

    def longest(self, model: str, ids: np.ndarray) -> tuple[int, State | None]:
        """The length of the longest stored beginning of `ids` that is not empty, and its state."""
        whole = ids.tobytes()
        with self._lock:
            found = [k for k in self._states if k[0] == model and whole.startswith(k[1])]
            if not found:
                return 0, None
            key = max(found, key=lambda key: len(key[1]))
            self._states.move_to_end(key)
            return len(key[1]) // ids.itemsize, self._states[key][0]


def read(
    store: PromptStore,
    model: str,
    reader: Reader,
    prompt: Prompt,
    is_kept: bool,
    check: Callable[[], None],
) -> State:
    """The state after a prompt.

    Args:
      is_kept: store the state before an unfinished word, and states on the way.
      check: called after every chunk; an exception that it raises ends the reading.
    """
    head = prompt.ids[: len(prompt.ids) - len(reader.tokenizer.encode(prompt.word))]
    done, state = store.longest(model, head)
    for end in _ends(done, len(head), is_kept):
        state = reader.read_ids(head[done:end], state, check).in_numpy()
        done = end
        if is_kept and done:
            store.put(model, head[:done], state)
    assert state is not None  # there is at least one end if nothing is stored
    if not prompt.word:
        return state
    return reader.read_word(prompt.word, state, is_first=not len(head)).in_numpy()


def _ends(begin: int, end: int, is_kept: bool) -> list[int]:
    """Where reading stops: at multiples of `STRIDE_TOKENS`, and at the end."""
    if 0 < begin == end:
        return []
    first = begin + STRIDE_TOKENS - begin % STRIDE_TOKENS
    return [*range(first, end, STRIDE_TOKENS), end] if is_kept else [end]


def num_bytes(state: State) -> int:
    """The size of the arrays of a state."""
    arrays = states.flatten((state.model_state, state.logits, state.recent))
    return sum(np.asarray(array).nbytes for array in arrays)
