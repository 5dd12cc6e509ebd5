"""The addresses of all workers and the position of this one. Knows no networks.

    cluster = cluster.find(options[WorkerOptions])     # None: this process works alone

`TF_CONFIG` is JSON, as Kubernetes operators and Vertex AI set it:

    {"cluster": {"worker": ["10.0.0.1:9000", "10.0.0.2:9000"]},
     "task": {"type": "worker", "index": 0}}
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.groups import WorkerOptions
from shakespeare_gen.options.groups.limits import MAX_WORKERS

VARIABLE = "TF_CONFIG"
LOCAL = "local"  # the environment of workers that `processes` started
JOBS = ("chief", "master", "worker")  # in their order: the first one is the chief
_ADDRESS = re.compile(r"(?P<host>[^\s,/:\[\]]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """All workers, and which of them this process is.

    Attributes:
      addresses: `host:port` of each worker; the first one is the chief.
      is_local: whether all of them were started by one command on this machine.
    """

    addresses: tuple[str, ...]
    index: int
    is_local: bool = False

    @property
    def size(self) -> int:
        """The number of workers."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process alone writes files."""
        return self.index == 0

    def name(self, index: int) -> str:
        """A worker, for messages."""
        return f"worker {index} ({self.addresses[index]})"


def find(options: WorkerOptions, environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """The workers that flags or `TF_CONFIG` name; None if there is only this process.

    Raises:
      UsageError: an address or the position is invalid.
    """
    if options.workers:
        addresses = options.workers.split(",")
        found = _checked(addresses, options.worker_index, "workers")
    elif VARIABLE in environment:
        found = _from_json(environment[VARIABLE])
        if found.size > 1 and options.num_local_workers > 1 and not found.is_local:
            raise UsageError(
                f"num_local_workers: expected 1 with {VARIABLE}, which names {found.size} "
                f"workers, received {options.num_local_workers}"
            )
    else:
        return None
    return found if found.size > 1 else None


def to_json(cluster: Cluster) -> str:
    """The value of `TF_CONFIG` for workers on this machine."""
    task = {"type": "worker", "index": cluster.index}
    workers = {"worker": list(cluster.addresses)}
    return json.dumps({"cluster": workers, "task": task, "environment": LOCAL})


def split(address: str) -> tuple[str, int]:
    """The host and the port of a valid address."""
    match = _ADDRESS.fullmatch(address)
    assert match is not None
    return match["host"].strip("[]"), int(match["port"])


def _from_json(text: str) -> Cluster:
    try:
        value = json.loads(text)
        jobs, task = value["cluster"], value["task"]
        if unknown := sorted(set(jobs) - {*JOBS, "evaluator"}):
            raise UsageError(
                f"{VARIABLE}: expected the jobs {', '.join(JOBS)}, received {unknown[0]!r}"
            )
        kinds = [kind for kind in JOBS if kind in jobs]
        addresses = [address for kind in kinds for address in jobs[kind]]
        if task["type"] not in kinds:
            raise UsageError(
                f"{VARIABLE}: expected a task of type {' or '.join(kinds)}, "
                f"received {task['type']!r}"
            )
        before = kinds[: kinds.index(task["type"])]
        index = int(task["index"])
        if not 0 <= index < len(jobs[task["type"]]):
            index = len(addresses)  # out of range
        else:
            index += sum(len(jobs[kind]) for kind in before)
        is_local = value.get("environment") == LOCAL
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f'{VARIABLE}: expected JSON such as {{"cluster": {{"worker": ["host:port", …]}}, '
            f'"task": {{"type": "worker", "index": 0}}}}, received {text[:200]!r}'
        ) from None
    return _checked(addresses, index, VARIABLE, is_local)


def _checked(addresses: list[Any], index: int, source: str, is_local: bool = False) -> Cluster:
    for address in addresses:
        match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
        if match is None or not 0 < int(match["port"]) < 2**16:
            raise UsageError(f"{source}: expected addresses host:port, received {address!r}")
    if len(set(addresses)) < len(addresses):
        raise UsageError(f"{source}: expected different addresses, received {','.join(addresses)}")
    if len(addresses) > MAX_WORKERS:
        raise UsageError(
            f"{source}: expected at most {MAX_WORKERS} workers, received {len(addresses)}"
        )
    if not 0 <= index < len(addresses):
        where = "worker_index" if source == "workers" else source
        raise UsageError(
            f"{where}: expected an index below the number of workers ({len(addresses)}), "
            "received a larger one"
        )
    return Cluster(tuple(addresses), index, is_local)
