"""Decoding: the token loop and beam search for a model and its sampling transforms.

Works on ids; knows nothing about text, prompts or stop conditions. A model whose arrays are those
of NumPy is computed in NumPy, without TensorFlow; `programs` holds what is compiled for the others.

Batches are padded to `ROW_SIZES` rows, and windows to `batch.WINDOW_SIZES` ids. For each of these
shapes there are two programs, one with all transforms and one with the basic ones alone. Every
sampling option is an argument of a program, with one value per row.

Shapes: B rows, P rows with padding, V vocabulary, W window, T tokens of a chunk.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from shakespeare_gen.generation import beam_search, sampling
from shakespeare_gen.generation.batch import Batch, Carried, Inputs, Row, prepared, size_at_least
from shakespeare_gen.generation.sampling import Sampling, arrays
from shakespeare_gen.generation.sampling.drawing import Chain
from shakespeare_gen.models import LanguageModel, states
from shakespeare_gen.system import threads

CHUNK_TOKENS = 256
MAX_CHUNK_LOGITS = 2**22  # that are kept at a time, outside the compiled loop
# Compiling takes about a second: the first tokens are drawn in NumPy, so that a stream starts at
# once.
FIRST_CHUNK_TOKENS = 16
ROW_SIZES = (1, 4, 16, 64, 256)

Item = TypeVar("Item")


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Splits rows into batches that fill more than half of one of `ROW_SIZES`."""
    while items:
        padded = size_at_least(min(len(items), ROW_SIZES[-1]), ROW_SIZES)
        whole = max(size for size in ROW_SIZES if size <= len(items))
        size = padded if 2 * len(items) > padded else whole
        yield items[:size]
        items = items[size:]


class _Step(NamedTuple):
    """The step of a model and its weights; see `LanguageModel`."""

    function: Callable
    weights: Any

    @classmethod
    def of(cls, model: LanguageModel) -> "_Step":
        """With the current weights."""
        return cls(model.step_function, model.step_weights())


