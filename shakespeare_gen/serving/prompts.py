"""States of prompts that were read, so that a long prompt is read once.

A text is read from the longest of its beginnings that is stored, if its tokens are those of the
beginning followed by those of the rest. Long texts leave states on their way, for texts that differ
only at their end. Safe to use by several threads. Knows nothing about requests.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.generation.reading import Reader, State
from shakespeare_gen.models import states

STRIDE_CHARS = 1024  # between the states on the way
MAX_TRIED = 16  # beginnings; one that ends within a longer token does not help


class PromptStore:
    """A least-recently-used store of states by model and text, bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._states: OrderedDict[tuple[str, str], tuple[State, int]] = OrderedDict()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """The size of all stored states."""
        return self._num_bytes

    def put(self, model: str, text: str, state: State) -> None:
        """Stores a state; drops those that were not used for longest, down to the limit."""
        size = num_bytes(state) + 4 * len(text)
        with self._lock:
            self._remove((model, text))
            self._states[model, text] = (state, size)
            self._num_bytes += size
            while self._num_bytes > self._max_bytes:
                self._remove(next(iter(self._states)))

    def _remove(self, key: tuple[str, str]) -> None:
        _, size = self._states.pop(key, (None, 0))
        self._num_bytes -= size

    def beginnings(self, model: str, text: str) -> list[tuple[str, State]]:
        """The longest stored beginnings of `text` that are not empty, the longest first."""
        with self._lock:
            found = [
                (start, state)
                for (owner, start), (state, _) in self._states.items()
                if owner == model and start and text.startswith(start)
            ]
            found.sort(key=lambda pair: -len(pair[0]))
            if found:
                self._states.move_to_end((model, found[0][0]))
        return found[:MAX_TRIED]


def read(
    store: PromptStore,
    model: str,
    reader: Reader,
    text: str,
    is_kept: bool,
    check: Callable[[], None],
) -> State:
    """The state after `text`, which is known to the tokenizer.

    Args:
      is_kept: store the state, and states on the way.
      check: called after every chunk; an exception that it raises ends the reading.
    """
    done, state = "", None
    for start, found in store.beginnings(model, text):
        if start == text:
            return found
        if _continues(reader.tokenizer, start, text):
            done, state = start, found
            break
    for end in _ends(len(done), len(text), is_kept):
        if end < len(text) and not _continues(reader.tokenizer, text[:end], text):
            continue
        state = reader.read(text[len(done) : end], "error", state, check).in_numpy()
        done = text[:end]
        if is_kept and done:
            store.put(model, done, state)
    assert state is not None  # there is at least one end
    return state


def _ends(begin: int, end: int, is_kept: bool) -> list[int]:
    """Where reading stops: at multiples of `STRIDE_CHARS`, and at the end."""
    first = begin + STRIDE_CHARS - begin % STRIDE_CHARS
    return [*range(first, end, STRIDE_CHARS), end] if is_kept else [end]


def _continues(tokenizer: Tokenizer, start: str, text: str) -> bool:
    """Whether reading `start` and then the rest of `text` is reading `text`."""
    rest = text[len(start) :]
    if tokenizer.unfinished(rest) != tokenizer.unfinished(text):
        return False
    parts = np.concatenate([tokenizer.encode(start), tokenizer.encode(rest)])
    return np.array_equal(parts, tokenizer.encode(text))


def num_bytes(state: State) -> int:
    """The size of the arrays of a state."""
    before = num_bytes(state.unfinished.before) if state.unfinished else 0
    arrays = states.flatten((state.model_state, state.logits, state.recent))
    return before + sum(np.asarray(array).nbytes for array in arrays)
