"""The attempts at a trial: a trial whose worker was stopped or killed is tried again.

A later attempt is another trial of Optuna, with the same options. All attempts have the same index,
which names their run folder, so that a later one continues from the last checkpoint. Knows nothing
about training.
"""

import warnings
from collections.abc import Sequence

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

INDEX = "index"  # attributes of a trial
_SURPLUS = "surplus"
MAX_TRIES = 20

with warnings.catch_warnings():
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    AGAIN = RetryHeartbeatStaleTrialCallback(max_retry=MAX_TRIES)


def retry(study: optuna.Study, number: int) -> None:
    """Queues a trial that was not finished, with its options."""
    [trial] = [t for t in study.get_trials() if t.number == number]
    AGAIN(study, trial)


def index_of(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """The place of a trial among all that were started, from 0; that of the first attempt."""
    original = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    number = trial.number if original is None else original
    return sum(t.number < number for t in originals(trials))


def originals(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The first attempts."""
    found = RetryHeartbeatStaleTrialCallback.retried_trial_number
    return [t for t in trials if found(t) is None and _SURPLUS not in t.user_attrs]


def last(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The last attempt at each trial, by index."""
    counted = [t for t in trials if _SURPLUS not in t.user_attrs]
    return dict(sorted((index_of(t, trials), t) for t in counted))


def leave_out(trial: optuna.Trial) -> None:
    """Marks a trial that does not count."""
    trial.set_user_attr(_SURPLUS, True)
