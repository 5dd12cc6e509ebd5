"""Runs of a sweep that are trained at the same time, in processes of their own."""

import os
import signal
import subprocess
import sys

import pytest

import shakespeare_gen
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options.groups import TrainingOptions
from shakespeare_gen.runs import checkpoints, open_run
from tests.conftest import REPOSITORY

STEPS_PER_EPOCH = 14
OPTIONS = {"units": 8, "embedding_size": 4, "window_chars": 16, "batch_size": 8}
OPTIONS |= {"sample_every_epochs": 0, "num_parallel": 2}


@pytest.fixture
def text_path(small_text, tmp_path):
    path = tmp_path / "small.txt"
    path.write_text(small_text[:2100], encoding="utf-8")
    return path


def seeds_of(runs):
    return [run.spec.options[TrainingOptions].seed for run in runs]


def test_a_text_in_memory_cannot_be_shared_by_processes(small_text, tmp_path):
    with pytest.raises(UsageError, match="num_parallel: expected 1 with `text`, received 2"):
        shakespeare_gen.train_model(
            text=small_text, run_dir=tmp_path / "x", seeds=[0, 1], **OPTIONS
        )


@pytest.mark.slow
def test_runs_in_parallel_stop_together_and_continue(text_path, tmp_path):
    flags = {**OPTIONS, "corpus": text_path, "run_dir": tmp_path / "x", "epochs": 400}
    process = subprocess.Popen(
        [sys.executable, "-m", "shakespeare_gen.train", "--seeds=0,1"]
        + [f"--{name}={value}" for name, value in flags.items()],
        cwd=REPOSITORY,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stderr=subprocess.PIPE,
        text=True,
    )
    awaited = {f"seed {seed}: epoch 2/400" for seed in (0, 1)}
    for line in process.stderr:
        awaited -= {text for text in awaited if line.startswith(text)}
        if not awaited:
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    command = f"--resume --run_dir={tmp_path / 'x'} --seeds=0,1 --num_parallel=2"
    assert errors.splitlines()[-1].endswith(command)
    folders = [tmp_path / f"x-seed-{seed}" for seed in (0, 1)]
    steps = [checkpoints.read(open_run(path), "last").progress.step for path in folders]
    assert min(steps) >= 2 * STEPS_PER_EPOCH
    epochs = max(steps) // STEPS_PER_EPOCH + 2
    every = shakespeare_gen.train_model(
        run_dir=tmp_path / "x", resume=True, seeds=[0, 1], num_parallel=2, epochs=epochs
    )
    assert seeds_of(every) == [0, 1]
    assert [len(run.metrics()) for run in every] == [epochs, epochs]


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_are_trained(text_path, tmp_path):
    (tmp_path / "x-seed-1" / "checkpoints").mkdir(parents=True)
    (tmp_path / "x-seed-1" / "config.json").mkdir()  # cannot be written
    with pytest.raises(UserError, match=r"3 jobs to succeed, 1 failed: seed 1 \(exit code 1\)"):
        shakespeare_gen.train_model(
            corpus=str(text_path), run_dir=tmp_path / "x", seeds=[0, 1, 2], epochs=1, **OPTIONS
        )
    for seed in (0, 2):
        assert open_run(tmp_path / f"x-seed-{seed}").folder.card()["status"] == "finished"
