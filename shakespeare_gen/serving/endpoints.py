"""The table of endpoints: paths, fields and responses.

`application` serves it, `openapi` describes it. Knows nothing about how an endpoint is answered.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from shakespeare_gen.serving import cards, parameters
from shakespeare_gen.serving.checking import Schema
from shakespeare_gen.serving.parameters import Parameter

_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_NULL: Schema = {"type": "null"}


def _object(**properties: Any) -> dict[str, Any]:
    """An object with exactly these fields."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_null(*schemas: Schema) -> dict[str, Any]:
    return {"anyOf": [*schemas, _NULL]}


_LOG_PROBABILITIES = _object(
    tokens=_list(_STRING),
    token_logprobs=_list(_or_null(_NUMBER)),
    top_logprobs=_or_null(_list(_or_null({"type": "object", "additionalProperties": _NUMBER}))),
    text_offset=_list(_INTEGER),
)
_USAGE = _object(prompt_tokens=_INTEGER, completion_tokens=_INTEGER, total_tokens=_INTEGER)
_HEAD = {
    "id": _STRING,
    "object": {"type": "string", "enum": ["text_completion"]},
    "created": _INTEGER,
    "model": _STRING,
}


def _choices(finish_reason: Schema) -> dict[str, Any]:
    logprobs = _or_null(_LOG_PROBABILITIES)
    return _list(
        _object(index=_INTEGER, text=_STRING, logprobs=logprobs, finish_reason=finish_reason)
    )


_REASON: Schema = {"type": "string", "enum": ["stop", "length"]}
_COMPLETION = _object(**_HEAD, choices=_choices(_REASON), usage=_USAGE)
_CHUNK = _object(**_HEAD, choices=_choices(_or_null(_REASON)))
_CHUNK["properties"]["usage"] = _USAGE
ERROR = _object(
    error=_object(message=_STRING, type=_STRING, param=_or_null(_STRING), code=_or_null(_STRING))
)


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A path and method of the API.

    Attributes:
      name: of its operation, which selects what answers it.
      fields: of its body; None: it has none.
      response: the JSON Schema of the response, or a media type.
      events: the JSON Schema of the events if it can stream.
      errors: the statuses besides 200 and those of every endpoint.
      is_open: needs no key.
    """

    name: str
    method: str
    path: str
    summary: str
    response: Schema | str
    fields: Sequence[Parameter] | None = None
    events: Schema | None = None
    errors: Sequence[int] = ()
    is_open: bool = False


_MODEL_ERRORS = (404, 429, 500, 503)

ENDPOINTS = (
    Endpoint(
        "complete",
        "POST",
        "/v1/completions",
        "Continue a text, or several.",
        _COMPLETION,
        parameters.COMPLETION,
        _CHUNK,
        _MODEL_ERRORS,
    ),
    Endpoint(
        "list_models",
        "GET",
        "/v1/models",
        "The models.",
        _object(object={"type": "string", "enum": ["list"]}, data=_list(cards.SCHEMA)),
    ),
    Endpoint("get_model", "GET", "/v1/models/{model}", "One model.", cards.SCHEMA, errors=(404,)),
    Endpoint(
        "score",
        "POST",
        "/v1/score",
        "The log-probability of every token of a text, in nats.",
        _object(
            model=_STRING,
            tokens=_list(_object(text=_STRING, log_probability=_NUMBER)),
            num_characters=_INTEGER,
            nats_per_character=_or_null(_NUMBER),
        ),
        parameters.SCORE,
        errors=_MODEL_ERRORS,
    ),
    Endpoint(
        "next_tokens",
        "POST",
        "/v1/next",
        "The most likely next tokens.",
        _object(model=_STRING, next=_list(_object(text=_STRING, probability=_NUMBER))),
        parameters.NEXT,
        errors=_MODEL_ERRORS,
    ),
    Endpoint(
        "tokenize",
        "POST",
        "/tokenize",
        "The token ids of a text.",
        _object(model=_STRING, tokens=_list(_INTEGER)),
        parameters.TOKENIZE,
        errors=_MODEL_ERRORS,
    ),
    Endpoint(
        "detokenize",
        "POST",
        "/detokenize",
        "The text of token ids.",
        _object(model=_STRING, content=_STRING),
        parameters.DETOKENIZE,
        errors=_MODEL_ERRORS,
    ),
    Endpoint(
        "health",
        "GET",
        "/health",
        "Whether the server is ready.",
        _object(status={"type": "string", "enum": ["ready"]}),
        errors=(503,),
        is_open=True,
    ),
    Endpoint(
        "report",
        "GET",
        "/reports/{model}",
        "The page that evaluate wrote about a model.",
        "text/html",
        errors=(404,),
    ),
    Endpoint("metrics", "GET", "/metrics", "Metrics for Prometheus.", "text/plain"),
    Endpoint("document", "GET", "/openapi.json", "This document.", {"type": "object"}),
)
