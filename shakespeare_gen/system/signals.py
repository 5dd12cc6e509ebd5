"""Ends a command cleanly on Ctrl-C or SIGTERM: immediately, or at the next safe point.

    with Interruption() as interruption:
        ...                              # a signal raises `Interrupted` here
        with interruption.deferred():
            step()                       # not here,
            interruption.check()         # but here

A second signal ends the process immediately, even during a long operation: a thread receives the
signals as they arrive. Signals are handled only if the context is entered in the main thread.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

from shakespeare_gen.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAVING = "\nFinishing the step and saving; a second signal stops immediately.\n"


class Interruption:
    """A context that replaces Python's handlers of the two signals.

    Args:
      notice: text to write to standard error when a signal is deferred.
    """

    def __init__(self, notice: str = "") -> None:
        self._notice = notice.encode()
        self._received: int | None = None
        self._is_deferred = self._is_listening = False
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> "Interruption":
        self._is_listening = threading.current_thread() is threading.main_thread()
        if self._is_listening:
            for number in SIGNALS:
                self._undo.callback(signal.signal, number, signal.signal(number, self._receive))
            reader, writer = socket.socketpair()
            writer.setblocking(False)
            self._undo.callback(writer.close)  # ends the thread
            before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            self._undo.callback(signal.set_wakeup_fd, before)
            threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._undo.close()

    def _watch(self, reader: socket.socket) -> None:
        """Receives the number of each signal as soon as it arrives."""
        num_signals = 0
        with reader:
            while data := reader.recv(64):
                for number in filter(SIGNALS.__contains__, data):
                    num_signals += 1
                    if num_signals > 1:
                        os._exit(128 + number)
                    if self._is_deferred:
                        # If standard error fails, a second signal must still end the process.
                        with contextlib.suppress(OSError):
                            os.write(2, self._notice)

    def listen_again(self) -> None:
        """Handles the signals again after a library has taken them, as TensorFlow's server does."""
        if self._is_listening:
            for number in SIGNALS:
                signal.signal(number, self._receive)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A context in which a signal takes effect at the next `check` or at the end."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        self.check()

    @property
    def received(self) -> int | None:
        """The number of a signal that has arrived."""
        return self._received

    def check(self) -> None:
        """Raises `Interrupted` if a signal has arrived."""
        if self._received is not None:
            raise Interrupted(self._received)

    def _receive(self, number: int, frame) -> None:
        self._received = number
        if not self._is_deferred:
            raise Interrupted(number)
