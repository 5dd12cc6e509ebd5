"""The outcome of a study as plain values: its trials, the best one, what mattered.

Knows nothing about samplers, storage and run folders.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from shakespeare_gen.models.loss_units import bits_per_character

COMPLETE, PRUNED = "complete", "pruned"


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial.

    Attributes:
      name: its run folder, without the seed.
      state: `complete`, `pruned`, `failed`, `running` or `waiting`.
      values: the options that were drawn, by name.
      loss: validation loss in nats per character, the mean over seeds; of a pruned trial that of
        its last epoch; None: unknown.
      deviation: the standard deviation over seeds; None: fewer than two.
      error: why it failed.
    """

    name: str
    state: str
    values: Mapping[str, Any]
    loss: float | None = None
    deviation: float | None = None
    epochs: int = 0
    seconds: float = 0.0
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a study so far.

    Attributes:
      log_options: the options that are drawn by their logarithm.
      importances: the share of each option in the differences between trials; empty: too few.
    """

    name: str
    trials: Sequence[Trial]
    options: Sequence[str]
    log_options: frozenset[str] = frozenset()
    importances: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, the best first, then the others."""
        order = {COMPLETE: 0, PRUNED: 1}

        def key(trial: Trial) -> tuple:
            return order.get(trial.state, 2), trial.loss if trial.loss is not None else 0.0

        return sorted(self.trials, key=key)

    @property
    def complete(self) -> list[Trial]:
        """The complete trials, in the order of the study."""
        return [t for t in self.trials if t.state == COMPLETE and t.loss is not None]

    @property
    def best(self) -> Trial | None:
        """The complete trial with the lowest loss."""
        return min(self.complete, key=lambda trial: trial.loss or 0.0, default=None)

    def counts(self) -> dict[str, int]:
        """The number of trials by state."""
        found: dict[str, int] = {}
        for trial in self.trials:
            found[trial.state] = found.get(trial.state, 0) + 1
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        best = self.best
        return {
            "study": self.name,
            "best": best.name if best else None,
            "importances": dict(self.importances),
            "trials": [trial.to_json() for trial in self.trials],
        }


def loss(trial: Trial) -> str:
    """The loss of a trial in bits per character, and its deviation."""
    if trial.loss is None:
        return ""
    shown = f"{bits_per_character(trial.loss):.3f}"
    if trial.deviation is None:
        return shown
    return f"{shown} ± {bits_per_character(trial.deviation):.3f}"


def value(found: Any) -> str:
    """The value of an option."""
    if isinstance(found, bool):
        return "on" if found else "off"
    return f"{found:.4g}" if isinstance(found, float) else str(found)
