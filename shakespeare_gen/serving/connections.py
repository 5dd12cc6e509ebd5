"""Waiting for a client, and noticing that it is gone. Knows nothing about what is computed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from shakespeare_gen.serving.failures import RequestError

HEADER_SECONDS = 10.0  # for the head of a request
CLIENT_CLOSED = 499  # a status that nobody receives

T = TypeVar("T")


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled if the client closes the connection.

    The body of the request must have been read.

    Raises:
      RequestError: the client closed the connection.
    """
    return await _until_gone(work, request.receive)


async def _until_gone(work: Awaitable[T], receive: Receive) -> T:
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RequestError(CLIENT_CLOSED, "the client closed the connection")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """A response of server-sent events that ends `lines` when the client is gone."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__(lines, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.headers["Content-Type"] = "text/event-stream"
        self._lines = lines
        self._callbacks = contextlib.ExitStack()

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Calls a function at the end of the response, however it comes."""
        self._callbacks.callback(callback)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._callbacks, contextlib.suppress(RequestError):
            try:
                await _until_gone(self.stream_response(send), receive)
            finally:
                await self._lines.aclose()  # type: ignore[attr-defined]


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection on which the head of a request takes too long."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Starts the time for the first request."""
        super().connection_made(transport)
        self._limit()

    def data_received(self, data: bytes) -> None:
        """Starts or ends the time for a request."""
        super().data_received(data)
        self._limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time."""
        super().connection_lost(exc)
        self._stop()

    def _limit(self) -> None:
        is_waiting = self.cycle is None or self.cycle.response_complete
        if not is_waiting:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
