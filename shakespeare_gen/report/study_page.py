"""An HTML page with the outcome of a study: self-contained, offline, light and dark, no script.

Knows trials as plain values.
"""

from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.options import spelling
from shakespeare_gen.report import formatting, outcome, study_charts, templates
from shakespeare_gen.report.outcome import Outcome, Trial

SECTIONS = {
    "importance": "What mattered",
    "slices": "Loss by option",
    "parallel": "All options together",
    "trials": "Trials",
}


def render(found: Outcome) -> str:
    """The page of a study."""
    parallel, slices = study_charts.parallel(found), study_charts.slices(found)
    is_empty = {"importance": not found.importances, "slices": not slices, "parallel": not parallel}
    sections = {name: title for name, title in SECTIONS.items() if not is_empty.get(name)}
    return templates.render(
        "study.html",
        (formatting.percent, outcome.value, outcome.loss, minutes),
        found=found,
        sections=sections,
        verdict=_verdict(found),
        max_loss_ratio=study_charts.MAX_LOSS_RATIO,
        highlights=_highlights(found),
        history=study_charts.history(found),
        slices=slices,
        parallel=parallel,
        style=templates.source("page.css") + templates.source("study.css"),
    )


def minutes(trial: Trial) -> str:
    """The duration of a trial."""
    return f"{trial.seconds / 60:.1f}"


def _verdict(found: Outcome) -> str:
    best, counts = found.best, found.counts()
    shown = ", ".join(f"{number} {state}" for state, number in counts.items())
    total = spelling.count(len(found.trials), "trial")
    if best is None:
        return f"No trial is complete yet ({total}: {shown or 'none'})."
    values = ", ".join(f"{name} {outcome.value(v)}" for name, v in best.values.items())
    return f"The best of {total} ({shown}) is {best.name}: {values}."


def _highlights(found: Outcome) -> list[tuple[str, str]]:
    losses = sorted(bits_per_character(trial.loss or 0.0) for trial in found.complete)
    if not losses:
        return []
    hours = sum(trial.seconds for trial in found.trials) / 3600
    return [
        (f"{losses[0]:.3f}", "bits per character, best trial"),
        (f"{losses[len(losses) // 2]:.3f}", "bits per character, median trial"),
        (f"{hours:.2f}", "hours of training, all trials"),
    ]