class Decoder:
    """Draws ids with a model; `forbidden_ids` are never drawn.

    Args:
      row_sizes: the numbers of rows that programs are compiled for.
      precision: with `bfloat16`, `draw` computes the products of batches of several rows in
        bfloat16, if the model has that form.
    """

    def __init__(
        self,
        model: LanguageModel,
        forbidden_ids: Sequence[int],
        row_sizes: Sequence[int] = ROW_SIZES,
        precision: str = "float32",
    ) -> None:
        self._model, self._row_sizes = model, row_sizes
        self._of_many = (model.in_bfloat16() if precision == "bfloat16" else None) or model
        self._steps: dict[LanguageModel, _Step] = {}
        self._forbidden = np.zeros(model.vocabulary_size, np.float32)
        self._forbidden[list(forbidden_ids)] = -np.inf

    def bias(self, additions: Sequence[tuple[int, float]] = ()) -> np.ndarray:
        """What is added to the logits of a row, float32 [V]: -inf for forbidden ids.

        Args:
          additions: (id, value).
        """
        bias = self._forbidden.copy()
        for token_id, value in additions:
            bias[token_id] += value
        return bias

    def new_batch(self) -> Batch:
        """An empty batch, for `draw`."""
        return Batch(() if self._model.uses_numpy else self._row_sizes)

    def adopt(self, batch: Batch) -> None:
        """Prepares a batch of another decoder, with an equal model, for the `draw` of this one.

        It takes effect with the next `Batch.change`.
        """
        batch.row_sizes = () if self._model.uses_numpy else self._row_sizes

    def chunks(
        self, rows: Sequence[Row], num_left: Callable[[], int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ids and their log-probabilities, [B, at most CHUNK_TOKENS], chunk by chunk.

        The log-probabilities are those of the model, before any transform and bias.

        Args:
          num_left: called before each chunk; returns the number of tokens still needed; 0 ends
            the loop.
        """
        batch, step = self.new_batch(), _Step.of(self._model)
        batch.change((), rows)
        size, is_compiled = FIRST_CHUNK_TOKENS, False
        while num_tokens := min(num_left(), size):
            yield self._drawn(batch, step, num_tokens, is_compiled)
            size, is_compiled = self.max_chunk_tokens(batch), not self._model.uses_numpy

    def draw(self, batch: Batch, num_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """The next ids and log-probabilities, [B, T], of a batch that may change between draws.

        Unlike `chunks`, keeps the weights that the model has at the first call.

        Args:
          num_tokens: at most `max_chunk_tokens`.
        """
        model = self._of_many if len(batch) > 1 else self._model
        if model not in self._steps:
            self._steps[model] = _Step.of(model)
        return self._drawn(batch, self._steps[model], num_tokens, not model.uses_numpy)

    def probabilities(self, row: Row) -> np.ndarray:
        """The probabilities that the next token of a row is drawn with, float32 [V]."""
        batch = self.new_batch()
        batch.change((), [row])
        logits, _, memory, recent = batch.carried
        chain, options = Chain(batch.inputs.kinds, np, _branch), batch.inputs.options
        biased = np.asarray(logits) + batch.inputs.bias
        changed, _ = chain.apply(biased, options, memory, _constant(recent))
        return arrays.softmax(np, changed)[0]

    def max_chunk_tokens(self, batch: Batch) -> int:
        """The number of tokens to draw at a time at most."""
        if not self._model.uses_numpy:
            return CHUNK_TOKENS
        return min(max(MAX_CHUNK_LOGITS // batch.carried.logits.size, 1), CHUNK_TOKENS)

    def compile_ahead(self) -> None:
        """Compiles the programs of `draw` for every number of rows and the default window."""
        state, logits = self._model.initial_state(1), np.zeros((1, len(self._forbidden)), "f")
        for size in () if self._model.uses_numpy else self._row_sizes:
            for options in ({}, {"top_k": 1}):
                chosen, recent = Sampling.of(**options), np.zeros((1, 0), np.int32)
                batch = self.new_batch()
                batch.change((), [Row(chosen, (0, 0), state, logits, recent, self.bias())] * size)
                self.draw(batch, 1)

    def _drawn(
        self, batch: Batch, step: _Step, num_tokens: int, is_compiled: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        draw = self._draw_compiled if is_compiled else self._draw
        uniform = batch.uniform(num_tokens)
        ids, nats, batch.carried = draw(step, batch.inputs, batch.carried, uniform)
        return ids[:, : len(batch)].T, nats[:, : len(batch)].T

    @threads.single_threaded_products()
    def _draw(
        self, step: _Step, inputs: Inputs, carried: Carried, uniform: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Carried]:
        """Ids and log-probabilities [T, P], and what is carried on; everything except the model is
        computed in NumPy."""
        chain, options = Chain(inputs.kinds, np, _branch), inputs.options
        logits, state, memory, recent = carried
        bias = inputs.bias if inputs.bias.any() else None
        every_id, every_logits = [], []
        for places in uniform:
            logits = np.asarray(logits)
            ids, received = chain.draw(logits, bias, places, options, memory, _constant(recent))
            every_id.append(ids)
            every_logits.append(logits)
            if recent.shape[1]:
                recent = np.concatenate([recent, ids[:, None]], 1)[:, 1:]
            memory = chain.update(memory, ids, options, received, _constant(recent))
            logits, state = step.function(step.weights, ids, state)
        drawn = np.stack(every_id)
        nats = arrays.log_probability(np, np.stack(every_logits), drawn)
        return drawn, nats, Carried(logits, state, memory, recent)

    def _draw_compiled(
        self, step: _Step, inputs: Inputs, carried: Carried, uniform: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Carried]:
        """The compiled counterpart of `_draw`."""
        from shakespeare_gen.generation import programs

        num_tokens, num_rows = uniform.shape
        names, width = tuple(inputs.options.values), carried.recent.shape[1]
        shape = programs.LoopShape(inputs.kinds, names, CHUNK_TOKENS, num_rows, width)
        program = programs.loop(step.function, shape)
        padded = np.pad(uniform, [(0, CHUNK_TOKENS - num_tokens), (0, 0)])
        ids, nats, after = program(
            step.weights,
            inputs.bias,
            inputs.options,
            tuple(carried[:3]),
            carried.recent,
            padded,
            np.int32(num_tokens),
        )
        ids, nats = ids.numpy()[:num_tokens], nats.numpy()[:num_tokens]
        recent = np.concatenate([carried.recent, ids.T], 1)[:, num_tokens:]
        logits, state, memory = after
        return ids, nats, Carried(logits, state, memory, recent)

    def search(
        self,
        row: Row,
        num_beams: int,
        length: int,
        describe: Callable[[tuple[int, ...]], tuple[str, str | None]],
        length_penalty: float,
    ) -> list[beam_search.Beam]:
        """See `beam_search.search`. Only transforms with `looks_back` apply."""
        chain = Chain(tuple(k for k in sampling.TRANSFORMS if k.looks_back), np, _branch)
        options, memory, recent = prepared([row.sampling], [row.recent], chain.kinds, len(row.bias))
        step = self._beam_step(num_beams)

        def scores(logits, memory, recent):
            logits = np.asarray(logits)
            changed, _ = chain.apply(logits + row.bias, options, memory, _constant(recent))
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

        first = scores(row.logits, memory, recent)
        state = (row.state, memory, recent)
        return beam_search.search(read, first, state, num_beams, length, describe, length_penalty)

    def _beam_step(self, num_beams: int) -> Callable:
        """ids [N], state, parents [N] -> logits [N, V], state."""
        weights, step = self._model.step_weights(), self._model.step_function
        if self._model.uses_numpy:
            return lambda ids, state, parents: step(weights, ids, states.take(state, parents))
        from shakespeare_gen.generation import programs

        num_rows = size_at_least(num_beams, ROW_SIZES)
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
