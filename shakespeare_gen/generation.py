"""Prompt to text: a stateful one-step generator, compiled and streamed.

`Generator` holds a network, its vocabulary and a state. `read` moves the state
past a text; `stream` draws characters one by one in a compiled loop and hands
them over in chunks. Random numbers depend on (seed, row, position) only, so
the chunking never changes the text. Knows no run folder and no flags.

    generator = Generator(network, vocabulary)
    print(generator.generate("ROMEO:", length=200, temperature=0.8, seed=1)[0].text)
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from shakespeare_gen import sampling
from shakespeare_gen.model import initial_state, step
from shakespeare_gen.vocabulary import Vocabulary, prepare_prompt

READ_CHUNK_CHARS = 256
STREAM_CHUNK_CHARS = 16


@dataclasses.dataclass(frozen=True)
class Result:
    """One generated text, without its prompt."""

    text: str
    finish_reason: str  # "length" or "stop"


class Generator:
    """Samples text from a network; `state` and `logits` say what was read last."""

    def __init__(self, network, vocabulary: Vocabulary) -> None:
        self.network = network
        self.vocabulary = vocabulary
        self.state: list = []
        self.logits = None  # [B, V], of the next character
        forbidden = np.zeros(vocabulary.size, np.float32)
        if vocabulary.unknown_id is not None:
            forbidden[vocabulary.unknown_id] = -np.inf
        self._forbidden = tf.constant(forbidden)
        self._read_chunk = tf.function(self._read_chunk_eagerly, reduce_retracing=True)
        self._draw_chunk = tf.function(self._draw_chunk_eagerly)

    def read(self, prompt: str, num_samples: int = 1) -> None:
        """Starts `num_samples` texts with `prompt`; an empty one reads a line end."""
        ids = self.vocabulary.encode(prompt)
        if not len(ids):
            ids = np.array([self.vocabulary.start_id], np.int32)
        self.state = initial_state(self.network, num_samples)
        for begin in range(0, len(ids), READ_CHUNK_CHARS):
            chunk = np.tile(ids[begin : begin + READ_CHUNK_CHARS], (num_samples, 1))
            self.logits, self.state = self._read_chunk(tf.constant(chunk), self.state)

    def stream(
        self,
        prompt: str,
        length: int = 500,
        num_samples: int = 1,
        stop: Sequence[str] = (),
        seed: int = 0,
        unknown: str = "error",
        **sampling_options,
    ) -> Iterator[list[str]]:
        """Yields the next piece of each text; a text that has ended yields "".

        Args:
          prompt: the text to continue; it is not repeated.
          length: characters of each text, at most.
          stop: strings that end a text; they are not part of it.
          seed: one seed, one text.
          unknown: see `vocabulary.prepare_prompt`.
          **sampling_options: `temperature`, `top_k`, `top_p`, see `sampling.sample`.
        """
        self.read(prepare_prompt(prompt, self.vocabulary, unknown), num_samples)
        stoppers = [Stopper(stop) for _ in range(num_samples)]
        for position in range(0, length, STREAM_CHUNK_CHARS):
            ids = self._draw(
                position, min(STREAM_CHUNK_CHARS, length - position), seed, sampling_options
            )
            yield [
                s.feed(self.vocabulary.decode(row)) for s, row in zip(stoppers, ids, strict=True)
            ]
            if all(stopper.stopped for stopper in stoppers):
                return
        yield [stopper.flush() for stopper in stoppers]

    def generate(self, prompt: str, num_samples: int = 1, **options) -> list[Result]:
        """The whole texts at once; options as in `stream`."""
        length = options.setdefault("length", 500)
        pieces = list(self.stream(prompt, num_samples=num_samples, **options))
        texts = ["".join(row) for row in zip(*pieces, strict=True)]
        return [Result(t, "length" if len(t) == length else "stop") for t in texts]

    def _draw(self, position: int, num_chars: int, seed: int, sampling_options: dict) -> np.ndarray:
        ids, self.logits, self.state = self._draw_chunk(
            self.logits,
            self.state,
            tf.constant(seed),
            tf.constant(position),
            tf.constant(num_chars),
            **sampling_options,
        )
        return ids.numpy().T

    def _read_chunk_eagerly(self, ids, state):
        logits, *state = self.network([ids, *state], training=False)
        return logits[:, -1], state

    def _draw_chunk_eagerly(self, logits, state, seed, position, num_chars, **sampling_options):
        ids = tf.TensorArray(tf.int32, size=num_chars)
        for i in tf.range(num_chars):
            uniform = tf.random.stateless_uniform(logits.shape[:1], tf.stack([seed, position + i]))
            drawn = sampling.sample(logits + self._forbidden, uniform, **sampling_options)
            ids = ids.write(i, drawn)
            logits, state = step(self.network, drawn, state)
        return ids.stack(), logits, state


class Stopper:
    """Holds back the end of a stream while it could still become a stop string."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.stop = [s for s in stop if s]
        self.stopped = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next characters; returns those that are surely part of the text."""
        if self.stopped:
            return ""
        self._held += text
        # The one that is complete first, as if the text came character by character.
        found = [
            (self._held.find(s) + len(s), self._held.find(s)) for s in self.stop if s in self._held
        ]
        if found:
            self.stopped = True
            return self._held[: min(found)[1]]
        keep = max((self._partial(s) for s in self.stop), default=0)
        ready, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return ready

    def flush(self) -> str:
        """What was held back, now that the text ends without a stop string."""
        return "" if self.stopped else self._held

    def _partial(self, stop: str) -> int:
        sizes = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((n for n in sizes if self._held.endswith(stop[:n])), 0)
