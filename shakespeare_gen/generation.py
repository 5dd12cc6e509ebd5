"""Prompt to text: a stateful one-step generator, compiled, streamed, in batches.

    generator = Generator([network], vocabulary)
    generator.generate("ROMEO:", length=200, temperature=0.8, seed=1)[0].text
    for piece in generator.stream("ROMEO:", length=-1): ...
    state = generator.read("ROMEO:")             # read once,
    generator.generate(start=state, seed=2)      # continued many times

The random numbers of a text depend on (seed, number of the sample, position)
alone: one seed gives one text, whatever the chunks, the prompts beside it and
whether it is streamed. Knows no run folder and no flags.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from shakespeare_gen import beam_search, config, stopping
from shakespeare_gen.drawing import Drawer
from shakespeare_gen.errors import UsageError
from shakespeare_gen.stepping import Reader
from shakespeare_gen.vocabulary import Vocabulary, prepare_text

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


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What `Generator.stream` was asked for, its bounds checked."""

    length: int
    seed: int
    unknown: str
    start: State | None
    endings: list[stopping.Ending]
    sampling: dict[str, Any]

    @classmethod
    def from_options(
        cls,
        length: int = 500,
        stop: Sequence[str] = (),
        until_line: bool = False,
        until_speaker: bool = False,
        seed: int = 0,
        unknown: str = "error",
        start: State | None = None,
        **sampling_options,
    ) -> "_Asked":
        endings = stopping.endings(stop, until_line, until_speaker)
        sampling_config = config.SamplingConfig(**sampling_options)
        return cls(length, seed, unknown, start, endings, dataclasses.asdict(sampling_config))


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
        self._beam_step = tf.function(self._beam_step_eagerly, reduce_retracing=True)

    def read(self, prompt: str, unknown: str = "error", start: State | None = None) -> State:
        """Reads a text, in chunks of constant memory; an empty one reads a line end.

        Args:
          unknown: see `vocabulary.prepare_text`.
          start: what was read before; None: nothing.
        """
        state = start
        for ids, logits, tensors in self._read(prompt, unknown, start):
            recent = state.recent if state else np.zeros((1, 0), np.int32)
            recent = np.concatenate([recent, ids[None]], 1)[:, -config.MAX_REPEAT_WINDOW :]
            state = State(tensors, logits[:, -1], recent)
        assert state is not None  # without a start even an empty text is read as a line end
        self.state = state
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

        Without `start`, the first character follows a line end.
        """
        state = start or self.read("")
        logits, found = state.logits, []
        for ids, after, _ in self._read(text, unknown, state):
            before = np.concatenate([np.asarray(logits), np.asarray(after)[0, :-1]])
            log_p = np.asarray(tf.nn.log_softmax(before))
            found.append(log_p[np.arange(len(ids)), ids])
            logits = after[:, -1]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def next_characters(self, prompt: str, k: int = 5, unknown: str = "error") -> list[tuple]:
        """The `k` likeliest next characters with their probabilities, likeliest first."""
        probabilities = tf.nn.softmax(self.read(prompt, unknown).logits)[0].numpy()
        likeliest = np.argsort(-probabilities, kind="stable")[:k]
        return [(self.vocabulary.decode([i]), float(probabilities[i])) for i in likeliest]

    def generate(
        self,
        prompts: str | Sequence[str] = "",
        num_samples: int = 1,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        **options,
    ) -> list[Result]:
        """`num_samples` texts for each prompt, in one batch; prompt by prompt.

        Args:
          num_beams: more than 1 searches for the likeliest text instead of
            sampling one, see `beam_search`.
          **options: as in `stream`.
        """
        asked = _Asked.from_options(**options)
        if asked.length < 0:
            raise UsageError(
                "--length: expected at least 0 for several samples or beams, "
                f"received {asked.length}; one text without end is streamed"
            )
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not prompts:
            return []
        if num_beams > 1:
            found = (
                self._search(p, num_samples, num_beams, length_penalty, asked) for p in prompts
            )
            return list(itertools.chain.from_iterable(found))
        texts = [_Text() for _ in range(len(prompts) * num_samples)]
        for pieces in self._pieces(prompts, num_samples, asked):
            for text, piece in zip(texts, pieces, strict=True):
                text.add(*piece)
        return [text.result() for text in texts]

    def stream(self, prompt: str = "", **options) -> Iterator[str]:
        """Yields one text piece by piece, as soon as no stop string can change it.

        Args:
          prompt: the text to continue; it is not repeated.
          length: characters at most; -1: without end, in constant memory.
          stop: strings that end the text; they are not part of it.
          until_line: end at the end of the first line that holds anything.
          until_speaker: end at the blank line after it, where the next speech begins.
          seed: one seed, one text.
          unknown: see `vocabulary.prepare_text`.
          start: a `State` to continue from; None: nothing was read.
          **sampling_options: see `config.SamplingConfig`.
        """
        for [(piece, _, _)] in self._pieces([prompt], 1, _Asked.from_options(**options)):
            yield piece

    def _pieces(
        self,
        prompts: Sequence[str],
        num_samples: int,
        asked: "_Asked",
    ) -> Iterator[list[tuple]]:
        """For every text the next piece, its log-probabilities and why it ended, or None."""
        states = [self.read(prompt, asked.unknown, asked.start) for prompt in prompts]
        state = self._batch(states, num_samples)
        keys = [(asked.seed, i) for _ in prompts for i in range(num_samples)]
        stoppers = [stopping.Stopper(asked.endings, self.vocabulary) for _ in keys]
        read = (state.logits, state.tensors, state.recent)
        for ids, log_p in self._drawer.chunks(*read, keys, asked.length, asked.sampling):
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

    def _search(
        self,
        prompt: str,
        num_samples: int,
        num_beams: int,
        length_penalty: float,
        asked: "_Asked",
    ) -> list[Result]:
        """The likeliest texts; seed and sampling options don't matter."""
        if num_samples > num_beams:
            raise UsageError(
                f"--num_samples: expected at most --num_beams={num_beams}, received {num_samples}"
            )
        state = self.read(prompt, asked.unknown, asked.start)
        log_p = tf.nn.log_softmax(state.logits).numpy() + self._barred.numpy()

        def step(ids, tensors, parents):
            log_p, tensors = self._beam_step(self.reader.weights, ids, tensors, parents)
            return log_p.numpy(), tensors

        def find_end(ids):
            return stopping.find_end(self.vocabulary.decode(ids), asked.endings)

        found = beam_search.search(
            step, log_p, state.tensors, num_beams, asked.length, find_end, length_penalty
        )
        return [self._result(beam, find_end) for beam in found[:num_samples]]

    def _beam_step_eagerly(self, weights, ids, tensors, parents):
        tensors = [tf.gather(t, parents) for t in tensors]
        logits, tensors = self.reader.step(weights, ids, tensors)
        return tf.nn.log_softmax(logits) + self._barred, tensors

    def _result(self, beam: beam_search.Beam, find_end) -> Result:
        size = (find_end(beam.ids) or (len(beam.ids),))[0]
        text = self.vocabulary.decode(beam.ids[:size])
        return Result(text, beam.finish_reason, np.array(beam.nats[:size], np.float32))


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
