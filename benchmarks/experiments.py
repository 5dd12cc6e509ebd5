"""What was tried to lower the validation loss on tiny_shakespeare, one change at a time.

    python -m benchmarks.experiments                        # writes EXPERIMENTS.md again
    python -m benchmarks.experiments --train=weights_30     # a trial, or `all` that lack a result

Each trial is trained with two seeds at the same time, one core each, in `runs/experiments`. The
results are kept in `experiments.json`; only the validation loss is read, never the test loss.
"""

import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys

from absl import app, flags

from docs import update_recipes

REPOSITORY = pathlib.Path(__file__).parent.parent
RESULTS = REPOSITORY / "benchmarks" / "experiments.json"
PAGE = REPOSITORY / "benchmarks" / "EXPERIMENTS.md"
SEEDS = (0, 1)

_TRAIN = flags.DEFINE_list("train", [], "names of trials to train; `all`: those without a result")
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs/experiments", "folder of the runs")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One change of a series.

    Attributes:
      flags: what is added to the flags of the series.
      change: in words, with the source.
    """

    name: str
    flags: str
    change: str
    is_taken: bool = False


@dataclasses.dataclass(frozen=True)
class Series:
    """Trials that differ from the first one in one thing each."""

    title: str
    flags: str
    trials: tuple[Trial, ...]


_INTRODUCTION = """# Experiments

What was tried on tiny_shakespeare, one change at a time: `python -m benchmarks.experiments`. Losses
are nats per character on validation, frozen, at the best epoch; the test text plays no part. Two
seeds differ by up to 0.007 with the same flags, so that a mean difference below 0.005 says little.
Minutes are those of two trainings at a time, on one core each, which other programs shared at times
(AMD EPYC, AVX512-BF16, bfloat16). What paid is a flag; what did not has no code.
"""

SERIES: tuple[Series, ...] = (
    Series(
        "A short training: 6 epochs",
        "--flagfile=flags/tiny_shakespeare.cfg --epochs=6",
        (
            Trial("base6", "", "the main recipe, shorter"),
            Trial("bs32_6", "--batch_size=32 --learning_rate=0.003", "smaller batch", True),
            Trial("2x320_6", "--num_layers=2 --units=320", "depth instead of width"),
            Trial("avg998_6", "--average_decay=0.998", "moving average of weights"),
        ),
    ),
)


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"expected flags only, received {argv[1]!r}")
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for series in SERIES:
        for trial in series.trials:
            is_asked = trial.name in _TRAIN.value
            if is_asked or ("all" in _TRAIN.value and trial.name not in results):
                results[trial.name] = trained(series, trial)
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
    PAGE.write_text(page(results), "utf-8")


def trained(series: Series, trial: Trial) -> dict:
    """Trains a trial with all seeds, or reads the runs that are there, and returns its result."""
    base = pathlib.Path(_RUNS_DIR.value) / trial.name
    folders = [base.with_name(f"{base.name}-seed-{seed}") for seed in SEEDS]
    if not all(is_finished(folder) for folder in folders):
        command = [sys.executable, "-m", "shakespeare_gen.train", *series.flags.split()]
        command += [*trial.flags.split(), f"--run_dir={base}", "--overwrite"]
        command += [f"--seeds={','.join(map(str, SEEDS))}", f"--num_parallel={len(SEEDS)}"]
        subprocess.run([*command, "--sample_every_epochs=0"], check=True, cwd=REPOSITORY)
    cards = [json.loads((folder / "run.json").read_text("utf-8")) for folder in folders]
    return {
        "validation": [card["losses"]["validation"] for card in cards],
        "minutes": [update_recipes.minutes(card) for card in cards],
        "parameters": cards[0]["num_parameters"],
        "precision": cards[0]["precision"],
    }


def is_finished(folder: pathlib.Path) -> bool:
    card = folder / "run.json"
    return card.exists() and json.loads(card.read_text("utf-8"))["status"] == "finished"


def page(results: dict) -> str:
    """The text of EXPERIMENTS.md."""
    parts = [_INTRODUCTION]
    for series in SERIES:
        first = results.get(series.trials[0].name)
        parts.append(f"## {series.title}\n\n`{series.flags}`\n")
        parts.append(table(series, results, statistics.mean(first["validation"]) if first else 0))
    return "\n".join(parts)


def table(series: Series, results: dict, base: float) -> str:
    seeds = " | ".join(f"seed {seed}" for seed in SEEDS)
    lines = [
        f"| change | flags | parameters | minutes | {seeds} | mean | difference | |",
        "|---" * (7 + len(SEEDS)) + "|",
    ]
    for trial in series.trials:
        result = results.get(trial.name)
        if result is None:
            continue
        losses = " | ".join(f"{loss:.4f}" for loss in result["validation"])
        mean = statistics.mean(result["validation"])
        difference = f"{mean - base:+.4f}" if trial is not series.trials[0] else ""
        shown = f"`{trial.flags}`" if trial.flags else ""
        lines.append(
            f"| {trial.change} | {shown} | {result['parameters'] / 1e6:.2f} M | "
            f"{statistics.mean(result['minutes']):.1f} | {losses} | {mean:.4f} | {difference} | "
            f"{'taken' if trial.is_taken else ''} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
