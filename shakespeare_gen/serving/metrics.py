"""Counters of the server, in the format of Prometheus. Knows nothing about HTTP."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_ROWS = (1, 2, 4, 8, 16, 32)
_PREFIX = "shakespeare_gen"


class Metrics:
    """The metrics of one server.

    Args:
      num_waiting, num_running, num_prompt_bytes: called when the metrics are read.
    """

    def __init__(
        self,
        num_waiting: Callable[[], int],
        num_running: Callable[[], int],
        num_prompt_bytes: Callable[[], int],
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = self._counter("requests", "responses", "endpoint", "status")
        self._characters = self._counter("characters", "generated characters", "model")
        self._tokens = self._counter("drawn_tokens", "drawn tokens, of all texts")
        self._rows = self._histogram("batch_rows", "texts drawn together", _ROWS)
        self._first = self._histogram("first_character_seconds", "time to the first character")
        self._seconds = self._histogram("request_seconds", "duration of requests", None, "endpoint")
        self._gauge("waiting_requests", "requests that wait for others", num_waiting)
        self._gauge("running_requests", "requests that run or wait", num_running)
        self._gauge("prompt_cache_bytes", "size of the stored states of prompts", num_prompt_bytes)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple | None = None, *labels: str
    ) -> Histogram:
        return Histogram(
            f"{_PREFIX}_{name}", text, labels, buckets=buckets or _SECONDS, registry=self._registry
        )

    def _gauge(self, name: str, text: str, value: Callable[[], int]) -> None:
        Gauge(f"{_PREFIX}_{name}", text, registry=self._registry).set_function(value)

    def count_response(self, endpoint: str, status: int, seconds: float) -> None:
        """Counts a response when it has ended."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def count_characters(self, model: str, count: int) -> None:
        """Counts generated characters."""
        self._characters.labels(model).inc(count)

    def count_first_character(self, seconds: float) -> None:
        """Records the time from a request to its first character."""
        self._first.observe(seconds)

    def count_draw(self, num_rows: int, num_tokens: int) -> None:
        """Counts one draw of a batch."""
        self._rows.observe(num_rows)
        self._tokens.inc(num_tokens)

    def text(self) -> bytes:
        """All metrics."""
        return generate_latest(self._registry)
