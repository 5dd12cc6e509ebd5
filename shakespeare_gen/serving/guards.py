"""Checks of every request before it reaches an endpoint, and the headers of every response.

A page of another site must not use the server of somebody who visits it: the origin of a request
must be the server itself, and its host an IP address or a name that the server knows, which a
rebound DNS name is not. Knows nothing about models.
"""

import asyncio
import hmac
import ipaddress
import pathlib
import socket
import urllib.parse
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shakespeare_gen.errors import UserError
from shakespeare_gen.serving.failures import RequestError
from shakespeare_gen.serving.parameters import MAX_BODY_BYTES
from shakespeare_gen.system import storage

READ_SECONDS = 10.0
MIN_KEY_CHARS, MAX_KEY_CHARS = 16, 512
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds headers to every response that does not have its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def error_response(error: RequestError) -> Response:
    """The response to a request that is answered with an error."""
    return JSONResponse(error.to_json(), error.status, headers=error.headers)


class SiteGuard:
    """Answers requests from other sites, or to other hosts, with an error."""

    def __init__(self, app: ASGIApp, guard: "Guard") -> None:
        self._app, self._guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._guard.check_site(Headers(scope=scope))
        except RequestError as error:
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Guard:
    """Who may use the server.

    Args:
      hosts: names of the server besides `localhost`, that of the machine, and IP addresses.
      origins: other origins whose pages may use it.
      key: what requests must send; empty: nothing.
    """

    def __init__(
        self, hosts: Sequence[str] = (), origins: Sequence[str] = (), key: str = ""
    ) -> None:
        self._hosts = {"localhost", socket.gethostname().lower(), *map(str.lower, hosts)}
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._key = key.encode()

    @property
    def has_key(self) -> bool:
        """Whether requests need a key."""
        return bool(self._key)

    def check_site(self, headers: Headers) -> None:
        """Checks where a request comes from.

        Raises:
          RequestError: its host or its origin is not allowed.
        """
        host = headers.get("host", "")
        if not self._is_known(host):
            raise RequestError(403, f"host: expected a name of this server, received {host[:80]!a}")
        origin = headers.get("origin", "").lower()
        if origin and origin not in self._origins and _authority(origin) != host.lower():
            raise RequestError(
                403, f"origin: expected that of this server, received {origin[:80]!a}"
            )

    def check_key(self, headers: Headers) -> None:
        """Checks the key of a request, in a time that does not depend on the key.

        Raises:
          RequestError: the key is missing or wrong.
        """
        kind, _, key = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(key.strip().encode(), self._key)
        if self.has_key and not (is_right and kind.lower() == "bearer"):
            raise RequestError(
                401,
                "Authorization: expected a bearer token with the key of this server",
                code="invalid_api_key",
            )

    def _is_known(self, host: str) -> bool:
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._hosts or _is_address(name)


def _authority(origin: str) -> str:
    """The host and port of an origin."""
    scheme, _, authority = origin.partition("://")
    return authority if scheme in ("http", "https") else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def read_key(path: str) -> str:
    """The key in a file.

    Raises:
      UserError: the file cannot be read, or its key is too short, too long or not ASCII.
    """
    label = f"api_key_path={path}"
    data = storage.read_bytes(
        pathlib.Path(path).expanduser(), MAX_KEY_CHARS + 2, follow_links=True, label=label
    )
    key = data.strip().decode("ascii", "replace")
    is_printable = all("!" <= character <= "~" for character in key)
    if not MIN_KEY_CHARS <= len(key) <= MAX_KEY_CHARS or not is_printable:
        raise UserError(
            f"{label}: expected a key of {MIN_KEY_CHARS} to {MAX_KEY_CHARS} printable ASCII "
            f"characters, found {len(key)} characters"
        )
    return key


async def read_body(request: Request) -> bytes:
    """The body of a request, of bounded size and time.

    Raises:
      RequestError: it is too large, too slow, or not declared as JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(415, f"Content-Type: expected application/json, received {kind[:80]!a}")
    found = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > MAX_BODY_BYTES:
                    raise RequestError(
                        413, f"body: expected at most {MAX_BODY_BYTES:,} bytes, received more"
                    )
    except TimeoutError:
        raise RequestError(408, f"body: expected within {READ_SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise RequestError(400, "body: expected a complete one, received a part") from None
    return bytes(found)
