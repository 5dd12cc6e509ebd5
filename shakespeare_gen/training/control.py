"""What may end a training run before its last epoch, a signal or a request after an epoch, and who
watches it.

Knows nothing about models and callbacks.
"""

import dataclasses
from collections.abc import Callable

from shakespeare_gen.runs import Run
from shakespeare_gen.system.signals import Interruption

# Called with a run, the number of its steps that are done, and the number of all steps.
Watcher = Callable[[Run, int, int], None]


def never(run: Run) -> str:
    """No reason to stop."""
    return ""


def unwatched(run: Run, step: int, num_steps: int) -> None:
    """Shows nothing."""


@dataclasses.dataclass(frozen=True)
class Control:
    """What may end a run early, and who watches it.

    Attributes:
      interruption: the signals; the run is saved, and can be resumed.
      reason_to_stop: called after each epoch, with its metrics in the run folder; a reason, which
        is noted on the run card of the finished run, or "" to go on.
      watch: called after each step and each epoch; the run folder has the metrics so far.
    """

    interruption: Interruption
    reason_to_stop: Callable[[Run], str] = never
    watch: Watcher = unwatched
