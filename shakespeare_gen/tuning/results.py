"""A study as plain values, as a recipe, and as files. Knows how Optuna stores trials.

outcome = results.outcome(study, plan)
results.write(outcome, plan)
"""

import pathlib
import statistics

import optuna
from absl import logging
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from shakespeare_gen.models import loss_units
from shakespeare_gen.options import spelling
from shakespeare_gen.report import study_page
from shakespeare_gen.report.outcome import COMPLETE, PRUNED, Outcome, Trial
from shakespeare_gen.system import storage
from shakespeare_gen.tuning import attempts, trials
from shakespeare_gen.tuning.space import Range
from shakespeare_gen.tuning.trials import Plan

MIN_TRIALS = 4  # complete ones, for importances
MIN_GOOD_TRIALS = 5  # whose options are compared with those of all trials
BEST, PAGE, JSON = "best.cfg", "study.html", "study.json"
_STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def outcome(study: optuna.Study, plan: Plan) -> Outcome:
    """The outcome of a study so far."""
    last = attempts.last(study.get_trials(deepcopy=False))
    dimensions = plan.space.dimensions
    return Outcome(
        name=study.study_name,
        trials=[_trial(plan.folder(index).name, trial) for index, trial in last.items()],
        options=list(dimensions),
        log_options=frozenset(
            name for name, found in dimensions.items() if isinstance(found, Range) and found.log
        ),
        importances=_importances(study),
    )


def _trial(name: str, trial: FrozenTrial) -> Trial:
    found = trial.user_attrs
    losses = [loss for loss in found.get(trials.LOSSES, []) if loss is not None]
    is_complete = trial.state == TrialState.COMPLETE
    return Trial(
        name=name,
        state=_STATES[trial.state],
        values=dict(trial.params),
        loss=trial.value if is_complete else _last(trial.intermediate_values),
        deviation=statistics.stdev(losses) if is_complete and len(losses) > 1 else None,
        epochs=found.get(trials.EPOCHS, len(trial.intermediate_values)),
        seconds=found.get(trials.SECONDS, 0.0),
        error=found.get(trials.ERROR, ""),
    )


def _last(values: dict[int, float]) -> float | None:
    return values[max(values)] if values else None


def _importances(study: optuna.Study) -> dict[str, float]:
    """The importance of each option (PED-ANOVA, Watanabe et al. 2023, arXiv 2304.10255)."""
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(complete) < MIN_TRIALS or len({trial.value for trial in complete}) < 2:
        return {}
    share = min(0.5, max(0.1, MIN_GOOD_TRIALS / len(complete)))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(importance) for name, importance in found.items()}


def write(found: Outcome, plan: Plan) -> None:
    """Writes the page, the JSON file and the recipe of the best trial into the study's folder."""
    files = {
        PAGE: study_page.render(found).encode(),
        JSON: storage.to_json(found.to_json()),
    }
    if found.best:
        files[BEST] = recipe(found.best, found, plan).encode()
    for name, data in files.items():
        storage.write(plan.study_dir / name, data)
        logging.info("%s", plan.study_dir / name)


def recipe_path(plan: Plan) -> pathlib.Path:
    """The recipe of the best trial."""
    return plan.study_dir / BEST


def recipe(best: Trial, found: Outcome, plan: Plan) -> str:
    """The flags of a trial, as a file for `flagfile`."""
    assert best.loss is not None
    fixed = {name: v for name, v in plan.base.by_name().items() if name in plan.base.given}
    flags = spelling.flags({**fixed, **best.values, "run_dir": str(plan.study_dir / "best")})
    long = [flag for flag in flags if "\n" in flag]  # a line of the file is a flag
    for flag in long:
        logging.warning("%s: no line for a value of several lines: %s", BEST, flag.split("=")[0])
    comments = [
        f"The best of {spelling.count(len(found.trials), 'trial')} of the study {found.name}: "
        f"{best.name},",
        f"validation {loss_units.describe(best.loss)}{_seeds(plan)}.",
        "",
        f"  {spelling.command_line('train', {'flagfile': str(recipe_path(plan))})}",
    ]
    return "\n".join(
        [*(f"# {line}".rstrip() for line in comments), *(f for f in flags if f not in long), ""]
    )


def _seeds(plan: Plan) -> str:
    return f", the mean of seeds {', '.join(map(str, plan.seeds))}" if plan.seeds else ""
