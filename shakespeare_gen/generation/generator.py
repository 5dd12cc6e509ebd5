"""Generates text from prompts, streamed or in batches.

    generator = Generator(model, tokenizer)
    generator.generate("ROMEO:", length=200, temperature=0.8, seed=1)[0].text
    for piece in generator.stream("ROMEO:", length=-1): ...
    state = generator.read("ROMEO:")             # read once,
    generator.generate(start=state, seed=2)      # continue many times

Reproducibility: the random numbers of a text depend only on the seed, the number of the sample
and the position. On one machine, with the same versions, a text that is generated alone is the same
each time, streamed or not. In a batch it is the same as alone up to rounding: TensorFlow rounds the
products of a batch of another size (`decoding.ROW_SIZES`), and of a program with other transforms,
differently in the last bit. If a random number falls within rounding of the border between two
tokens, the text continues differently from there. The other texts of the batch do not affect
it.

Knows nothing about run folders and flags.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import texts
from shakespeare_gen.generation.decoding import ROW_SIZES, Decoder
from shakespeare_gen.generation.reading import Reader, State, check_types
from shakespeare_gen.generation.request import Request, Result
from shakespeare_gen.generation.stopping import Part
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.system import threads

# By `benchmarks/GENERATION.md`, the compiled loop starts 1.9 s later and catches up after 46,000
# tokens with 256 units, and after 29,000 with 512; compiling adds to that.
LARGE_TOKENS = 50_000
BATCH_SAMPLES = ROW_SIZES[-1]  # of a request whose samples are written as they are complete


@dataclasses.dataclass(frozen=True, eq=False)
class Generator:
    """Generates text with a model and its tokenizer; immutable, and safe to share by threads.

    Every call computes with the current weights of the model.

    Attributes:
      make_compiled: makes an equal model in TensorFlow, which computes requests of more than
        `LARGE_TOKENS`; None: `model` computes all requests.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    make_compiled: Callable[[], LanguageModel] | None = None

    @functools.cached_property
    def _compiled(self) -> "Generator":
        assert self.make_compiled is not None
        return Generator(self.make_compiled(), self.tokenizer)

    def _for(self, num_tokens: int) -> "Generator":
        """The generator for a request of about `num_tokens`; of a text, its characters count."""
        if self.make_compiled is None or num_tokens <= LARGE_TOKENS:
            return self
        return self._compiled

    def _reader(self) -> Reader:
        """A new one for each call: it keeps the weights."""
        return Reader(self.model, self.tokenizer)

    @functools.cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.model, self.tokenizer.forbidden_ids)

    def read(
        self,
        prompt: str = "",
        unknown: str = "error",
        start: State | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> State:
        """Reads a text in chunks of constant memory; an empty one reads the start token.

        Args:
          unknown: see `Tokenizer.prepare`.
          start: what was read before; None: nothing.
          check: called after every chunk; an exception that it raises ends the reading.
        """
        check_types(prompt, start)
        generator = self._for(len(prompt))
        state = generator._reader().read(prompt, unknown, start, check)
        return state if generator is self else state.in_numpy()

    def score(self, text: str, unknown: str = "error", start: State | None = None) -> np.ndarray:
        """The log-probability of every token of `text` in nats, float32 [N].

        Without `start`, the first token follows the start token. With an `unknown`
        policy other than `error`, the tokens are those of `Tokenizer.prepare(text, unknown)`.

        If `start` ends in an unfinished word (see `Tokenizer.unfinished`), the tokens are those
        of the word and the text together, without those of the word alone: after " lo", the text
        "rd" has one token if there is a token " lord". Their probabilities are conditional on
        the word, as `generate` draws them. A text has several encodings; that of `encode` counts.
        """
        check_types(text, start)
        return self._for(len(text))._reader().score(text, unknown, start or self.read())

    def next_tokens(
        self, prompt: str = "", k: int = 5, unknown: str = "error", start: State | None = None
    ) -> list[tuple[str, float]]:
        """The `k` most likely next tokens, by their labels, with their probabilities.

        The most likely one is the first.

        Tokens that are never generated, such as the unknown one, are included. After an
        unfinished word, the rest of a token that begins with it is one of them: "rd" of " lord"
        after " lo".
        """
        if k < 1:
            raise UsageError(f"k: expected at least 1, received {k}")
        return self._reader().next_tokens(self.read(prompt, unknown, start), k)

    def next_probabilities(
        self,
        prompt: str = "",
        *,
        unknown: str = "error",
        start: State | None = None,
        **options: Any,
    ) -> np.ndarray:
        """The probabilities by id that `generate` draws the next token with, float32 [V].

        Args:
          **options: the options of `sampling`, such as `temperature` and `top_k`.

        Raises:
          UsageError: an option is unknown, out of bounds or contradicts another one.
        """
        request = Request.of(prompt, unknown=unknown, start=start, **options)
        state = self.read(prompt, unknown, start).in_numpy()
        [text] = texts.begin(request, state, self.tokenizer)
        return self._decoder.probabilities(texts.row(text, self._decoder))

    def activations(self, text: str, unknown: str = "error") -> np.ndarray:
        """The output of every unit after each token of `text`, float32 [N, U].

        The units of all layers, first to last; a model without units has U = 0.
        """
        with threads.single_threaded_products():
            hidden, _ = self.model.hidden(self._ids(text, unknown)[None])
        return np.asarray(hidden)[0]

    def gates(self, text: str, unknown: str = "error") -> dict[str, np.ndarray]:
        """The values of all gates while `text` is read, float32 [N, U].

        By layer and gate, such as `lstm_1/forget`; empty: the model has none.
        """
        with threads.single_threaded_products():
            found = self.model.gate_values(self._ids(text, unknown)[None])
        return {name: np.asarray(values)[0] for name, values in found.items()}

    def _ids(self, text: str, unknown: str) -> np.ndarray:
        check_types(text, None)
        ids = self.tokenizer.encode(self.tokenizer.prepare(text, unknown))
        if not len(ids):
            raise UsageError("text: expected at least one token, received an empty text")
        return ids

    def generate(
        self,
        prompts: str | Sequence[str] = "",
        *,
        unknown: str = "error",
        start: State | None = None,
        **options: Any,
    ) -> list[Result]:
        """`num_samples` texts for each prompt, prompt by prompt.

        Args:
          prompts: the texts to continue; they are not repeated.
          unknown: see `Tokenizer.prepare`.
          start: a state to continue from; None: nothing was read.
          **options: the options of `options.groups.GenerationOptions` and of `sampling`: `length`,
            `num_samples`, `seed`, `stop`, `temperature`, `top_k` and so on. With
            `num_beams` > 1, beam search replaces sampling; of the sampling options only those that
            depend on previous tokens apply.

        Raises:
          UsageError: an option is unknown, out of bounds or contradicts another one.
          UserError: a prompt has characters outside the vocabulary.
        """
        if isinstance(prompts, str):
            prompts = [prompts]
        if not isinstance(prompts, Sequence) or isinstance(prompts, bytes):
            raise UsageError(
                "prompts: expected a string or a sequence of strings, received "
                f"{type(prompts).__name__}"
            )
        requests = [Request.of(p, unknown=unknown, start=start, **options) for p in prompts]
        return list(itertools.chain.from_iterable(self.generate_batch(requests)))

    def generate_batch(self, requests: Sequence[Request]) -> list[list[Result]]:
        """The texts of each request; requests may differ in every option."""
        for request in requests:
            request.check_is_finite()
            check_types(request.prompt, request.start)
        generator = self._for(sum(request.num_tokens for request in requests))
        return generator._generate_batch(requests)

    def _generate_batch(self, requests: Sequence[Request]) -> list[list[Result]]:
        reader = self._reader()
        before = [reader.read(r.prompt, r.unknown, r.start, lambda: None) for r in requests]
        results: list[list[Result]] = [[] for _ in requests]
        sampled: list[tuple[int, texts.Text]] = []
        for number, (request, state) in enumerate(zip(requests, before, strict=True)):
            if request.generation.num_beams > 1:
                results[number] = texts.search(request, state, self._decoder, self.tokenizer)
            else:
                sampled += [(number, t) for t in texts.begin(request, state, self.tokenizer)]
        found = texts.sample([text for _, text in sampled], self._decoder)
        for (number, _), result in zip(sampled, found, strict=True):
            results[number].append(result)
        return results

    def sample_batches(self, request: Request, num_done: int = 0) -> Iterator[list[Result]]:
        """The samples of a request in batches of `BATCH_SAMPLES`, each as soon as it is complete.

        Args:
          num_done: samples to leave out, a multiple of `BATCH_SAMPLES`; the others are the same.
        """
        request.check_is_sampled()
        check_types(request.prompt, request.start)
        generator = self._for(request.num_tokens)
        state = generator._reader().read(
            request.prompt, request.unknown, request.start, lambda: None
        )
        for first in range(num_done, request.generation.num_samples, BATCH_SAMPLES):
            last = min(first + BATCH_SAMPLES, request.generation.num_samples)
            begun = texts.begin(request, state, self.tokenizer, range(first, last))
            yield texts.sample(begun, generator._decoder)

    def stream(
        self,
        prompt: str = "",
        *,
        unknown: str = "error",
        start: State | None = None,
        **options: Any,
    ) -> Iterator[str]:
        """Yields one text piece by piece, as soon as no stop string can change it.

        Args:
          prompt: the text to continue; it is not repeated.
          **options: as in `generate`; `length=-1` has no end, in constant memory.
        """
        request = Request.of(prompt, unknown=unknown, start=start, **options)
        return self.stream_request(request)

    def stream_request(self, request: Request) -> Iterator[str]:
        """`stream` for a request."""
        return (part.text for part in self.stream_parts(request))

    def stream_parts(self, request: Request) -> Iterator[Part]:
        """`stream` for a request, with the tokens and their log-probabilities."""
        request.check_is_single()
        generator = self._for(request.num_tokens)
        state = generator.read(request.prompt, request.unknown, request.start)
        begun = texts.begin(request, state, self.tokenizer)
        for [part] in texts.parts(begun, generator._decoder):
            yield part
