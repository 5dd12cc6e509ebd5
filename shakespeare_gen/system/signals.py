"""Ctrl-C and SIGTERM as an orderly end: at once, or at the next safe place.

    with Interruption() as interruption:
        ...                              # a signal raises `Interrupted` here
        with interruption.deferred():
            step()                       # not here,
            interruption.check()         # but here

A second signal ends the process without another word, even within a step that
Python waits for: a thread sees the signals as they come. Outside the main
thread signals are left alone.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

from shakespeare_gen.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAVING = "\nFinishing the step and saving; once more stops at once.\n"


class Interruption:
    """Takes the place of Python's own answer to the two signals while it is entered."""

    def __init__(self, notice: str = "") -> None:
        self._notice = notice.encode()  # what is said while a signal waits
        self._received: int | None = None
        self._is_deferred = False
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._undo.callback(signal.signal, number, signal.signal(number, self._receive))
            reader, writer = socket.socketpair()
            writer.setblocking(False)
            self._undo.callback(writer.close)  # which ends the thread
            before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            self._undo.callback(signal.set_wakeup_fd, before)
            threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._undo.close()

    def _watch(self, reader: socket.socket) -> None:
        """Reads each signal's number as soon as it comes."""
        num_signals = 0
        with reader:
            while data := reader.recv(64):
                for number in filter(SIGNALS.__contains__, data):
                    num_signals += 1
                    if num_signals > 1:
                        os._exit(128 + number)
                    if self._is_deferred:
                        os.write(2, self._notice)

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
        self._received = number
        if not self._is_deferred:
            raise Interrupted(number)
