"""Errors of requests, in the shape of OpenAI's API. Knows nothing about HTTP frameworks.

raise invalid("top_p: expected at most 1, received 2", "top_p")
"""

from typing import Any

from shakespeare_gen.errors import UserError
from shakespeare_gen.options import spelling

RETRY_SECONDS = 1


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
      status: the HTTP status.
      param: the name of the field; None: the error is not about one.
      code: what identifies the error for programs; None if nothing does.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def to_json(self) -> dict[str, Any]:
        """The body of the response."""
        error = {
            "message": str(self),
            "type": _kind(self.status),
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to the status."""
        if self.status in (429, 503):
            return {"Retry-After": str(RETRY_SECONDS)}
        return {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}


def invalid(message: str, param: str | None) -> RequestError:
    """The request does not follow the description of the API."""
    return RequestError(400, message, param, "invalid_value")


def of_user_error(error: UserError) -> RequestError:
    """A message such as "top_k: expected ..." names the field that it is about."""
    message = spelling.as_names(str(error))
    name = message.partition(":")[0].partition("=")[0]
    return invalid(message, name if name.isidentifier() else None)


def busy() -> RequestError:
    """As many requests wait as may wait."""
    return RequestError(
        429, "expected fewer requests at a time; try again later", code="rate_limit_exceeded"
    )


def unavailable(reason: str) -> RequestError:
    """The server is loading or shutting down."""
    return RequestError(503, f"the server is {reason}", code="unavailable")


def internal() -> RequestError:
    """A bug, or a lack of memory; the cause is in the log."""
    return RequestError(500, "the request failed; the log of the server has the cause")


def _kind(status: int) -> str:
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
