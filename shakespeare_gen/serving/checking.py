"""Checks JSON values against the part of JSON Schema that `parameters` uses.

The same schemas are part of the OpenAPI document, which is therefore true of every field.

    checked("top_p", 2, {"type": "number", "maximum": 1})    # RequestError: top_p: expected ...
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shakespeare_gen.data import texts
from shakespeare_gen.serving.failures import invalid

Schema = Mapping[str, Any]
SHOWN_CHARS = 60  # of a rejected value

_TYPES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}
# By the keyword of JSON Schema: whether a value breaks a limit, and what was expected.
_NUMBERS = {
    "minimum": (lambda value, limit: value < limit, "at least {}"),
    "maximum": (lambda value, limit: value > limit, "at most {}"),
    "exclusiveMinimum": (lambda value, limit: value <= limit, "more than {}"),
}
_SIZES = {
    "minLength": (lambda value, limit: len(value) < limit, "at least {} characters"),
    "maxLength": (lambda value, limit: len(value) > limit, "at most {} characters"),
    "minItems": (lambda value, limit: len(value) < limit, "at least {} items"),
    "maxItems": (lambda value, limit: len(value) > limit, "at most {} items"),
    "maxProperties": (lambda value, limit: len(value) > limit, "at most {} fields"),
}


def checked(name: str, value: Any, schema: Schema) -> Any:
    """The value, with an integer where a number is an integer in JSON Schema.

    Raises:
      RequestError: the value does not match the schema; names the field.
    """
    expected, found = _compare(value, schema)
    if expected is not None:
        raise invalid(f"{name}: expected {expected}, received {shown(value)}", name)
    return found


def check_ids(name: str, ids: Sequence[int], size: int) -> None:
    """Raises `RequestError` unless all ids are below `size`; they are not negative."""
    if ids and max(ids) >= size:
        raise invalid(f"{name}: expected ids below {size}, received {max(ids)}", name)


def shown(value: Any) -> str:
    """A value in a message: bounded, and without characters that have no encoding."""
    if isinstance(value, int) and not -(10**20) < value < 10**20:
        return "a larger integer"
    text = ascii(value[:SHOWN_CHARS] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _compare(value: Any, schema: Schema) -> tuple[str | None, Any]:
    """What was expected instead, or None; and the value."""
    if "anyOf" in schema:
        return _any_of(value, schema["anyOf"])
    if expected := _wrong_type(value, schema["type"]):
        return expected, value
    if schema["type"] == "integer":
        value = int(value)
    for limits in (_NUMBERS, _SIZES):
        for keyword, (is_broken, words) in limits.items():
            if keyword in schema and is_broken(value, schema[keyword]):
                return words.format(schema[keyword]), value
    if "enum" in schema and value not in schema["enum"]:
        return f"one of {', '.join(schema['enum'])}", value
    if isinstance(value, str) and texts.first_surrogate(value) is not None:
        return "Unicode characters without lone surrogates", value
    return _parts(value, schema)


def _parts(value: Any, schema: Schema) -> tuple[str | None, Any]:
    """The same for the items of a list and the fields of an object."""
    if isinstance(value, list):
        found = [_compare(item, schema["items"]) for item in value]
        expected = next((words for words, _ in found if words), None)
        return expected and f"items that are {expected}", [item for _, item in found]
    if isinstance(value, dict):
        return _fields(value, schema)
    return None, value


def _fields(value: dict[str, Any], schema: Schema) -> tuple[str | None, Any]:
    pattern = schema.get("propertyNames", {}).get("pattern")
    known, others = schema.get("properties", {}), schema.get("additionalProperties") or {}
    found = {}
    for name, item in value.items():
        if pattern and not re.search(pattern, name):
            return f"fields whose names match {pattern}", value
        if name not in known and not others:
            return f"only the fields {', '.join(known)}", value
        expected, found[name] = _compare(item, known.get(name) or others)
        if expected:
            return f"{expected} at {shown(name)}", value
    return None, found


def _any_of(value: Any, schemas: list[Schema]) -> tuple[str | None, Any]:
    results = [_compare(value, schema) for schema in schemas]
    for expected, found in results:
        if expected is None:
            return None, found
    # The limits of the schema whose type matches say more than the list of types.
    for schema, (expected, _) in zip(schemas, results, strict=True):
        if _has_type(value, schema):
            return expected, value
    types = [_TYPES[schema["type"]] for schema in schemas if schema["type"] in _TYPES]
    return " or ".join(dict.fromkeys(types)), value


def _has_type(value: Any, schema: Schema) -> bool:
    """Whether a value, and of a list its first item, has the type of a schema."""
    if _wrong_type(value, schema["type"]):
        return False
    return not (isinstance(value, list) and value) or _has_type(value[0], schema["items"])


def _wrong_type(value: Any, expected: str) -> str | None:
    """The words for the expected type; None if the value has it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_right = {
        "string": isinstance(value, str),
        "integer": is_number and value == value // 1,
        "number": is_number,
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
        "null": value is None,
    }
    return None if is_right[expected] else _TYPES.get(expected, "null")
