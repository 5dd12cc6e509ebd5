"""Prompt to text: a stateful one-step generator, compiled, streamed, in batches.

    generator = Generator([network], vocabulary)
    generator.generate("ROMEO:", length=200, temperature=0.8, seed=1)[0].text
    for piece in generator.stream("ROMEO:", length=-1): ...
    state = generator.read("ROMEO:")             # read once,
    generator.generate(start=state, seed=2)      # continued many times

The random numbers of a text depend on (seed, number of the sample, position)
alone: one seed gives one text, whatever the chunks, the prompts beside it and
whether it is streamed, but for the last bit of a product that TensorFlow rounds in
another way for another number of rows. Knows no run folder and no flags.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from shakespeare_gen.data.tokenizers.characters import Vocabulary, prepare_text
from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import beam_search, stopping
from shakespeare_gen.generation.decoding import Beams, Drawer
from shakespeare_gen.generation.request import Request
from shakespeare_gen.models.ensemble import Reader
from shakespeare_gen.options import groups

READ_CHUNK_CHARS = 256
# Compiling takes most of a second: a short prompt is read without.
EAGER_READ_CHARS = 64


@dataclasses.dataclass(frozen=True)
class State:
    """What was read: a value that can be kept, continued many times and gone back to.

    `tensors` are those of the network [B, U], `logits` [B, V] those of the next
    character, `recent` the last ids before it, int32 [B, at most W].
    """

    tensors: list
    logits: Any
    recent: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
    """One generated text, without its prompt.

    `finish_reason` is `length`, `stop` (a stop string) or `end` (the end of a
    document). `log_probabilities` are the model's own, in nats, before any
    filter, one a character.
    """

    text: str
    finish_reason: str
    log_probabilities: np.ndarray


class Generator:
    """Samples text from networks of one vocabulary; `state` is that of the last prompt."""

    def __init__(self, networks: list, vocabulary: Vocabulary) -> None:
        self.reader = Reader(networks)
        self.vocabulary = vocabulary
        self.state: State | None = None
        # What is added to every logit: nobody writes the unknown character.
        barred = np.zeros(vocabulary.size, np.float32)
        if vocabulary.unknown_id is not None:
            barred[vocabulary.unknown_id] = -np.inf
        self._barred = tf.constant(barred)
        self._read_chunk = tf.function(self.reader.read, reduce_retracing=True)
        self._drawer = Drawer(self.reader, self._barred)
        self._beams = Beams(self.reader, self._barred)

    def read(
        self,
        prompt: str,
        unknown: str = "error",
        start: State | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> State:
        """Reads a text, in chunks of constant memory; an empty one reads a line end.

        Args:
          unknown: see `vocabulary.prepare_text`.
          start: what was read before; None: nothing.
          check: called after every chunk; what it raises ends the reading.
        """
        self.state = self._state_after(prompt, unknown, start, check)
        return self.state

    def _state_after(self, prompt: str, unknown: str, start: State | None, check) -> State:
        state = start
        for ids, logits, tensors in self._read(prompt, unknown, start):
            recent = state.recent if state else np.zeros((1, 0), np.int32)
            recent = np.concatenate([recent, ids[None]], 1)[:, -groups.MAX_REPEAT_WINDOW :]
            state = State(tensors, logits[:, -1], recent)
            check()
        assert state is not None  # without a start even an empty text is read as a line end
        return state

    def _read(self, text: str, unknown: str, start: State | None) -> Iterator[tuple]:
        """Chunks of ids with the logits after each of them, and the state after the last."""
        text = prepare_text(text, self.vocabulary, unknown)
        tensors = start.tensors if start else self.reader.initial_state(1)
        if not text and start is None:
            text = self.vocabulary.decode([self.vocabulary.start_id])
        for begin in range(0, len(text), READ_CHUNK_CHARS):
            ids = self.vocabulary.encode(text[begin : begin + READ_CHUNK_CHARS])
            read = self.reader.read if len(text) <= EAGER_READ_CHARS else self._read_chunk
            logits, tensors = read(tf.constant(ids[None]), tensors)
            yield ids, logits, tensors

    def score(self, text: str, unknown: str = "error", start: State | None = None) -> np.ndarray:
        """Log-probability of every character in nats, float32 [len(text)].

        Without `start`, the first character follows a line end. With another `unknown`
        than `error` they are those of `vocabulary.prepare_text(text, …)`, which may have
        more or fewer characters.
        """
        state = start or self._state_after("", unknown, None, lambda: None)
        logits, found = state.logits, []
        for ids, after, _ in self._read(text, unknown, state):
            before = np.concatenate([np.asarray(logits), np.asarray(after)[0, :-1]])
            log_p = np.asarray(tf.nn.log_softmax(before))
            found.append(log_p[np.arange(len(ids)), ids])
            logits = after[:, -1]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def next_characters(self, prompt: str, k: int = 5, unknown: str = "error") -> list[tuple]:
        """The `k` likeliest next characters with their probabilities, likeliest first.

        The unknown character, which is never written, is among them.
        """
        if k < 1:
            raise UsageError(f"k: expected at least 1, received {k}")
        probabilities = tf.nn.softmax(self.read(prompt, unknown).logits)[0].numpy()
        likeliest = np.argsort(-probabilities, kind="stable")[:k]
        return [(self.vocabulary.decode([i]), float(probabilities[i])) for i in likeliest]

    def generate(
        self,
        prompts: str | Sequence[str] = "",
        **options,
    ) -> list[Result]:
        """`num_samples` texts for each prompt, in one batch; prompt by prompt.

        Args:
          num_samples: texts for each prompt; of beams fewer where there are no more.
          num_beams: more than 1 searches for the likeliest text instead of
            sampling one, see `beam_search`; of the sampling options penalties and
            `no_repeat_ngram` count then.
          length_penalty: what beams divide by, see `beam_search`.
          **options: as in `stream`.
        """
        asked = Request.from_options(**options)
        num_samples, num_beams = asked.generation.num_samples, asked.generation.num_beams
        if asked.generation.length < 0:
            raise UsageError(
                f"--length: expected at least 0, received {asked.generation.length}; "
                "a text without end is one that is streamed, neither samples nor beams"
            )
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not prompts:
            return []
        if num_beams > 1:
            found = (self._search(prompt, asked) for prompt in prompts)
            return list(itertools.chain.from_iterable(found))
        texts = [_Text() for _ in range(len(prompts) * num_samples)]
        for pieces in self._pieces(prompts, asked):
            for text, piece in zip(texts, pieces, strict=True):
                text.add(*piece)
        return [text.result() for text in texts]

    def stream(self, prompt: str = "", **options) -> Iterator[str]:
        """Yields one text piece by piece, as soon as no stop string can change it.

        Args:
          prompt: the text to continue; it is not repeated.
          length: characters at most; -1: without end, in constant memory.
          stop: strings that end the text; they are looked for in what is written and
            not part of it.
          until_line: end at the end of the first line that holds anything.
          until_speaker: end at the blank line after a speech, the prompt's or this text's.
          seed: one seed, one text; at least 0.
          unknown: see `vocabulary.prepare_text`.
          start: a `State` to continue from; None: nothing was read.
          **sampling_options: see `groups.SamplingOptions`.
        """
        asked = Request.from_options(**options)
        for name in ("num_samples", "num_beams"):
            if getattr(asked.generation, name) != 1:
                raise UsageError(f"--{name}: expected 1, for a stream is one text")
        for [(piece, _, _)] in self._pieces([prompt], asked):
            yield piece

    def _pieces(self, prompts: Sequence[str], asked: Request) -> Iterator[list[tuple]]:
        """For every text the next piece, its log-probabilities and why it ended, or None."""
        seed, num_samples = asked.generation.seed, asked.generation.num_samples
        states = [self.read(prompt, asked.unknown, asked.start) for prompt in prompts]
        state = self._batch(states, num_samples)
        keys = [(seed, i) for _ in prompts for i in range(num_samples)]
        stoppers = [
            stopping.Stopper(asked.endings, self.vocabulary, text)
            for text in (self._text_of(state.recent[0]) for state in states)
            for _ in range(num_samples)
        ]
        read = (state.logits, state.tensors, state.recent)
        length = asked.generation.length
        for ids, log_p in self._drawer.chunks(*read, keys, length, asked.sampling):
            yield [
                s.feed(*row) for s, row in zip(stoppers, zip(ids, log_p, strict=True), strict=True)
            ]
            if all(stopper.finish_reason for stopper in stoppers):
                return
        yield [stopper.flush() for stopper in stoppers]

    def _batch(self, states: list[State], num_samples: int) -> State:
        """One state whose rows are those of `states`, each `num_samples` times."""
        width = max(state.recent.shape[1] for state in states)
        recents = [
            np.pad(s.recent, [(0, 0), (width - s.recent.shape[1], 0)], constant_values=-1)
            for s in states
        ]
        tensors = zip(*(state.tensors for state in states), strict=True)
        return State(
            [tf.repeat(tf.concat(parts, 0), num_samples, 0) for parts in tensors],
            tf.repeat(tf.concat([state.logits for state in states], 0), num_samples, 0),
            np.repeat(np.concatenate(recents), num_samples, 0),
        )

    def _text_of(self, recent: np.ndarray) -> str:
        return self.vocabulary.decode(recent[recent >= 0])

    def _search(self, prompt: str, asked: Request) -> list[Result]:
        """The likeliest texts; the seed doesn't matter."""
        options = asked.generation
        if options.num_samples > options.num_beams:
            raise UsageError(
                f"--num_samples: expected at most --num_beams={options.num_beams}, "
                f"received {options.num_samples}"
            )
        state = self.read(prompt, asked.unknown, asked.start)
        speech = stopping.unfinished_speech(self._text_of(state.recent[0]))

        def find_end(ids):
            text = self.vocabulary.decode(ids)
            return stopping.find_end(text, asked.endings, speech=speech)

        found = self._beams.search(
            state.logits,
            state.tensors,
            state.recent,
            options.num_beams,
            options.length,
            find_end,
            options.length_penalty,
            asked.sampling,
        )
        return [self._result(beam) for beam in found[: options.num_samples]]

    def _result(self, beam: beam_search.Beam) -> Result:
        text = self.vocabulary.decode(beam.ids[: beam.size])
        return Result(text, beam.finish_reason, np.array(beam.nats[: beam.size], np.float32))


class _Text:
    """Puts the pieces of one text together."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.nats: list[np.ndarray] = []
        self.finish_reason = "length"

    def add(self, piece: str, nats: np.ndarray, finish_reason: str | None) -> None:
        self.pieces.append(piece)
        self.nats.append(nats)
        self.finish_reason = finish_reason or self.finish_reason

    def result(self) -> Result:
        return Result("".join(self.pieces), self.finish_reason, np.concatenate(self.nats))
