"""Completions in the shape of OpenAI's API: a request body to JSON values or to events.

Knows nothing about HTTP. Generates as `Generator.generate` does: the same seed gives the same text,
up to the rounding that `generation.generator` describes.
"""

import dataclasses
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.generation import Request
from shakespeare_gen.generation.stopping import Part
from shakespeare_gen.serving import writing
from shakespeare_gen.serving.catalog import Served
from shakespeare_gen.serving.checking import check_ids
from shakespeare_gen.serving.choices import Choice
from shakespeare_gen.serving.failures import invalid, of_user_error
from shakespeare_gen.serving.parameters import MAX_TEXTS, SAMPLED
from shakespeare_gen.serving.prompts import Prompt
from shakespeare_gen.serving.service import Service

OBJECT = "text_completion"


@dataclasses.dataclass(frozen=True)
class Completion:
    """A checked request.

    Attributes:
      num_texts: texts that are generated for each prompt.
    """

    values: dict[str, Any]
    prompts: Sequence[Prompt]
    num_texts: int
    request: Request

    @classmethod
    def of(cls, values: dict[str, Any], served: Served) -> "Completion":
        """Checks what the table of parameters cannot express.

        Raises:
          RequestError: fields contradict each other or the model.
        """
        num_texts = values["best_of"] or values["n"]
        given = values["prompt"]
        # One text, or the ids of one, rather than a list.
        every = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        _check_counts(values, num_texts, len(every))
        try:
            prompts = [_prompt(each, values["unknown"], served.tokenizer) for each in every]
            request = _request(values, num_texts, served)
        except UserError as error:
            raise of_user_error(error) from None
        return cls(values, prompts, num_texts, request)

    @property
    def num_rows(self) -> int:
        """Texts of all prompts."""
        return len(self.prompts) * self.num_texts


def _prompt(given: str | list[int], unknown: str, tokenizer: Tokenizer) -> Prompt:
    if isinstance(given, str):
        return Prompt.of_text(tokenizer.prepare(given, unknown), tokenizer)
    check_ids("prompt", given, tokenizer.size)
    return Prompt.of_ids(given, tokenizer)


def _check_counts(values: dict[str, Any], num_texts: int, num_prompts: int) -> None:
    if num_texts < values["n"]:
        raise invalid(
            f"best_of: expected at least n={values['n']}, received {num_texts}", "best_of"
        )
    if values["stream"] and num_texts > values["n"]:
        raise invalid(
            f"best_of: expected n={values['n']} with stream, received {num_texts}", "best_of"
        )
    if values["stream_options"] and not values["stream"]:
        raise invalid("stream_options: expected to be used with stream", "stream_options")
    if num_texts * num_prompts > MAX_TEXTS:
        raise invalid(
            f"n: expected at most {MAX_TEXTS} texts over all prompts, received "
            f"{num_texts * num_prompts}",
            "n",
        )


def _request(values: dict[str, Any], num_texts: int, served: Served) -> Request:
    stop = values["stop"] or []
    seed = secrets.randbelow(2**31) if values["seed"] is None else values["seed"]
    request = Request.of(
        length=values["max_tokens"],
        num_samples=num_texts,
        seed=seed,
        stop=[stop] if isinstance(stop, str) else stop,
        **{name: values[name] for name in SAMPLED if name not in ("stop", "seed")},
    )
    bias = tuple((int(name), float(v)) for name, v in (values["logit_bias"] or {}).items())
    check_ids("logit_bias", [token_id for token_id, _ in bias], served.tokenizer.size)
    return dataclasses.replace(request, logit_bias=bias)


class Writer:
    """Answers one completion request."""

    def __init__(self, service: Service, served: Served, completion: Completion) -> None:
        self._service, self._served, self._completion = service, served, completion
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": OBJECT,
            "created": service.now(),
            "model": served.name,
        }
        self._began = time.monotonic()
        self._choices: list[Choice] = []
        self._num_written = 0

    async def whole(self) -> dict[str, Any]:
        """The response to a request that is not streamed."""
        parts: list[list[Part]] = [[] for _ in range(self._completion.num_rows)]
        async for number, part in self._parts():
            parts[number].append(part)
        chosen: list[dict[str, Any]] = []
        for number in self._best(parts):
            choice = self._choices[number]
            pieces = [await choice.echoed(), *[await choice.of(part) for part in parts[number]]]
            chosen.append(choice.joined(pieces, len(chosen)))
        return {**self._head, "choices": chosen, "usage": self._usage()}

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a stream; the first one follows the first tokens."""
        is_begun: set[int] = set()
        async for number, part in self._parts():
            choice = self._choices[number]
            pieces = [await choice.of(part)]
            if number not in is_begun:
                is_begun.add(number)
                pieces.insert(0, await choice.echoed())
            yield {**self._head, "choices": [choice.joined(pieces, number)]}
        if (self._completion.values["stream_options"] or {}).get("include_usage"):
            yield {**self._head, "choices": [], "usage": self._usage()}

    async def _parts(self) -> AsyncIterator[tuple[int, Part]]:
        completion = self._completion
        states = await writing.read(
            self._service, self._served, completion.prompts, completion.values["cache_prompt"]
        )
        every = writing.begin(completion.request, states, self._served.tokenizer)
        for number, text in enumerate(every):
            prompt = completion.prompts[number // completion.num_texts]
            self._choices.append(
                Choice(
                    self._service.run, self._served.reader, text.state, prompt, completion.values
                )
            )
        is_first = True
        async for number, part in writing.parts(self._service, self._served, every):
            if is_first:
                self._service.metrics.count_first_character(time.monotonic() - self._began)
                is_first = False
            self._num_written += len(part.pieces) + (part.end_nats is not None)
            yield number, part

    def _best(self, parts: Sequence[Sequence[Part]]) -> list[int]:
        """The numbers of the `n` best texts of each prompt, in the order of the response."""
        total, n = self._completion.num_texts, self._completion.values["n"]
        found: list[int] = []
        for begin in range(0, len(parts), total):
            numbers = list(range(begin, begin + total))
            if n < total:
                numbers.sort(key=lambda number: -_mean_nats(parts[number]))
            found += numbers[:n]
        return found

    def _usage(self) -> dict[str, int]:
        """The tokens of the prompts and of all texts, those that `best_of` drops included."""
        num_read = sum(len(prompt.ids) for prompt in self._completion.prompts)
        return {
            "prompt_tokens": num_read,
            "completion_tokens": self._num_written,
            "total_tokens": num_read + self._num_written,
        }


def _mean_nats(parts: Sequence[Part]) -> float:
    """The log-probability per token; an empty text is the worst."""
    count = sum(len(part.nats) for part in parts)
    return sum(float(part.nats.sum()) for part in parts) / count if count else float("-inf")
