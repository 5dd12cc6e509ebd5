"""How many threads NumPy's matrix products use.

Knows nothing about models.

    with single_threaded_products():
        y = x @ weights
"""

import contextlib
import functools
import threading
from collections.abc import Iterator

import numpy  # noqa: F401 (the libraries of NumPy are looked up once it is loaded)
import threadpoolctl

_lock = threading.Lock()
_num_inside = 0
_limit: contextlib.AbstractContextManager | None = None


@contextlib.contextmanager
def single_threaded_products() -> Iterator[None]:
    """A context in which NumPy's products use one thread, in all threads of the process.

    The product of one step takes tens of microseconds. Spread over two cores it is up to twice as
    fast on an idle machine, but sixty times as slow where another process uses a core, because
    the threads of OpenBLAS wait for each other.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()


def _enter() -> None:
    global _num_inside, _limit
    with _lock:
        if not _num_inside:
            _limit = _controller().limit(limits=1, user_api="blas")
        _num_inside += 1


def _leave() -> None:
    global _num_inside, _limit
    with _lock:
        _num_inside -= 1
        if not _num_inside and _limit is not None:
            _limit.__exit__(None, None, None)
            _limit = None
