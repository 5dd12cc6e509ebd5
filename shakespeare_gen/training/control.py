"""What may end a training run before its last epoch, a signal or a request after an epoch; who
watches it, and who decides with this process.

Knows nothing about models and callbacks.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from shakespeare_gen.runs import Run
from shakespeare_gen.system.signals import Interruption

# Called with a run, the number of its steps that are done, and the number of all steps.
Watcher = Callable[[Run, int, int], None]
if TYPE_CHECKING:  # importing TensorFlow takes seconds
    from shakespeare_gen.training.workers.team import Team


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
      team: the workers that train the same run; None: this process alone. With a team, a signal
        takes effect for all of them, after a step.
    """

    interruption: Interruption
    reason_to_stop: Callable[[Run], str] = never
    watch: Watcher = unwatched
    team: "Team | None" = None

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder."""
        return self.team is None or self.team.is_chief

    def check(self) -> None:
        """Raises `Interrupted` if a signal has arrived, unless other workers must stop too."""
        if self.team is None:
            self.interruption.check()

    def naming_the_lost(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the loss of another worker is a `WorkerLostError`."""
        return self.team.naming_the_lost() if self.team else contextlib.nullcontext()

    def deferred(self) -> contextlib.AbstractContextManager[None]:
        """A context at whose end a signal takes effect, unless other workers must stop too."""
        return self.interruption.deferred() if self.team is None else contextlib.nullcontext()
