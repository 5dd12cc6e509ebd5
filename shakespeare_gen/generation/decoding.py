"""Decoding: the token loop and beam search for a model and its sampling transforms.

The random numbers of a row depend only on its key and the position, not on the chunks or on the
other rows. Works on ids; knows nothing about text, prompts or
stop conditions. A model whose arrays are those of NumPy is computed
in NumPy, without TensorFlow; `programs` holds what is compiled for the others.

Batches are padded to `ROW_SIZES` rows, and windows to `WINDOW_SIZES` ids. For each of these shapes
there are two programs, one with all transforms and one with the basic ones alone. Every sampling
option is an argument of a program, with one value per row.

Shapes: B rows, V vocabulary, W window, T tokens of a chunk.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from shakespeare_gen.generation import beam_search, sampling
from shakespeare_gen.generation.sampling import Sampling, Transform, arrays
from shakespeare_gen.generation.sampling.drawing import BatchOptions, Chain
from shakespeare_gen.models import LanguageModel, states
from shakespeare_gen.system import threads

CHUNK_TOKENS = 256
MAX_CHUNK_LOGITS = 2**22  # that are kept at a time, outside the compiled loop
# Compiling takes about a second: the first tokens are drawn in NumPy, so that a stream starts at
# once.
FIRST_CHUNK_TOKENS = 16
ROW_SIZES = (1, 4, 16, 64, 256)
WINDOW_SIZES = (64, 512, sampling.MAX_REPEAT_WINDOW)

Item = TypeVar("Item")


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Splits rows into batches that fill more than half of one of `ROW_SIZES`."""
    while items:
        padded = _size_at_least(min(len(items), ROW_SIZES[-1]), ROW_SIZES)
        whole = max(size for size in ROW_SIZES if size <= len(items))
        size = padded if 2 * len(items) > padded else whole
        yield items[:size]
        items = items[size:]


@dataclasses.dataclass(frozen=True)
class Rows:
    """A batch of texts to continue.

    Attributes:
      samplings: how each row is sampled.
      state: the state of the model, B rows.
      logits: float32 [B, V], of the first token.
      recent: int32 [B, any], the ids before it; -1 before the first one.
    """

    samplings: Sequence[Sampling]
    state: Any
    logits: Any
    recent: np.ndarray

    def padded(self, num_rows: int) -> "Rows":
        """Pads the batch to `num_rows` rows with copies of the last one."""
        index = np.minimum(np.arange(num_rows), len(self.samplings) - 1).astype(np.int32)
        return Rows(
            [self.samplings[i] for i in index],
            states.take(self.state, index),
            states.take(self.logits, index),
            self.recent[index],
        )

    def last(self, num_ids: int) -> np.ndarray:
        """The last ids, int32 [B, num_ids]."""
        padded = np.pad(self.recent, [(0, 0), (num_ids, 0)], constant_values=-1)
        return padded[:, padded.shape[1] - num_ids :]


class _Carried(NamedTuple):
    """The state of the loop: logits, model state, transform memory, the last ids [B, W]."""

    logits: Any
    state: Any
    memory: Any
    recent: np.ndarray


