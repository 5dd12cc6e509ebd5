"""From prompts to parts of texts: the bridge between the event loop and the engine's thread.

A request that is cancelled stops its reading and its drawing. Knows nothing about JSON.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Sequence

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.generation import Request, texts
from shakespeare_gen.generation.reading import State
from shakespeare_gen.generation.stopping import Part
from shakespeare_gen.generation.texts import Text
from shakespeare_gen.serving import prompts
from shakespeare_gen.serving.catalog import Served
from shakespeare_gen.serving.engine import Event, Job
from shakespeare_gen.serving.failures import RequestError
from shakespeare_gen.serving.prompts import Prompt
from shakespeare_gen.serving.service import Service

MAX_UNREAD = 1024  # draws of a text whose client does not read


class _Cancelled(Exception):
    """Ends a reading in its thread."""


async def read(
    service: Service, served: Served, every: Sequence[Prompt], is_kept: bool
) -> list[State]:
    """The states after prompts.

    Args:
      is_kept: store the states.
    """
    is_cancelled = threading.Event()

    def check() -> None:
        if is_cancelled.is_set():
            raise _Cancelled

    def read_all() -> list[State]:
        store, reader = service.prompts, served.reader
        return [prompts.read(store, served.key, reader, prompt, is_kept, check) for prompt in every]

    try:
        return await service.run(read_all)
    finally:
        is_cancelled.set()


def begin(request: Request, states: Sequence[State], tokenizer: Tokenizer) -> list[Text]:
    """The texts of a request for each of `states`."""
    return [text for state in states for text in texts.begin(request, state, tokenizer)]


async def parts(
    service: Service, served: Served, every: Sequence[Text]
) -> AsyncIterator[tuple[int, Part]]:
    """Yields the parts of texts with their numbers, until all have ended.

    Raises:
      Exception: what failed while drawing.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[list[Event] | Exception] = asyncio.Queue()
    deadline = time.monotonic() + service.max_request_seconds

    def take(item: list[Event] | Exception) -> None:
        if queue.qsize() > MAX_UNREAD:
            job.cancel()
            item = RequestError(400, "the client reads more slowly than the text is written")
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(queue.put_nowait, item)

    job = Job(every, take, deadline)
    service.listeners.add(queue.put_nowait)
    served.engine.submit(job)
    num_left = len(every)
    try:
        while num_left:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            for number, part in item:
                num_left -= part.finish_reason is not None
                service.metrics.count_characters(served.name, len(part.text))
                yield number, part
    finally:
        job.cancel()
        service.listeners.discard(queue.put_nowait)
