"""What requests may contain: one table, for validation and for the OpenAPI document.

The bounds of what generation has as an option are those of the option. Knows nothing about HTTP.

    values = parse(COMPLETION, {"prompt": "ROMEO:", "max_tokens": 20})
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from shakespeare_gen import generation
from shakespeare_gen.options import spelling
from shakespeare_gen.options.fields import fields_by_name
from shakespeare_gen.options.groups import UnknownOptions
from shakespeare_gen.serving import checking
from shakespeare_gen.serving.checking import Schema
from shakespeare_gen.serving.failures import RequestError, invalid

MAX_BODY_BYTES = 64 * 1024
MAX_TOKENS = 16384
MAX_TEXTS = 32  # of one request, over all prompts
MAX_TEMPERATURE = 100
_TYPES: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string"}
_KEYWORDS = {"minimum": "minimum", "maximum": "maximum", "above": "exclusiveMinimum"}
_OPTIONS = fields_by_name((*generation.groups(), UnknownOptions))


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A field of a request body.

    Attributes:
      schema: its JSON Schema; optional fields also accept null, for the default.
      default: its value if it is missing; None: there is none.
    """

    name: str
    schema: Schema
    help: str
    default: Any = None
    is_required: bool = False

    @property
    def json_schema(self) -> dict[str, Any]:
        """The schema with everything that the OpenAPI document tells."""
        accepted = [self.schema] if self.is_required else [self.schema, {"type": "null"}]
        shown: dict[str, Any] = {"description": self.help}
        if self.default is not None:
            shown["default"] = self.default
        return {**shown, **(self.schema if self.is_required else {"anyOf": accepted})}


def _option(name: str, default: Any = None, **schema: Any) -> Parameter:
    """A field with the help text, default and bounds of an option."""
    field = _OPTIONS[name]
    bounds = {_KEYWORDS[k]: v for k, v in field.metadata.items() if k in _KEYWORDS}
    if field.metadata["choices"]:
        bounds["enum"] = list(field.metadata["choices"])
    kind = {"type": _TYPES[field.type], **bounds, **schema}
    chosen = field.default if default is None else default
    return Parameter(name, kind, field.metadata["help"], chosen)


def _string(max_length: int = MAX_BODY_BYTES, min_length: int = 0) -> Schema:
    return {"type": "string", "minLength": min_length, "maxLength": max_length}


def _integer(minimum: int, maximum: int) -> Schema:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def _list(items: Schema, max_items: int, min_items: int = 1) -> Schema:
    return {"type": "array", "items": items, "minItems": min_items, "maxItems": max_items}


_STOP = _string(256, min_length=1)
_BOOLEAN: Schema = {"type": "boolean"}
_TEXT = _string()
_ID = _integer(0, 2**31 - 1)
_IDS = _list(_ID, MAX_BODY_BYTES)
_BIAS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,8})$"},
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    "maxProperties": 300,
}
_STREAM: Schema = {
    "type": "object",
    "properties": {"include_usage": _BOOLEAN},
    "additionalProperties": False,
}

MODEL = Parameter(
    "model",
    _string(512),
    "id of a model of /v1/models, or of several with the same vocabulary, joined by +, whose "
    "probabilities are averaged; by default the first one",
)
UNKNOWN = _option("unknown")

COMPLETION = (
    MODEL,
    Parameter(
        "prompt",
        {"anyOf": [_TEXT, _list(_TEXT, MAX_TEXTS), _IDS, _list(_IDS, MAX_TEXTS)]},
        "text to continue, or its token ids, or a list of several texts or of lists of ids",
        "",
    ),
    Parameter("max_tokens", _integer(0, MAX_TOKENS), "tokens to generate at most", 16),
    _option("temperature", 1.0, maximum=MAX_TEMPERATURE),
    _option("top_p"),
    Parameter("n", _integer(1, 16), "texts for each prompt", 1),
    Parameter(
        "best_of",
        _integer(1, 16),
        "texts that are generated for each prompt, of which the `n` with the largest "
        "log-probability per token are returned; by default `n`",
    ),
    Parameter("stream", _BOOLEAN, "send the text as server-sent events", False),
    Parameter("stream_options", _STREAM, "include_usage: the last event tells the usage"),
    Parameter(
        "stop", {"anyOf": [_STOP, _list(_STOP, 16, 0)]}, "text, or texts, that end generation"
    ),
    Parameter(
        "logprobs",
        _integer(0, 20),
        "tell the log-probability of each token in the model, and as many most likely ones",
    ),
    Parameter("echo", _BOOLEAN, "begin the text with the prompt", False),
    Parameter("seed", _integer(0, 2**31 - 1), "random seed; by default a new one each time"),
    _option("frequency_penalty"),
    _option("presence_penalty"),
    Parameter("logit_bias", _BIAS, "added to the logits of tokens, by their ids"),
    Parameter("user", _string(512), "accepted for compatibility; has no effect"),
    _option("top_k"),
    _option("min_p"),
    _option("typical_p"),
    _option("mirostat_tau"),
    _option("repetition_penalty"),
    _option("no_repeat_ngram"),
    _option("until_line"),
    _option("until_speaker"),
    UNKNOWN,
    Parameter(
        "cache_prompt",
        _BOOLEAN,
        "keep the state after the prompt, from which a longer prompt is read",
        True,
    ),
)
# The fields of a completion that generation has under the same name.
SAMPLED = tuple(p.name for p in COMPLETION if p.name in _OPTIONS and p.name not in ("unknown",))

SCORE = (
    MODEL,
    Parameter("text", _TEXT, "text to score", is_required=True),
    UNKNOWN,
)
NEXT = (
    MODEL,
    Parameter("prompt", _TEXT, "text before the next token", ""),
    Parameter("k", _integer(1, 100), "tokens to return at most", 10),
    UNKNOWN,
)
TOKENIZE = (
    MODEL,
    Parameter("content", _TEXT, "text to convert to tokens", is_required=True),
    UNKNOWN,
)
DETOKENIZE = (
    MODEL,
    Parameter(
        "tokens",
        _list(_ID, MAX_BODY_BYTES, 0),
        "ids to convert to text",
        is_required=True,
    ),
)


def parse(parameters: Sequence[Parameter], body: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all parameters by name, with defaults for those that are missing.

    Raises:
      RequestError: a field is unknown, missing or invalid; names it.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in body:
        if name not in known:
            raise _unknown(name, list(known))
    return {name: _value(parameter, body) for name, parameter in known.items()}


def _value(parameter: Parameter, body: Mapping[str, Any]) -> Any:
    value = body.get(parameter.name)
    if parameter.is_required and parameter.name not in body:
        raise invalid(f"{parameter.name}: expected a value, received none", parameter.name)
    if value is None and not parameter.is_required:
        return parameter.default
    return checking.checked(parameter.name, value, parameter.schema)


def _unknown(name: str, known: list[str]) -> RequestError:
    advice = spelling.as_names(spelling.advice(name, known))
    shown = ascii(name)[1:-1][:80]
    return RequestError(400, f"unknown field '{shown}'; {advice}", shown, "unknown_field")
