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
from collections.abc import Sequence

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
    shares = _shares(num_parallel)
    waiting, failed = list(planned), []
    running: dict[int, _Process] = {}
    with Interruption(SAVING) as interruption, interruption.deferred():
        while waiting or running:
            for share in range(num_parallel):
                if share not in running and waiting:
                    running[share] = _Process(waiting.pop(0), shares[share])
            time.sleep(_POLL_SECONDS)
            try:
                interruption.check()
            except Interrupted as stop:
                _stop(list(running.values()), stop.signal_number)
                raise
            for share, process in list(running.items()):
                code = process.exit_code()
                if code is not None:
                    del running[share]
                    failed += [f"seed {process.seed} (exit code {code})"] if code else []
    if failed:
        raise UserError(
            f"expected {spelling.count(len(planned), 'run')} to be trained, "
            f"{len(failed)} failed: {', '.join(failed)}; the log says why"
        )


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


def _stop(processes: Sequence[_Process], signal_number: int) -> None:
    for process in processes:
        process.signal(signal_number)
    for process in processes:
        process.wait()
