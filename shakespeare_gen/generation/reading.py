"""Reading a prompt, and scoring a text.

Shapes: T tokens of a chunk, N tokens of a text, V vocabulary, W window.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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
      unfinished: the last word, if a longer token may begin with it.
    """

    model_state: Any
    logits: Any
    recent: np.ndarray
    unfinished: "Unfinished | None" = None

    def in_numpy(self) -> "State":
        """The same state in NumPy arrays."""
        model_state, logits = states.map_arrays(np.asarray, (self.model_state, self.logits))
        return State(
            model_state, logits, self.recent, self.unfinished and self.unfinished.in_numpy()
        )

    @property
    def log_probabilities(self) -> np.ndarray:
        """Log-probabilities of the next token in nats, float32 [V]."""
        return arrays.log_softmax(np, np.asarray(self.logits))[0]


@dataclasses.dataclass(frozen=True)
class Unfinished:
    """A word at the end of a text that a longer token may begin with.

    A model that reads " lo" as a space and letters knows nothing of the token " lord". A text
    therefore continues in one of two ways: after the letters, or with such a token at their place.

    Attributes:
      text: the unfinished word.
      before: the state before it; the logits of tokens that do not begin with it are -inf.
      probability: that such a token is at its place.
    """

    text: str
    before: State
    probability: float

    def in_numpy(self) -> "Unfinished":
        """The same in NumPy arrays."""
        return dataclasses.replace(self, before=self.before.in_numpy())


class TokenScores(NamedTuple):
    """What a model says about the tokens of a text, each after those before it.

    Attributes:
      nats: float32 [N], the log-probability of each token.
      top_ids: int32 [N, K], the most likely ids at its place, the most likely one first.
      top_nats: float32 [N, K], their log-probabilities.
    """

    nats: np.ndarray
    top_ids: np.ndarray
    top_nats: np.ndarray

    @classmethod
    def of(cls, log_p: np.ndarray, ids: np.ndarray, k: int) -> "TokenScores":
        """From log-probabilities [N, V] and the ids [N] of the text."""
        top = np.argsort(-log_p, axis=1, kind="stable")[:, :k].astype(np.int32)
        return cls(log_p[np.arange(len(ids)), ids], top, np.take_along_axis(log_p, top, 1))

    @classmethod
    def empty(cls, k: int) -> "TokenScores":
        """The scores of no token."""
        return cls(np.zeros(0, "f"), np.zeros((0, k), np.int32), np.zeros((0, k), "f"))


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
        text = self.tokenizer.prepare(text, unknown)
        word = self.tokenizer.unfinished(text)
        head = text.removesuffix(word)
        state = self.read_ids(self.tokenizer.encode(head), start, check)
        return self.read_word(word, state, is_first=not (head or start)) if word else state

    def read_ids(
        self, ids: np.ndarray, start: State | None, check: Callable[[], None] = lambda: None
    ) -> State:
        """The state after `ids` [N] exactly, which end no unfinished word.

        Args:
          start, check: see `Generator.read`.
        """
        state = start
        for chunk, logits, model_state in self._chunks(ids, start):
            state = State(model_state, logits[:, -1], _recent(state, chunk))
            check()
        assert state is not None  # without a start at least the start token is read
        return state

    def read_word(self, word: str, before: State, is_first: bool) -> State:
        """The state after an unfinished word; see `Tokenizer.unfinished`.

        Args:
          is_first: there is no text before the word, so that it replaces the start token.
        """
        state = self.read_ids(self.tokenizer.encode(word), None if is_first else before)
        return dataclasses.replace(state, unfinished=self._unfinished(word, before))

    def _unfinished(self, word: str, before: State) -> Unfinished:
        ids, log_p = self.tokenizer.beginning_with(word), before.log_probabilities
        as_token, spelled = np.exp(log_p[ids], dtype=np.float64).sum(), 0.0
        if len(self.tokenizer.encode(word)) > 1:
            spelled = float(np.exp(self.score(word, "error", before).sum(dtype=np.float64)))
        logits = np.full(before.logits.shape, arrays.MINUS_INFINITY)
        logits[:, ids] = np.asarray(before.logits)[:, ids]
        probability = as_token / (as_token + spelled) if as_token else 0.0
        return Unfinished(word, State(before.model_state, logits, before.recent), probability)

    def score(self, text: str, unknown: str, start: State) -> np.ndarray:
        """See `Generator.score`."""
        text = self.tokenizer.prepare(text, unknown)
        ids = self.tokenizer.encode(text)
        if start.unfinished is None or not text:
            return self.token_scores(ids, start)[0].nats
        return self._score_in_word(text, ids, start, start.unfinished)

    def _score_in_word(
        self, text: str, ids: np.ndarray, start: State, word: Unfinished
    ) -> np.ndarray:
        known, whole = self.tokenizer.encode(word.text), self.tokenizer.encode(word.text + text)
        longer, shares = self._longer(word)
        with np.errstate(divide="ignore"):
            if whole[0] in longer:  # a token contains the word and more
                nats = self.token_scores(whole, word.before)[0].nats
                nats[0] += np.log(word.probability)
                return nats
            if np.array_equal(whole[: len(known)], known):
                ids = whole[len(known) :]
            nats = self.token_scores(ids, start)[0].nats
            nats[0] += np.log(max(1 - shares.sum(), 0))
        return nats

    def _longer(self, word: Unfinished) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that begin with an unfinished word and go on, and their probabilities."""
        ids = self.tokenizer.beginning_with(word.text)
        shares = word.probability * np.exp(word.before.log_probabilities[ids], dtype=np.float64)
        known = self.tokenizer.encode(word.text)
        is_longer = ids != known[0] if len(known) == 1 else np.ones(len(ids), bool)
        return ids[is_longer], shares[is_longer]

    def next_tokens(self, state: State, k: int) -> list[tuple[str, float]]:
        """See `Generator.next_tokens`."""
        label, probabilities = self.tokenizer.label, np.exp(state.log_probabilities)
        found: dict[str, float] = {}
        if word := state.unfinished:
            longer, shares = self._longer(word)
            rests = [label(int(i)).removeprefix(word.text) for i in longer]
            found = dict(zip(rests, shares.tolist(), strict=True))
            probabilities = probabilities * max(1 - shares.sum(), 0)
        first = np.argsort(-probabilities, kind="stable")[:k].tolist()
        after = [(label(i), float(probabilities[i])) for i in first]
        if not found:
            return after
        for text, probability in after:  # the same text may come in both ways
            found[text] = found.get(text, 0) + probability
        return sorted(found.items(), key=lambda pair: -pair[1])[:k]

    def token_scores(
        self, ids: np.ndarray, start: State | None, k: int = 0
    ) -> tuple["TokenScores", State]:
        """The log-probability of each of `ids` [N], and the `k` most likely ids at its place.

        Also returns the state after them.

        Args:
          start: what was read before; None: nothing, so that nothing predicts the first id, whose
            log-probabilities are NaN.
        """
        logits = np.asarray(start.logits) if start else np.full((1, self.tokenizer.size), np.nan)
        found, state = [TokenScores.empty(k)], start
        for chunk, after, model_state in self._chunks(ids, start):
            every = np.concatenate([logits.astype(np.float32), np.asarray(after)[0]])
            if len(ids):
                found.append(TokenScores.of(arrays.log_softmax(np, every[:-1]), chunk, k))
            logits = every[-1:]
            state = State(model_state, logits, _recent(state, chunk))
        assert state is not None  # without a start at least the start token is read
        return TokenScores(*map(np.concatenate, zip(*found, strict=True))), state

    def _chunks(
        self, ids: np.ndarray, start: State | None
    ) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Ids [T], the logits [1, T, V] after each of them, and the state of the model."""
        devices.check_not_forked()
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


def _recent(before: State | None, ids: np.ndarray) -> np.ndarray:
    """The last ids after `ids` [T] were read: int32 [1, at most MAX_REPEAT_WINDOW]."""
    recent = before.recent if before else np.zeros((1, 0), np.int32)
    return np.concatenate([recent, ids[None]], 1)[:, -MAX_REPEAT_WINDOW:]


def check_types(text: Any, start: Any) -> None:
    """Raises `UsageError` unless `text` is a string and `start` is a state or None."""
    if not isinstance(text, str):
        raise UsageError(f"prompt: expected a string, received {type(text).__name__}")
    if start is not None and not isinstance(start, State):
        raise UsageError(
            f"start: expected a State, the result of `read`, received {type(start).__name__}"
        )
