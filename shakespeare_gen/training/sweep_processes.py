"""Runs commands in processes of their own, several at a time.

    run([training("seed 0", options), ...], num_parallel=2)

Each process has an equal share of the cores, which is faster than one training on all of them.
Their logs are passed on line by line, with the label in front. Does not import TensorFlow.
"""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from shakespeare_gen.errors import Interrupted, UserError
from shakespeare_gen.options import Options, spelling
from shakespeare_gen.system.signals import SAVING, Interruption

POLL_SECONDS = 0.1
_OF_THE_SWEEP = ("seeds", "num_parallel")


class Job(NamedTuple):
    """A command of this package.

    Attributes:
      label: precedes the lines of its log; "": the process speaks for this one, to its output.
      environment: variables that it has besides those of this process.
    """

    label: str
    verb: str
    flags: Mapping[str, Any]
    environment: Mapping[str, str] = {}


def training(label: str, options: Options) -> Job:
    """The job that trains one run of a sweep."""
    given = {
        name: value
        for name, value in options.by_name().items()
        if name in options.given and name not in _OF_THE_SWEEP
    }
    return Job(label, "train", given)


def run(jobs: Sequence[Job], num_parallel: int) -> None:
    """Runs all jobs, `num_parallel` at a time; their labels differ.

    Raises:
      UserError: a job failed; the others are run nevertheless.
      Interrupted: Ctrl-C or SIGTERM; every process has ended in its own way, such as by saving.
    """
    with Interruption(SAVING) as interruption, interruption.deferred():
        codes = dict(_exit_codes(jobs, shares(num_parallel), interruption))
    failed = [f"{label} (exit code {code})" for label, code in codes.items() if code]
    if failed:
        raise UserError(
            f"expected {spelling.count(len(jobs), 'job')} to succeed, "
            f"{len(failed)} failed: {', '.join(failed)}; the log says why"
        )


def _exit_codes(
    jobs: Sequence[Job], shares: Sequence[Sequence[int]], interruption: Interruption
) -> Iterator[tuple[str, int]]:
    """The label and the exit code of each job, as it ends; one at a time on each share."""
    waiting = list(jobs)
    running: dict[int, Process] = {}
    while waiting or running:
        for i, share in enumerate(shares):
            if i not in running and waiting:
                running[i] = Process(waiting.pop(0), share)
        time.sleep(POLL_SECONDS)
        _stop_if_interrupted(interruption, list(running.values()))
        for i, process in list(running.items()):
            if (code := process.exit_code()) is not None:
                del running[i]
                yield process.label, code


def _stop_if_interrupted(interruption: Interruption, processes: Sequence["Process"]) -> None:
    try:
        interruption.check()
    except Interrupted as stop:
        for process in processes:
            process.signal(stop.signal_number)
        for process in processes:
            process.wait()
        raise


class Process:
    """The process of a job."""

    def __init__(self, job: Job, cores: Sequence[int] = ()) -> None:
        self.label, speaks = job.label, not job.label
        has_terminal = speaks and sys.stderr is not None and sys.stderr.isatty()
        self._process = subprocess.Popen(
            [sys.executable, *shlex.split(spelling.command_line(job.verb, job.flags))[1:]],
            stdin=subprocess.DEVNULL,
            stdout=None if speaks else subprocess.DEVNULL,  # the caller shows results
            stderr=None if has_terminal else subprocess.PIPE,
            env={**os.environ, **job.environment},
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C goes to this process, which passes it on
        )
        if cores:
            os.sched_setaffinity(self._process.pid, cores)
        self._log = threading.Thread(target=self._pass_on, daemon=True)
        self._log.start()

    def _pass_on(self) -> None:
        prefix = f"{self.label}: " if self.label else ""
        for line in self._process.stderr or ():
            logging.info("%s%s", prefix, line.rstrip("\n"))

    def exit_code(self) -> int | None:
        """None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._log.join()
        return code

    def signal(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        self._process.send_signal(number)

    def wait(self) -> None:
        """Waits for its end."""
        self._process.wait()
        self._log.join()


def shares(num_parallel: int) -> list[list[int]]:
    """The cores of each process; empty where a system has no affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(num_parallel)]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < num_parallel:
        return [cores for _ in range(num_parallel)]
    return [cores[i::num_parallel] for i in range(num_parallel)]
