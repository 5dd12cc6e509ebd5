"""Trains the runs of a sweep in processes of their own, several at a time.

Each process has an equal share of the cores, which is faster than one training on all of them.
Their logs are passed on line by line, with the seed in front. Does not import TensorFlow.
"""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from absl import logging

from shakespeare_gen.errors import Interrupted, UserError
from shakespeare_gen.options import Options, spelling
from shakespeare_gen.options.groups import TrainingOptions
from shakespeare_gen.system.signals import SAVING, Interruption

_POLL_SECONDS = 0.1
_OF_THE_SWEEP = ("seeds", "num_parallel")


def train(planned: Sequence[Options], num_parallel: int) -> None:
    """Trains one run per element of `planned`, `num_parallel` at a time.

    Raises:
      UserError: a run failed; the others are trained nevertheless.
      Interrupted: Ctrl-C or SIGTERM; every process has saved a checkpoint.
    """
    with Interruption(SAVING) as interruption, interruption.deferred():
        codes = dict(_exit_codes(planned, _shares(num_parallel), interruption))
    failed = [f"seed {seed} (exit code {code})" for seed, code in codes.items() if code]
    if failed:
        raise UserError(
            f"expected {spelling.count(len(planned), 'run')} to be trained, "
            f"{len(failed)} failed: {', '.join(failed)}; the log says why"
        )


def _exit_codes(
    planned: Sequence[Options], shares: Sequence[Sequence[int]], interruption: Interruption
) -> Iterator[tuple[int, int]]:
    """The seed and the exit code of each run, as it ends; one run at a time on each share."""
    waiting = list(planned)
    running: dict[int, _Process] = {}
    while waiting or running:
        for i, share in enumerate(shares):
            if i not in running and waiting:
                running[i] = _Process(waiting.pop(0), share)
        time.sleep(_POLL_SECONDS)
        _stop_if_interrupted(interruption, list(running.values()))
        for i, process in list(running.items()):
            if (code := process.exit_code()) is not None:
                del running[i]
                yield process.seed, code


def _stop_if_interrupted(interruption: Interruption, processes: Sequence["_Process"]) -> None:
    try:
        interruption.check()
    except Interrupted as stop:
        for process in processes:
            process.signal(stop.signal_number)
        for process in processes:
            process.wait()
        raise


class _Process:
    """The training of one run."""

    def __init__(self, options: Options, cores: Sequence[int]) -> None:
        self.seed = options[TrainingOptions].seed
        self._process = subprocess.Popen(
            _command(options),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C goes to this process, which passes it on
        )
        if cores:
            os.sched_setaffinity(self._process.pid, cores)
        self._log = threading.Thread(target=self._pass_on, daemon=True)
        self._log.start()

    def _pass_on(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            logging.info("seed %d: %s", self.seed, line.rstrip("\n"))

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


def _command(options: Options) -> list[str]:
    """The command that trains one run of a sweep."""
    given = {
        name: value
        for name, value in options.by_name().items()
        if name in options.given and name not in _OF_THE_SWEEP
    }
    return [sys.executable, *shlex.split(spelling.command_line("train", given))[1:]]


def _shares(num_parallel: int) -> list[list[int]]:
    """The cores of each process; empty where a system has no affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(num_parallel)]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < num_parallel:
        return [cores for _ in range(num_parallel)]
    return [cores[i::num_parallel] for i in range(num_parallel)]
