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
REMOVED = "9d9d2d1"

_TRAIN = flags.DEFINE_list("train", [], "names of trials to train; `all`: those without a result")
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs/experiments", "folder of the runs")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One change of a series.

    Attributes:
      flags: what is added to the flags of the series.
      change: in words, with the source.
      commit: the last one that had the flag; "": it is still there.
    """

    name: str
    flags: str
    change: str
    is_taken: bool = False
    commit: str = ""


@dataclasses.dataclass(frozen=True)
class Series:
    """Trials that differ from the first one in one thing each."""

    title: str
    flags: str
    trials: tuple[Trial, ...]


_INTRODUCTION = """# Experiments

What was tried on tiny_shakespeare, one change at a time: `python -m benchmarks.experiments`. Losses
are nats per character on validation, frozen, at the best epoch; the test text plays no part. Two
seeds differ by up to 0.009 with the same flags, so that a mean difference below 0.005 says little.
Minutes are those of one core of two (AMD EPYC, AVX512-BF16, bfloat16), which other programs shared
at times. What paid is a flag; what did not has no code, and its row names the last commit that had.
"""

SERIES: tuple[Series, ...] = (
    Series(
        "A short training: 6 epochs",
        "--flagfile=flags/tiny_shakespeare.cfg --epochs=6",
        (
            Trial("base6", "", "the main recipe, shorter"),
            Trial("bs32_6", "--batch_size=32 --learning_rate=0.003", "smaller batch", True),
            Trial("2x320_6", "--num_layers=2 --units=320", "depth instead of width"),
            Trial("avg998_6", "--average_decay=0.998", "moving average of weights", commit=REMOVED),
            Trial(
                "weight30_6", "--weight_dropout=0.3", "dropout of recurrent weights (1708.02182)"
            ),
            Trial(
                "input10_6",
                "--input_dropout=0.1",
                "input tokens dropped (2510.04071)",
                commit=REMOVED,
            ),
            Trial(
                "muon_6", "--optimizer=muon", "Muon, at the same rate (2502.16982)", commit=REMOVED
            ),
            Trial(
                "distill_6",
                "--teachers=runs/experiments/base6-seed-*",
                "distilling two such networks (1503.02531)",
            ),
        ),
    ),
    Series(
        "15 epochs",
        "--flagfile=flags/tiny_shakespeare.cfg --batch_size=32 --learning_rate=0.003",
        (
            Trial("bs32_15", "", "the smaller batch"),
            Trial("bs32_drop50_15", "--dropout=0.5", "more dropout of outputs"),
            Trial(
                "bs32_w20_15", "--weight_dropout=0.2", "dropout of recurrent weights", is_taken=True
            ),
        ),
    ),
    Series(
        "24 epochs, dropout of recurrent weights",
        "--flagfile=flags/tiny_shakespeare.cfg --batch_size=32 --learning_rate=0.003 "
        "--weight_dropout=0.3 --epochs=24",
        (
            Trial("w30_d30_24", "", "more epochs"),
            Trial("w30_d15_24", "--dropout=0.15", "less dropout of outputs", is_taken=True),
        ),
    ),
    Series(
        "6 epochs, the smaller batch",
        "--flagfile=flags/tiny_shakespeare.cfg --batch_size=32 --learning_rate=0.003 --epochs=6",
        (
            Trial("bs32_6", "", "the smaller batch"),
            Trial(
                "distill_bs32_6",
                "--teachers=runs/experiments/w30_d15_24-seed-[012] --teacher_weight=0.7",
                "distilling three members of the record (1503.02531)",
                is_taken=True,
            ),
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
            elif folders := [f for f in folders_of(trial) if is_finished(f)]:
                results[trial.name] = result_of(folders)
            else:
                continue
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
    PAGE.write_text(page(results), "utf-8")


def trained(series: Series, trial: Trial) -> dict:
    """Trains a trial with all seeds, or reads the runs that are there, and returns its result."""
    folders = folders_of(trial)
    if not all(is_finished(folder) for folder in folders):
        command = [sys.executable, "-m", "shakespeare_gen.train", *series.flags.split()]
        command += [*trial.flags.split(), f"--run_dir={pathlib.Path(_RUNS_DIR.value) / trial.name}"]
        command += [
            "--overwrite",
            f"--seeds={','.join(map(str, SEEDS))}",
            f"--num_parallel={len(SEEDS)}",
        ]
        subprocess.run([*command, "--sample_every_epochs=0"], check=True, cwd=REPOSITORY)
    return result_of([folder for folder in folders if is_finished(folder)])


def result_of(folders: list[pathlib.Path]) -> dict:
    cards = [json.loads((folder / "run.json").read_text("utf-8")) for folder in folders]
    return {
        "validation": {
            str(card["options"].get("seed", 0)): card["losses"]["validation"] for card in cards
        },
        "minutes": [update_recipes.minutes(card) for card in cards],
        "parameters": cards[0]["num_parameters"],
        "precision": cards[0]["precision"],
    }


def folders_of(trial: Trial) -> list[pathlib.Path]:
    return [pathlib.Path(_RUNS_DIR.value) / f"{trial.name}-seed-{seed}" for seed in SEEDS]


def is_finished(folder: pathlib.Path) -> bool:
    card = folder / "run.json"
    return card.exists() and json.loads(card.read_text("utf-8"))["status"] == "finished"


def page(results: dict) -> str:
    """The text of EXPERIMENTS.md."""
    parts = [_INTRODUCTION]
    for series in SERIES:
        first = results.get(series.trials[0].name)
        parts.append(f"## {series.title}\n\n`{series.flags}`\n")
        parts.append(table(series, results, mean_loss(first) if first else 0))
    return "\n".join(parts)


def mean_loss(result: dict) -> float:
    return statistics.mean(result["validation"].values())


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
        by_seed, mean = result["validation"], mean_loss(result)
        losses = " | ".join(f"{by_seed[s]:.4f}" if s in by_seed else "" for s in map(str, SEEDS))
        difference = f"{mean - base:+.4f}" if trial is not series.trials[0] else ""
        shown = f"`{trial.flags}`" if trial.flags else ""
        lines.append(
            f"| {trial.change} | {shown} | {result['parameters'] / 1e6:.2f} M | "
            f"{statistics.mean(result['minutes']):.1f} | {losses} | {mean:.4f} | {difference} | "
            f"{'taken' if trial.is_taken else trial.commit} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
