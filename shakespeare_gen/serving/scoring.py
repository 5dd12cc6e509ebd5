"""The endpoints that read a text without writing one: scores, next tokens, tokens.

Knows nothing about HTTP.
"""

from collections.abc import Callable
from typing import Any

from shakespeare_gen.errors import UserError
from shakespeare_gen.serving import writing
from shakespeare_gen.serving.catalog import Served
from shakespeare_gen.serving.checking import check_ids
from shakespeare_gen.serving.choices import LOWEST_NATS
from shakespeare_gen.serving.failures import of_user_error
from shakespeare_gen.serving.prompts import Prompt
from shakespeare_gen.serving.service import Service


async def score(service: Service, served: Served, values: dict[str, Any]) -> dict[str, Any]:
    """The log-probability of every token of a text; the first one follows the start token."""
    text = _prepared(served, values, "text")
    [start] = await writing.read(
        service, served, [Prompt.of_text("", served.tokenizer)], is_kept=True
    )
    ids = served.tokenizer.encode(text)
    scores, _ = await service.run(served.reader.token_scores, ids, start)
    nats = [max(value, LOWEST_NATS) for value in scores.nats.tolist()]
    pieces = served.tokenizer.pieces(ids)
    tokens = [{"text": t, "log_probability": n} for t, n in zip(pieces, nats, strict=True)]
    return {
        "model": served.name,
        "tokens": tokens,
        "num_characters": len(text),
        "nats_per_character": -sum(nats) / len(text) if text else None,
    }


async def next_tokens(service: Service, served: Served, values: dict[str, Any]) -> dict[str, Any]:
    """The most likely next tokens, the most likely one first."""
    prompt = Prompt.of_text(_prepared(served, values, "prompt"), served.tokenizer)
    [state] = await writing.read(service, served, [prompt], is_kept=True)
    likely = await service.run(served.reader.next_tokens, state, values["k"])
    found = [{"text": text, "probability": probability} for text, probability in likely]
    return {"model": served.name, "next": found}


async def tokenize(service: Service, served: Served, values: dict[str, Any]) -> dict[str, Any]:
    """The ids of a text."""
    del service
    text = _prepared(served, values, "content")
    return {"model": served.name, "tokens": served.tokenizer.encode(text).tolist()}


async def detokenize(service: Service, served: Served, values: dict[str, Any]) -> dict[str, Any]:
    """The text of ids."""
    del service
    tokenizer, ids = served.tokenizer, values["tokens"]
    check_ids("tokens", ids, tokenizer.size)
    return {"model": served.name, "content": tokenizer.decode(ids)}


READING = {
    "score": score,
    "next_tokens": next_tokens,
    "tokenize": tokenize,
    "detokenize": detokenize,
}
"""By the name of their endpoint."""


def _prepared(served: Served, values: dict[str, Any], name: str) -> str:
    prepare: Callable[..., str] = served.tokenizer.prepare
    try:
        return prepare(values[name], values["unknown"], name)
    except UserError as error:
        raise of_user_error(error) from None
