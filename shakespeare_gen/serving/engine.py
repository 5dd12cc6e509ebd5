"""A thread that draws the texts of all requests of one model in one batch.

Texts join and leave the batch between short draws, so that a newcomer does not wait for the texts
of others (continuous batching). A text that is alone is drawn in longer draws. A model starts in
NumPy, where it has that form, and is replaced by its compiled form when that is ready.

Knows nothing about HTTP. Shapes: B rows, T tokens of a draw.
"""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from shakespeare_gen.generation import texts
from shakespeare_gen.generation.batch import size_at_least
from shakespeare_gen.generation.decoding import Decoder
from shakespeare_gen.generation.stopping import Part
from shakespeare_gen.generation.texts import Text

ROW_SIZES = (1, 8, 32)
MAX_ROWS = ROW_SIZES[-1]
# A draw takes about this time: one that newcomers take part in, which have no character yet; one of
# several texts, for whose end newcomers wait; and one of a text alone. Each draw has a cost of its
# own, so that longer ones are more efficient.
FIRST_SECONDS, SHARED_SECONDS, ALONE_SECONDS = 0.01, 0.025, 0.04
FEW_TOKENS = 16  # of a draw at least, unless it takes `SLOW_SECONDS`
SLOW_SECONDS = 0.2

Event = tuple[int, Part]
_NO_TOKENS = (np.zeros(0, np.int32), np.zeros(0, np.float32))


@dataclasses.dataclass(eq=False)
class Job:
    """The texts of one request.

    Attributes:
      take: receives parts with the number of their text, or the error that ended the job; called
        by the thread of the engine.
      deadline: the time of `time.monotonic` at which texts end.
    """

    texts: Sequence[Text]
    take: Callable[[list[Event] | Exception], None]
    deadline: float
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Ends the texts; nothing is received after the current draw."""
        self.is_cancelled = True


@dataclasses.dataclass(frozen=True, eq=False)
class _Place:
    """A text in the batch or in the queue."""

    job: Job
    number: int

    @property
    def text(self) -> Text:
        return self.job.texts[self.number]

    @property
    def is_over(self) -> bool:
        return self.job.is_cancelled or not self.text.stopper.num_left


class Engine:
    """Draws texts with `decoder` in a thread of its own.

    Args:
      observe: called after each draw with the number of rows and of tokens of all rows.
    """

    def __init__(self, decoder: Decoder, observe: Callable[[int, int], None]) -> None:
        self._decoder, self._observe = decoder, observe
        self._batch = decoder.new_batch()
        self._places: list[_Place] = []  # of the rows of the batch
        self._queue: deque[_Place] = deque()
        self._replacement: Decoder | None = None
        self._is_closed = False
        self._condition = threading.Condition()
        self._has_newcomers = False
        self._token_seconds: dict[int, float] = {}  # duration of a token, by the number of rows
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queues the texts of a job."""
        with self._condition:
            self._queue.extend(_Place(job, number) for number in range(len(job.texts)))
            self._condition.notify()

    def replace(self, decoder: Decoder) -> None:
        """Draws with another decoder of the same weights, from the next draw on."""
        with self._condition:
            self._replacement = decoder
            self._condition.notify()

    def close(self) -> None:
        """Ends the thread when no text is left."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()

    def _run(self) -> None:
        while self._wait():
            try:
                self._change()
                if self._places:
                    self._draw()
            except Exception as error:
                logging.exception("drawing failed")
                self._fail(error)

    def _wait(self) -> bool:
        """Waits for work; returns False at the end."""
        with self._condition:
            while not (self._places or self._queue or self._replacement or self._is_closed):
                self._condition.wait()
            return bool(self._places or self._queue or not self._is_closed)

    def _change(self) -> None:
        """Texts that ended leave the batch, and waiting ones join it."""
        self._end_overdue()
        kept = [i for i, place in enumerate(self._places) if not place.is_over]
        with self._condition:
            replacement, self._replacement = self._replacement, None
            joining = self._joining(MAX_ROWS - len(kept))
        if not joining and replacement is None and len(kept) == len(self._places):
            return
        if replacement is not None:
            self._decoder = replacement
            replacement.adopt(self._batch)
        self._batch.change(kept, [texts.row(place.text, self._decoder) for place in joining])
        self._places = [*(self._places[i] for i in kept), *joining]
        self._has_newcomers = bool(joining)

    def _joining(self, num_free: int) -> list[_Place]:
        """The next waiting texts; those without any token to draw end here."""
        found: list[_Place] = []
        while self._queue and len(found) < num_free:
            place = self._queue.popleft()
            if not place.is_over:
                found.append(place)
            elif not place.job.is_cancelled:
                place.job.take([(place.number, place.text.stopper.feed(*_NO_TOKENS))])
        return found

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if now > place.job.deadline and not place.is_over:
                place.job.take([(place.number, place.text.stopper.end("length"))])

    def _draw(self) -> None:
        began, num_rows = time.monotonic(), len(self._batch)
        limit = min(self._num_tokens(), self._decoder.max_chunk_tokens(self._batch))
        num_left = max(place.text.stopper.num_left for place in self._places)
        ids, nats = self._decoder.draw(self._batch, min(limit, num_left))
        events: dict[Job, list[Event]] = {}
        for place, *drawn in zip(self._places, ids, nats, strict=True):
            part = place.text.stopper.feed(*drawn)
            if part.pieces or part.finish_reason:
                events.setdefault(place.job, []).append((place.number, part))
        for job, own in events.items():
            if not job.is_cancelled:
                job.take(own)
        self._observe(num_rows, ids.size)
        self._measure((time.monotonic() - began) / ids.shape[1])
        self._has_newcomers = False

    def _num_tokens(self) -> int:
        """How many tokens to draw, by the duration of earlier draws of as many rows."""
        seconds = self._token_seconds.get(self._size)
        if seconds is None:
            return FEW_TOKENS
        shared = ALONE_SECONDS if len(self._places) == 1 else SHARED_SECONDS
        limit = FIRST_SECONDS if self._has_newcomers else shared
        fewest = min(FEW_TOKENS, SLOW_SECONDS / seconds)
        return max(int(max(limit / seconds, fewest)), 1)

    def _measure(self, seconds: float) -> None:
        """Takes note of the duration of a token; the last draws count most."""
        before = self._token_seconds.get(self._size, seconds)
        self._token_seconds[self._size] = (before + seconds) / 2

    @property
    def _size(self) -> int:
        return size_at_least(len(self._places), ROW_SIZES)

    def _fail(self, error: Exception) -> None:
        """Ends every job of the batch with an error."""
        for job in {place.job for place in self._places}:
            job.cancel()
            job.take(error)
        self._places, self._batch = [], self._decoder.new_batch()
