"""The workers of one machine: a process for each, with its share of the cores.

    exit_code = processes.run("train", flags, num_workers=2)

The first one, the chief, speaks for all: its output and its log are those of this process. Does
not import TensorFlow.
"""

import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from shakespeare_gen.errors import Interrupted
from shakespeare_gen.system.signals import Interruption
from shakespeare_gen.training.sweep_processes import POLL_SECONDS, Job, Process, shares
from shakespeare_gen.training.workers import cluster
from shakespeare_gen.training.workers.cluster import Cluster

HOST = "127.0.0.1"
# A worker that does not end by itself after another one, because it was stopped, is killed.
END_SECONDS = 30.0


def run(verb: str, flags: Mapping[str, Any], num_workers: int) -> int:
    """Runs a command in `num_workers` processes, and returns the exit code of the chief.

    A signal is passed on to all of them, and they end in their own way, such as by saving.
    """
    addresses = tuple(f"{HOST}:{port}" for port in _free_ports(num_workers))
    jobs = [
        Job(
            f"worker {index}" if index else "",
            verb,
            flags,
            {cluster.VARIABLE: cluster.to_json(Cluster(addresses, index))},
        )
        for index in range(num_workers)
    ]
    try:
        with Interruption() as interruption, interruption.deferred():
            cores = shares(num_workers)
            workers = [Process(job, share) for job, share in zip(jobs, cores, strict=True)]
            _wait(workers, interruption)
    except Interrupted:
        pass  # the chief has ended with the exit code of the signal, and said so
    code = workers[0].exit_code()
    assert code is not None
    return 128 - code if code < 0 else code


def _wait(workers: Sequence[Process], interruption: Interruption) -> None:
    is_told, deadline = False, float("inf")
    while (codes := [worker.exit_code() for worker in workers]).count(None):
        if interruption.received and not is_told:
            is_told = True
            for worker in workers:
                worker.signal(interruption.received)
        if deadline == float("inf") and any(code is not None for code in codes):
            deadline = time.monotonic() + END_SECONDS
        if time.monotonic() >= deadline:
            for worker in workers:
                worker.signal(signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _free_ports(number: int) -> list[int]:
    """Ports that nothing listens on."""
    servers = [socket.create_server((HOST, 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports
