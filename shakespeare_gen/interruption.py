"""Ctrl-C and SIGTERM as an orderly end: at once, or at the next safe place.

    with Interruption() as interruption:
        ...                              # a signal raises `Interrupted` here
        with interruption.deferred():
            step()                       # not here,
            interruption.check()         # but here

A second signal ends the process without another word. In a thread other than
the main one signals are left alone.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from shakespeare_gen.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nFinishing the step and saving; once more stops at once.\n"


class Interruption:
    """Takes the place of Python's own answer to the two signals while it is entered."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._is_deferred = False
        self._before: dict = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Where a signal waits for the next `check`, or for the end."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        self.check()

    def check(self) -> None:
        """Raises `Interrupted` if a signal came."""
        if self._received is not None:
            raise Interrupted(self._received)

    def _receive(self, number: int, frame) -> None:
        if self._received is not None:
            os._exit(128 + number)
        self._received = number
        if not self._is_deferred:
            raise Interrupted(number)
        os.write(2, _NOTICE)
