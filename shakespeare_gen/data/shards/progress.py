"""Runs a pass over the units of a corpus, and logs how far it is and how fast.

    for job, result in Pass("counting", num_bytes, num_units).results(count, jobs, 2): ...

Knows nothing about what the jobs do.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from absl import logging

from shakespeare_gen.data.shards import processes
from shakespeare_gen.data.shards.processes import Job

LOGGED_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Pass:
    """A pass.

    Attributes:
      what: its name in the log.
      num_bytes: of all units together.
      num_before: the units that an interrupted command has finished; they do not count for the
        speed.
    """

    what: str
    num_bytes: int
    num_units: int
    num_before: int = 0

    def results(
        self, function: Callable, jobs: Iterable[Job], num_processes: int
    ) -> Iterator[tuple[Job, Any]]:
        """The results of a job for each unit; see `processes.run`."""
        began = logged = time.monotonic()
        found = processes.run(function, jobs, min(num_processes, self.num_units))
        for number, result in enumerate(found, 1):
            yield result
            now = time.monotonic()
            if now - logged >= LOGGED_SECONDS or number == self.num_units:
                logged = now
                self._log(number, now - began)

    def _log(self, number: int, seconds: float) -> None:
        megabytes = self.num_bytes / 1e6 / self.num_units
        logging.info(
            "%s: %d of %d parts, %s MB, %.0f MB/s",
            self.what,
            number,
            self.num_units,
            f"{megabytes * number:,.0f}",
            megabytes * max(number - self.num_before, 0) / max(seconds, 1e-3),
        )
