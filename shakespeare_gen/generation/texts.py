"""Generates the texts of requests, by batched sampling or beam search.

Shapes: N tokens of a text.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.generation import decoding, stopping
from shakespeare_gen.generation.beam_search import Beam
from shakespeare_gen.generation.decoding import Decoder
from shakespeare_gen.generation.reading import State
from shakespeare_gen.generation.request import Request, Result
from shakespeare_gen.generation.stopping import Part, Stopper
from shakespeare_gen.models import states
from shakespeare_gen.system import devices


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


def begin(request: Request, state: State, tokenizer: Tokenizer) -> list[Text]:
    """One `Text` per sample of a request, starting at `state`."""
    prompt = tokenizer.decode(state.recent[0])
    length = request.generation.length
    return [
        Text(request, number, state, Stopper(request.endings, tokenizer, length, prompt))
        for number in range(request.generation.num_samples)
    ]


def parts(texts: Sequence[Text], decoder: Decoder) -> Iterator[list[Part]]:
    """Yields the next tokens of every text until all have ended; the texts form one batch."""
    devices.check_not_forked()
    width = max(text.state.recent.shape[1] for text in texts)
    recent = [
        np.pad(r, [(0, 0), (width - r.shape[1], 0)], constant_values=-1)
        for r in (text.state.recent for text in texts)
    ]
    rows = decoding.Rows(
        [text.request.sampling for text in texts],
        states.concatenate([text.state.model_state for text in texts]),
        states.concatenate([text.state.logits for text in texts]),
        np.concatenate(recent),
    )
    keys = [(text.request.generation.seed, text.number) for text in texts]

    def num_left() -> int:
        return max(text.stopper.num_left for text in texts)

    for ids, nats in decoder.chunks(rows, keys, num_left):
        yield [
            text.stopper.feed(*row)
            for text, row in zip(texts, zip(ids, nats, strict=True), strict=True)
        ]


def sample(texts: Sequence[Text], decoder: Decoder) -> list[Result]:
    """Generates texts to their end, in batches."""
    results = []
    for batch in decoding.batches(texts):
        columns: list[list[Part]] = [[] for _ in batch]
        for row in parts(batch, decoder):
            for column, part in zip(columns, row, strict=True):
                column.append(part)
        results += [
            Result.of_parts(column, text.stopper.finish_reason or "length")
            for column, text in zip(columns, batch, strict=True)
        ]
    return results


def search(request: Request, state: State, decoder: Decoder, tokenizer: Tokenizer) -> list[Result]:
    """The most likely texts of a request; its seed does not matter."""
    speech = stopping.unfinished_speech(tokenizer.decode(state.recent[0]))

    def describe(ids: tuple[int, ...]) -> tuple[str, str | None]:
        is_end = ids[-1] == tokenizer.end_id
        text = "".join(_complete(ids[:-1] if is_end else ids, tokenizer))
        end = stopping.find_end(text, request.endings, speech=speech)
        if end is not None:
            return text[:end], "stop"
        return text, "end" if is_end else None

    rows = decoding.Rows([request.sampling], state.model_state, state.logits, state.recent)
    options = request.generation
    found = decoder.search(
        rows, options.num_beams, options.length, describe, options.length_penalty
    )
    return [_beam_result(beam, tokenizer) for beam in found[: options.num_samples]]


def _complete(ids: tuple[int, ...], tokenizer: Tokenizer) -> list[str]:
    """The pieces of a text; a character that is incomplete at its end is left out."""
    return tokenizer.decoder().feed(ids)


def _beam_result(beam: Beam, tokenizer: Tokenizer) -> Result:
    ids = beam.ids[:-1] if beam.finish_reason == "end" else beam.ids
    pieces = stopping.cut(_complete(ids, tokenizer), len(beam.text))
    nats = np.array(beam.nats[: len(pieces)], np.float32)
    return Result(beam.text, beam.finish_reason or "length", nats, tuple(pieces))
