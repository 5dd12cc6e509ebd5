"""Runs the application on a socket until a signal, and ends without cutting texts short.

On SIGTERM and Ctrl-C, new requests are refused and running ones have `DRAIN_SECONDS` to end; a
second signal ends the process at once. Knows nothing about endpoints.
"""

import asyncio
import contextlib
import logging as standard_logging
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from absl import logging
from starlette.applications import Starlette

from shakespeare_gen.errors import UserError
from shakespeare_gen.serving.connections import BoundedProtocol
from shakespeare_gen.serving.service import Service
from shakespeare_gen.system import storage

SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN_SECONDS = 8.0
CLOSE_SECONDS = 1  # to send the ends of responses
MAX_CONNECTIONS = 256  # below the usual limit of open files
MAX_HEAD_BYTES = 16 * 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
      UserError: the address is not one of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends without delay (TCP_NODELAY) only if the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(MAX_CONNECTIONS)
        return listener
    except OSError as error:
        listener.close()
        raise UserError(
            f"port={port}: cannot listen on {host}: {storage.reason(error)}; "
            "`port=0` chooses a free one"
        ) from None


def address(listener: socket.socket) -> str:
    """The URL of a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Serves an application until it is told to end.

    Args:
      is_following: replace models by newer checkpoints.
    """

    def __init__(self, app: Starlette, service: Service, is_following: bool = False) -> None:
        standard_logging.getLogger("uvicorn.error").setLevel(standard_logging.CRITICAL)
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=CLOSE_SECONDS,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            )
        )
        self._service, self._is_following = service, is_following
        self._failure: Exception | None = None
        self._draining: asyncio.Task | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until `drain` or a signal.

        Raises:
          UserError: the first model cannot be loaded.
        """
        super().run(sockets)
        self._service.close()
        if self._failure is not None:
            raise self._failure

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """See `run`."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_one_line)
        for number in SIGNALS:
            with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread
                loop.add_signal_handler(number, self.drain)
        tasks = [asyncio.create_task(self._load())]
        if self._is_following:
            tasks.append(asyncio.create_task(self._service.catalog.follow()))
        await super().serve(sockets)
        for task in tasks:
            task.cancel()
        _ignore_signals()

    async def _load(self) -> None:
        """Loads the first model."""
        began = time.monotonic()
        try:
            await self._service.catalog.get(None)
        except Exception as error:
            self._failure, self.should_exit = error, True
            return
        if self._service.state == "loading":
            self._service.state = "ready"
        logging.info("ready after %.1f s", time.monotonic() - began)

    def drain(self) -> None:
        """Ends the server when its requests have ended; called again, at once."""
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._service.state = "shutting down"
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._service.num_inside and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self._service.stop_writing()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to `serve`."""
        yield


def _ignore_signals() -> None:
    """The process is about to end: a signal must not change its exit code."""
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _log_one_line(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs what asyncio reports, such as too many open files, without a traceback."""
    del loop
    cause = context.get("exception")
    logging.error("%s%s", context["message"], f": {cause}" if cause else "")
