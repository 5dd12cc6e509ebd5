"""What all requests of a server share. Knows nothing about HTTP."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shakespeare_gen.serving.catalog import Catalog, loader, named
from shakespeare_gen.serving.failures import unavailable
from shakespeare_gen.serving.metrics import Metrics
from shakespeare_gen.serving.prompts import PromptStore

NUM_READERS = 2  # threads that read prompts and score texts


class Service:
    """The models, the stored prompts and the metrics of a server.

    Attributes:
      state: `loading`, `ready` or `shutting down`.
      listeners: called with the error that ends texts before their time.
    """

    def __init__(
        self,
        run_dir: list[str],
        load: tuple[str, str] = ("best", "auto"),
        max_models: int = 4,
        prompt_cache_bytes: int = 64 << 20,
        max_request_seconds: float = 120.0,
        precision: str = "float32",
    ) -> None:
        self.prompts = PromptStore(prompt_cache_bytes)
        self.metrics = Metrics(
            lambda: sum(each.num_waiting for each in self.catalog.admissions),
            lambda: self.num_inside,
            lambda: self.prompts.num_bytes,
        )
        self.catalog = Catalog(
            named(run_dir), loader(*load), max_models, precision, self.metrics.count_draw
        )
        self.max_request_seconds = max_request_seconds
        self.state = "loading"
        self.listeners: set[Callable[[Exception], None]] = set()
        self._readers = ThreadPoolExecutor(NUM_READERS, "reader")

    def check_is_ready(self) -> None:
        """Raises `RequestError` while the server is loading or shutting down."""
        if self.state != "ready":
            raise unavailable(self.state)

    async def run(self, function: Callable, *arguments: Any) -> Any:
        """Calls a function in a thread for reading."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    def now(self) -> int:
        """The time in seconds since 1970."""
        return int(time.time())

    @property
    def num_inside(self) -> int:
        """Requests that run or wait."""
        return sum(each.num_inside for each in self.catalog.admissions)

    def stop_writing(self) -> None:
        """Ends every text with an error."""
        for listener in list(self.listeners):
            listener(unavailable(self.state))

    def close(self) -> None:
        """Ends the threads when their work has ended."""
        self.catalog.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
