"""The OpenAPI document, made from the tables that requests are checked with."""

from typing import Any

from shakespeare_gen import __version__
from shakespeare_gen.serving.endpoints import ENDPOINTS, ERROR, Endpoint
from shakespeare_gen.serving.parameters import MAX_BODY_BYTES

_ERRORS = {
    400: "The request is not valid; `param` names the field.",
    401: "The key is missing or wrong.",
    403: "The host or the origin of the request is not allowed.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: f"The body has more than {MAX_BODY_BYTES:,} bytes.",
    415: "The body is not declared as JSON.",
    429: "Too many requests wait.",
    500: "The request failed.",
    503: "The server is loading or shutting down.",
}
_BODY_ERRORS = (400, 408, 413, 415)


def document(has_key: bool) -> dict[str, Any]:
    """The document of the API.

    Args:
      has_key: whether requests need a key.
    """
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        method = endpoint.method.lower()
        paths.setdefault(endpoint.path, {})[method] = _operation(endpoint, has_key)
    components: dict[str, Any] = {"schemas": {"Error": ERROR}}
    if has_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "shakespeare_gen", "version": __version__},
        "paths": paths,
        "components": components,
    }


def _operation(endpoint: Endpoint, has_key: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "responses": {"200": _response(endpoint)},
    }
    errors = [403, *endpoint.errors]
    if endpoint.fields is not None:
        found["requestBody"] = {"required": True, "content": _json(_body(endpoint))}
        errors += _BODY_ERRORS
    if "{model}" in endpoint.path:
        string = {"type": "string"}
        found["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": string}]
    if has_key and not endpoint.is_open:
        found["security"] = [{"key": []}]
        errors.append(401)
    found["responses"] |= {str(status): _error(status) for status in sorted(errors)}
    return found


def _body(endpoint: Endpoint) -> dict[str, Any]:
    fields = endpoint.fields or ()
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: field.json_schema for field in fields},
        "additionalProperties": False,
    }
    if required := [field.name for field in fields if field.is_required]:
        schema["required"] = required
    return schema


def _response(endpoint: Endpoint) -> dict[str, Any]:
    if isinstance(endpoint.response, str):
        content: dict[str, Any] = {endpoint.response: {"schema": {"type": "string"}}}
    else:
        content = _json(dict(endpoint.response))
    if endpoint.events is not None:
        chunk_or_error = {"anyOf": [endpoint.events, {"$ref": "#/components/schemas/Error"}]}
        event = {"type": "string", "contentSchema": chunk_or_error}
        event["contentMediaType"] = "application/json"
        data = {"anyOf": [{"type": "string", "enum": ["[DONE]"]}, event]}
        content["text/event-stream"] = {
            "schema": {
                "type": "object",
                "description": "With `stream`: a server-sent event. Its data is a chunk, or an "
                "error that ends the stream; that of the last event is [DONE].",
                "properties": {"data": data},
                "required": ["data"],
            },
        }
    return {"description": "The result.", "content": content}


def _error(status: int) -> dict[str, Any]:
    found = {
        "description": _ERRORS[status],
        "content": _json({"$ref": "#/components/schemas/Error"}),
    }
    if status in (429, 503):
        found["headers"] = {"Retry-After": {"required": True, "schema": {"type": "integer"}}}
    return found


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
