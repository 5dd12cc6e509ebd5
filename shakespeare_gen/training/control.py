"""What may end a training run before its last epoch: a signal, or a request after an epoch.

Knows nothing about models and callbacks.
"""

import dataclasses
from collections.abc import Callable

from shakespeare_gen.runs import Run
from shakespeare_gen.system.signals import Interruption


def never(run: Run) -> str:
    """No reason to stop."""
    return ""


@dataclasses.dataclass(frozen=True)
class Control:
    """What may end a run early.

    Attributes:
      interruption: the signals; the run is saved, and can be resumed.
      reason_to_stop: called after each epoch, with its metrics in the run folder; a reason, which
        is noted on the run card of the finished run, or "" to go on.
    """

    interruption: Interruption
    reason_to_stop: Callable[[Run], str] = never
