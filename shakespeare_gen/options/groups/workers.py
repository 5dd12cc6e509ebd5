"""The options of work that several processes or devices share."""

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.fields import OptionGroup, option
from shakespeare_gen.options.groups.limits import MAX_WORKERS


class WorkerOptions(OptionGroup):
    """The processes that share each batch, on this machine or on several."""

    TITLE = "Several workers"

    num_local_workers: int = option(
        1, "number of processes on this machine that share each batch", minimum=1, maximum=64
    )
    workers: str = option(
        "",
        "addresses host:port of all workers, separated by commas, the same on each of them; the "
        "first one is the chief, which alone writes files; empty: those in the environment "
        "variable TF_CONFIG, if it is set",
    )
    worker_index: int = option(
        -1,
        "position of this process in workers, starting with 0",
        minimum=-1,
        maximum=MAX_WORKERS,
    )
    worker_wait_seconds: float = option(
        30.0, "seconds to wait at the start until all workers have arrived", above=0
    )

    def check_combinations(self) -> None:
        if self.workers and self.num_local_workers > 1:
            raise UsageError(
                "`workers` and `num_local_workers`: expected one of them, received both"
            )
        if bool(self.workers) != (self.worker_index >= 0):
            raise UsageError(
                "`workers` and `worker_index`: expected both or neither, received "
                f"{self.workers!r} and {self.worker_index}"
            )


class DeviceOptions(OptionGroup):
    """The devices of this machine that share each batch."""

    TITLE = "Several devices"

    devices: str = option(
        "one",
        "devices of each process that share its part of the batch: one, or all of its GPUs",
        choices=("one", "all"),
    )
