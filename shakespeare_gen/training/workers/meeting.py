"""The workers find each other, and exchange what they know, before TensorFlow starts.

TensorFlow waits for a missing worker for minutes, without a word, and compares nothing. Here every
worker connects to the address of the chief, on the port that TensorFlow uses afterwards, and they
exchange lines of JSON. Knows nothing about training.

    with meet(cluster, wait_seconds=30) as meeting:
        everybody = meeting.exchange({"versions": ...})     # the values of all workers, in order
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from absl import logging

from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage
from shakespeare_gen.training.workers import cluster as addresses
from shakespeare_gen.training.workers.cluster import Cluster

MAX_MESSAGE_BYTES = 16 << 20
GREETING_SECONDS = 5.0
NOTICE_SECONDS = 3.0  # a worker that waits for longer says so
_RETRY_SECONDS = 0.2
# A machine that is switched off or cut off is noticed within 15 seconds.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 15_000}

T = TypeVar("T")


class _Connection:
    """Lines of JSON over a socket."""

    def __init__(self, link: socket.socket) -> None:
        self._socket = link
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):  # not on every system
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._lines = link.makefile("rb")

    def send(self, value: Any) -> None:
        self._socket.sendall(json.dumps(value).encode() + b"\n")

    def receive(self, timeout_seconds: float | None = None) -> Any:
        """Raises `OSError` if the other side has ended, and `ValueError` if it sends no JSON."""
        self._socket.settimeout(timeout_seconds)
        line = self._lines.readline(MAX_MESSAGE_BYTES)
        self._socket.settimeout(None)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the connection was closed")
        return storage.parse_json(line)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class Meeting:
    """The connections of this worker: of the chief with all others, of these with the chief."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._connections: dict[int, _Connection] = {}

    def exchange(self, value: Any) -> list[Any]:
        """The values of all workers; returns when each of them has given its own.

        Raises:
          UserError: a worker has ended.
        """
        if not self.cluster.is_chief:
            with self._naming_the_lost(0):
                self._connections[0].send({"said": value})
                found = self._connections[0].receive()
            if "end" in found:
                raise UserError(found["end"])
            return found["all"]
        try:
            values = [value]
            for index in range(1, self.cluster.size):
                with self._naming_the_lost(index):
                    values.append(self._connections[index].receive()["said"])
        except UserError as error:
            self.end(str(error))
            raise
        for index, connection in self._connections.items():
            with self._naming_the_lost(index):
                connection.send({"all": values})
        return values

    def attempt(self, action: Callable[[], T], told: Callable[[T], Any]) -> tuple[T, list[Any]]:
        """The result of `action` on this worker, and what is told about the results of all.

        Raises:
          UserError: that of `action`, here or on another worker.
        """
        try:
            result = action()
        except UserError as error:
            with contextlib.suppress(UserError):
                self.exchange({"error": str(error)})
            raise
        everybody = self.exchange({"told": told(result)})
        for index, said in enumerate(everybody):
            if "error" in said:
                raise UserError(f"{self.cluster.name(index)}: {said['error']}")
        return result, [said["told"] for said in everybody]

    def end(self, reason: str) -> None:
        """Ends the meeting for all workers that are here; called by the chief."""
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.send({"end": reason})

    def close(self) -> None:
        """Closes all connections."""
        for connection in self._connections.values():
            connection.close()

    @contextlib.contextmanager
    def _naming_the_lost(self, index: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError):
            raise UserError(
                f"{self.cluster.name(index)} has ended or cannot be reached; its log says why"
            ) from None

    # How the workers find each other

    def gather(self, wait_seconds: float) -> None:
        """Waits until all workers are here.

        Raises:
          UserError: one of them did not arrive.
        """
        deadline = time.monotonic() + wait_seconds
        if self.cluster.is_chief:
            self._receive_all(deadline, wait_seconds)
        else:
            self._connections[0] = self._connected(deadline, wait_seconds)

    def _receive_all(self, deadline: float, wait_seconds: float) -> None:
        with _listening(self.cluster) as listener:
            says_so_at = time.monotonic() + NOTICE_SECONDS
            while missing := sorted(set(range(1, self.cluster.size)) - self._connections.keys()):
                now = time.monotonic()
                names = ", ".join(map(self.cluster.name, missing))
                if now >= deadline:
                    reason = f"{names} did not arrive within {wait_seconds:g} s"
                    self.end(reason)
                    raise UserError(f"{reason}; `worker_wait_seconds` sets how long to wait")
                if now >= says_so_at:
                    logging.info("waiting %.0f s for %s", deadline - now, names)
                    says_so_at = deadline
                listener.settimeout(min(deadline, says_so_at) - now + 0.01)
                with contextlib.suppress(TimeoutError):
                    self._greet(listener.accept()[0])

    def _greet(self, link: socket.socket) -> None:
        """Accepts a worker; anything else that connects is ignored."""
        connection = _Connection(link)
        try:
            said = connection.receive(GREETING_SECONDS)
            index, others = said["index"], said["workers"]
            if type(index) is not int or not 0 < index < self.cluster.size:
                raise ValueError(index)
            if others != list(self.cluster.addresses):
                expected, received = (
                    ",".join(map(str, x)) for x in (self.cluster.addresses, others)
                )
                reason = f"workers: expected {expected}, as on the chief, received {received}"
                connection.send({"end": reason})
            elif index in self._connections:
                reason = f"worker_index={index}: expected another one, this is taken"
                connection.send({"end": reason})
            else:
                self._connections[index] = connection
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        connection.close()

    def _connected(self, deadline: float, wait_seconds: float) -> _Connection:
        chief = self.cluster.name(0)
        greeting = {"index": self.cluster.index, "workers": self.cluster.addresses}
        says_so_at = time.monotonic() + NOTICE_SECONDS
        place, reason = addresses.split(self.cluster.addresses[0]), "no answer"
        while (now := time.monotonic()) < deadline:
            try:
                link = socket.create_connection(place, timeout=deadline - now)
                connection = _Connection(link)
                connection.send(greeting)
                return connection
            except OSError as error:
                reason = storage.reason(error)
            if now >= says_so_at:
                logging.info("waiting %.0f s for %s: %s", deadline - now, chief, reason)
                says_so_at = deadline
            time.sleep(_RETRY_SECONDS)
        raise UserError(
            f"{chief} did not answer within {wait_seconds:g} s: {reason}; "
            "`worker_wait_seconds` sets how long to wait"
        )


@contextlib.contextmanager
def meet(cluster: Cluster, wait_seconds: float) -> Iterator[Meeting]:
    """A meeting of all workers.

    Raises:
      UserError: one of them did not arrive in time, or a port is in use.
    """
    meeting = Meeting(cluster)
    try:
        _check_port(cluster)
        meeting.gather(wait_seconds)
        yield meeting
    finally:
        meeting.close()


def _check_port(cluster: Cluster) -> None:
    with _listening(cluster):
        pass


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[socket.socket]:
    """A server on the port of this worker, on all of its addresses, as TensorFlow's."""
    _, port = addresses.split(cluster.addresses[cluster.index])
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise UserError(
            f"{cluster.name(cluster.index)}: cannot listen on port {port}: {storage.reason(error)}"
        ) from None
    with server:
        yield server