class Decoder:
    """Draws ids with a model; `forbidden_ids` are never drawn."""

    def __init__(self, model: LanguageModel, forbidden_ids: Sequence[int]) -> None:
        self._model = model
        self._forbidden = np.zeros(model.vocabulary_size, np.float32)
        self._forbidden[list(forbidden_ids)] = -np.inf

    def chunks(
        self, rows: Rows, keys: Sequence[tuple[int, int]], num_left: Callable[[], int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ids and their log-probabilities, [B, at most CHUNK_TOKENS], chunk by chunk.

        The log-probabilities are those of the model, before any transform.

        Args:
          keys: (seed, number of the sample) of each row.
          num_left: called before each chunk; returns the number of tokens still needed; 0 ends
            the loop.
        """
        num_rows = len(keys)
        is_numpy = self._model.uses_numpy
        padded = rows if is_numpy else rows.padded(_size_at_least(num_rows, ROW_SIZES))
        kinds = _kinds(padded.samplings)
        options, memory, recent = _prepared(padded, kinds)
        carried = _Carried(padded.logits, padded.state, memory, recent)
        weights = self._model.step_weights()
        random = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        size, is_compiled = FIRST_CHUNK_TOKENS, False
        while num_tokens := min(num_left(), size):
            uniform = np.zeros((num_tokens, len(padded.samplings)), np.float32)
            uniform[:, :num_rows] = np.stack([r.random(num_tokens, np.float32) for r in random], 1)
            draw = self._draw_compiled if is_compiled else self._draw
            ids, nats, carried = draw(kinds, weights, options, carried, uniform)
            size, is_compiled = self._chunk_tokens(padded), not is_numpy
            yield ids[:, :num_rows].T, nats[:, :num_rows].T

    def _chunk_tokens(self, rows: Rows) -> int:
        if not self._model.uses_numpy:
            return CHUNK_TOKENS
        return min(max(MAX_CHUNK_LOGITS // rows.logits.size, 1), CHUNK_TOKENS)

    @threads.single_threaded_products()
    def _draw(
        self, kinds, weights, options: BatchOptions, carried: _Carried, uniform: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, _Carried]:
        """Ids and log-probabilities [T, B], and the new state of the loop; everything except the
        model is computed in NumPy."""
        chain, step = Chain(kinds, np, _branch), self._model.step_function
        logits, state, memory, recent = carried
        every_id, every_logits = [], []
        for places in uniform:
            logits = np.asarray(logits)
            ids, received = chain.draw(
                logits, self._forbidden, places, options, memory, _constant(recent)
            )
            every_id.append(ids)
            every_logits.append(logits)
            if recent.shape[1]:
                recent = np.concatenate([recent, ids[:, None]], 1)[:, 1:]
            memory = chain.update(memory, ids, options, received, _constant(recent))
            logits, state = step(weights, ids, state)
        drawn = np.stack(every_id)
        nats = arrays.log_probability(np, np.stack(every_logits), drawn)
        return drawn, nats, _Carried(logits, state, memory, recent)

    def _draw_compiled(self, kinds, weights, options, carried, uniform):
        """The compiled counterpart of `_draw`."""
        from shakespeare_gen.generation import programs

        *carried, recent = carried
        num_tokens, num_rows = uniform.shape
        width = recent.shape[1]
        shape = programs.LoopShape(kinds, tuple(options.values), CHUNK_TOKENS, num_rows, width)
        program = programs.loop(self._model.step_function, shape)
        padded = np.pad(uniform, [(0, CHUNK_TOKENS - num_tokens), (0, 0)])
        ids, nats, after = program(
            weights, self._forbidden, options, tuple(carried), recent, padded, np.int32(num_tokens)
        )
        ids, nats = ids.numpy()[:num_tokens], nats.numpy()[:num_tokens]
        recent = np.concatenate([recent, ids.T], 1)[:, num_tokens:]
        return ids, nats, _Carried(*after, recent)

    def search(
        self,
        rows: Rows,
        num_beams: int,
        length: int,
        describe: Callable[[tuple[int, ...]], tuple[str, str | None]],
        length_penalty: float,
    ) -> list[beam_search.Beam]:
        """See `beam_search.search`. `rows` has one row; only transforms with `looks_back`
        apply."""
        chain = Chain(tuple(k for k in sampling.TRANSFORMS if k.looks_back), np, _branch)
        options, memory, recent = _prepared(rows, chain.kinds)
        step = self._beam_step(rows, num_beams)

        def scores(logits, memory, recent):
            logits = np.asarray(logits)
            changed, _ = chain.apply(logits + self._forbidden, options, memory, _constant(recent))
            own = arrays.log_softmax(np, logits) + self._forbidden
            return own, arrays.log_softmax(np, changed)

        def read(ids, state, parents):
            model_state, memory, recent = state
            logits, model_state = step(ids, model_state, parents)
            memory, recent = states.take((memory, recent), parents)
            recent = np.concatenate([recent, ids[:, None]], 1)[:, 1:]
            # Only a transform that is drawn from needs the logits that it received.
            received = dict.fromkeys((kind.__name__ for kind in chain.kinds), logits)
            memory = chain.update(memory, ids, options, received, _constant(recent))
            return scores(logits, memory, recent), (model_state, memory, recent)

        first = scores(rows.logits, memory, recent)
        state = (rows.state, memory, recent)
        return beam_search.search(read, first, state, num_beams, length, describe, length_penalty)

    def _beam_step(self, rows: Rows, num_beams: int) -> Callable:
        """ids [N], state, parents [N] -> logits [N, V], state."""
        weights, step = self._model.step_weights(), self._model.step_function
        if self._model.uses_numpy:
            return lambda ids, state, parents: step(weights, ids, states.take(state, parents))
        from shakespeare_gen.generation import programs

        num_rows = _size_at_least(num_beams, ROW_SIZES)
        program = programs.beam_step(step, num_rows)

        def padded_step(ids, state, parents):
            padding = [(0, num_rows - len(ids))]
            logits, state = program(weights, np.pad(ids, padding), state, np.pad(parents, padding))
            return logits[: len(ids)].numpy(), state

        return padded_step


def _constant(value: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: value


def _branch(condition, if_true: Callable, if_false: Callable):
    return if_true() if condition else if_false()


def _size_at_least(size: int, sizes: Sequence[int]) -> int:
    return next(s for s in sizes if s >= size)


def _kinds(samplings: Sequence[Sampling]) -> tuple[type[Transform], ...]:
    """The transforms to compile: all, or only the basic ones if no row uses another."""
    basic = tuple(kind for kind in sampling.TRANSFORMS if kind.is_always_compiled)
    others = [kind for kind in sampling.TRANSFORMS if kind not in basic]
    is_basic = not any(s.uses(kind) for s in samplings for kind in others)
    return basic if is_basic else tuple(sampling.TRANSFORMS)


def _prepared(
    rows: Rows, kinds: Sequence[type[Transform]]
) -> tuple[BatchOptions, dict[str, Any], np.ndarray]:
    """The options of `kinds`, their memory, and the previous ids that they use [B, W]."""
    width = 0
    if any(kind.looks_back for kind in kinds):
        largest = max(s.repeat_window for s in rows.samplings)
        # One more than the window: the transforms ask which id has left it.
        width = _size_at_least(largest, WINDOW_SIZES) + 1
    recent = rows.last(width)
    values = sampling.stacked(rows.samplings)
    used = {
        kind.__name__: np.array(any(s.uses(kind) for s in rows.samplings))
        for kind in kinds
        if not kind.is_always_compiled
    }
    memory = {kind.__name__: kind.start(values, recent, rows.logits.shape[1]) for kind in kinds}
    return BatchOptions(values, used), memory, recent
