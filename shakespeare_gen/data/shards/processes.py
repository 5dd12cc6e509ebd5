"""Runs jobs in parallel processes.

    for job, result in run(count, [(unit, options), ...], num_processes=2): ...

A process that is killed ends all of them with an error. They end when their parent does. Knows
nothing about the jobs.
"""

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from shakespeare_gen.errors import UserError

Job = tuple[Any, ...]


def run(
    function: Callable[..., Any], jobs: Iterable[Job], num_processes: int
) -> Iterator[tuple[Job, Any]]:
    """The results of a function of a module, in the order in which they are ready.

    Args:
      jobs: the arguments of each call; taken one by one, when a process is free.

    Raises:
      UserError: a process was killed, or the function has raised one.
    """
    if num_processes <= 1:
        for job in jobs:
            yield job, function(*job)
        return
    with _pool(num_processes) as pool:
        left, waiting = iter(jobs), dict[concurrent.futures.Future, Job]()
        for job in itertools.islice(left, num_processes + 1):  # one waits for the first free one
            waiting[pool.submit(function, *job)] = job
        while waiting:
            done, _ = concurrent.futures.wait(waiting, return_when="FIRST_COMPLETED")
            for future in done:
                job = waiting.pop(future)
                yield job, _result(future)
                for following in itertools.islice(left, 1):
                    waiting[pool.submit(function, *following)] = following


def _result(future: concurrent.futures.Future) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        raise UserError(
            "a process was killed, perhaps for lack of memory; run the command again to continue"
        ) from None


@contextlib.contextmanager
def _pool(num_processes: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    before = {*multiprocessing.active_children()}
    # Not forked: TensorFlow may have been imported, and has threads.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(num_processes, context, _start)
    try:
        yield pool
        pool.shutdown()
    finally:
        for process in {*multiprocessing.active_children()} - before:
            process.terminate()  # after an error or a signal, unfinished jobs do not matter
        pool.shutdown(wait=False, cancel_futures=True)


def _start() -> None:
    """Prepares a new process: Ctrl-C is for its parent, and it must not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
