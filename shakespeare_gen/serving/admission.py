"""How many requests run and wait. Knows nothing about what they do.

    admission = Admission(max_rows=32, max_waiting=8)
    with admission.entered(num_rows=3):    # RequestError 429 if too many wait
        ...

Used by the thread of the event loop alone.
"""

import contextlib
from collections.abc import Iterator

from shakespeare_gen.serving.failures import busy


class Admission:
    """Admits requests in order: the first `max_rows` rows run, and `max_waiting` requests wait."""

    def __init__(self, max_rows: int, max_waiting: int) -> None:
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._rows: dict[int, int] = {}  # by the number of the request, in order
        self._num_entered = 0

    @property
    def num_inside(self) -> int:
        """Requests that run or wait."""
        return len(self._rows)

    @property
    def num_waiting(self) -> int:
        """Requests that wait for others to end."""
        total, waiting = 0, 0
        for num_rows in self._rows.values():
            total += num_rows
            waiting += total > self._max_rows
        return waiting

    @contextlib.contextmanager
    def entered(self, num_rows: int = 1) -> Iterator[None]:
        """A context in which a request runs or waits.

        Raises:
          RequestError: `max_waiting` requests already wait.
        """
        self._num_entered += 1
        number = self._num_entered
        self._rows[number] = num_rows
        try:
            if self.num_waiting > self._max_waiting:
                raise busy()
            yield
        finally:
            del self._rows[number]
