"""Generates the texts of requests, by batched sampling or beam search.

Shapes: N tokens of a text.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.generation import decoding, stopping
from shakespeare_gen.generation.batch import Row
from shakespeare_gen.generation.beam_search import Beam
from shakespeare_gen.generation.decoding import Decoder
from shakespeare_gen.generation.reading import State
from shakespeare_gen.generation.request import Request, Result
from shakespeare_gen.generation.sampling import Temperature
from shakespeare_gen.generation.stopping import Part, Stopper
from shakespeare_gen.system import devices

FIRST_CHOICE = 2**62  # added to the number of a sample, for a random number besides its tokens
GREEDY_LIMIT = 0.5


@dataclasses.dataclass(frozen=True)
class Text:
    """One text being generated.

    Attributes:
      number: the number of the sample within its request.
      state: what was read before it.
      stopper: where it ends.
    """

    request: Request
    number: int
    state: State
    stopper: Stopper


def begin(
    request: Request, state: State, tokenizer: Tokenizer, numbers: Sequence[int] | None = None
) -> list[Text]:
    """One `Text` per sample of a request, starting at `state`.

    Args:
      numbers: the numbers of the samples; None: all of the request.
    """
    recent = state.recent[0].tolist()
    length = request.generation.length
    found = []
    for number in range(request.generation.num_samples) if numbers is None else numbers:
        first, num_known = _start(request, number, state)
        stopper = Stopper(request.endings, tokenizer, length, recent, num_known)
        found.append(Text(request, number, first, stopper))
    return found


def _start(request: Request, number: int, state: State) -> tuple[State, int]:
    """Where a text begins: after an unfinished word, or before a token that contains it.

    Also returns how many characters of that token are known.
    """
    word = state.unfinished
    if word is None:
        return state, 0
    limit = GREEDY_LIMIT
    if request.generation.num_beams == 1 and request.sampling[Temperature].temperature:
        key = (request.generation.seed, FIRST_CHOICE + number)
        limit = np.random.Generator(np.random.Philox(key=key)).random()
    return (word.before, len(word.text)) if word.probability > limit else (state, 0)


def row(text: Text, decoder: Decoder) -> Row:
    """What a batch continues `text` from."""
    return _row(text.request, text.number, text.state, decoder)


def _row(request: Request, number: int, state: State, decoder: Decoder) -> Row:
    return Row(
        request.sampling,
        (request.generation.seed, number),
        state.model_state,
        state.logits,
        state.recent,
        decoder.bias(request.logit_bias),
    )


def parts(texts: Sequence[Text], decoder: Decoder) -> Iterator[list[Part]]:
    """Yields the next tokens of every text until all have ended; the texts form one batch."""
    devices.check_not_forked()

    def num_left() -> int:
        return max(text.stopper.num_left for text in texts)

    for ids, nats in decoder.chunks([row(text, decoder) for text in texts], num_left):
        yield [
            text.stopper.feed(*drawn)
            for text, drawn in zip(texts, zip(ids, nats, strict=True), strict=True)
        ]


def sample(texts: Sequence[Text], decoder: Decoder) -> list[Result]:
    """Generates texts to their end, in batches."""
    results = []
    for batch in decoding.batches(texts):
        columns: list[list[Part]] = [[] for _ in batch]
        for next_parts in parts(batch, decoder):
            for column, part in zip(columns, next_parts, strict=True):
                column.append(part)
        results += [
            Result.of_parts(column, text.stopper.finish_reason or "length")
            for column, text in zip(columns, batch, strict=True)
        ]
    return results


def search(request: Request, state: State, decoder: Decoder, tokenizer: Tokenizer) -> list[Result]:
    """The most likely texts of a request; its seed does not matter."""
    speech = stopping.unfinished_speech(tokenizer.decode(state.recent[0]))
    state, num_known = _start(request, 0, state)

    def describe(ids: tuple[int, ...]) -> tuple[str, str | None]:
        is_end = ids[-1] == tokenizer.end_id
        text = "".join(_complete(ids[:-1] if is_end else ids, tokenizer, num_known))
        end = stopping.find_end(text, request.endings, speech=speech)
        if end is not None:
            return text[:end], "stop"
        return text, "end" if is_end else None

    options = request.generation
    first = _row(request, 0, state, decoder)
    found = decoder.search(
        first, options.num_beams, options.length, describe, options.length_penalty
    )
    return [_beam_result(beam, tokenizer, num_known) for beam in found[: options.num_samples]]


def _complete(ids: tuple[int, ...], tokenizer: Tokenizer, num_known: int) -> list[str]:
    """The pieces of a text, without the first `num_known` characters.

    A character that is incomplete at its end is left out.
    """
    pieces = tokenizer.decoder().feed(ids)
    return [*(piece[num_known:] for piece in pieces[:1]), *pieces[1:]]


def _beam_result(beam: Beam, tokenizer: Tokenizer, num_known: int) -> Result:
    ids = beam.ids[:-1] if beam.finish_reason == "end" else beam.ids
    pieces = stopping.cut(_complete(ids, tokenizer, num_known), len(beam.text))
    nats = np.array(beam.nats[: len(pieces)], np.float32)
    return Result(beam.text, beam.finish_reason or "length", nats, tuple(pieces))
