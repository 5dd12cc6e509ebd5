"""Every recipe of `flags` trains: a few steps on a small text, with its own model and options."""

import ast
import subprocess
import sys

import numpy as np
import pytest

import shakespeare_gen
from tests.conftest import REPOSITORY

FLAG_FILES = sorted((REPOSITORY / "flags").glob("*.cfg"))
# What makes a recipe long. Everything else is the recipe's own.
CUT = {
    "epochs": 1,
    "steps_per_epoch": 3,
    "batch_size": 4,
    "num_windows": 0,
    "sample_chars": 10,
    "sample_every_steps": 2,
    "log_every_steps": 1,
    "seeds": (),
    "num_parallel": 1,
    "teachers": (),
}


def options_of(path):
    """The options of a recipe that differ from the defaults, read by the command itself."""
    code = (
        f"import sys; sys.argv = ['train', '--flagfile={path}']\n"
        "from shakespeare_gen import train\n"
        "from shakespeare_gen.options import command_line\n"
        "command_line.run(lambda options: print(options.non_defaults()), *train.groups())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return ast.literal_eval(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda p: p.stem)
def test_a_recipe_trains_and_generates(path, small_text, tmp_path):
    options = options_of(path)
    corpus = tmp_path / "small.txt"
    corpus.write_text(small_text, encoding="utf-8")
    cut = {**CUT, "corpus": str(corpus), "run_dir": str(tmp_path / "run")}
    cut["batch_size"] = min(CUT["batch_size"], options.get("batch_size", 64))
    run = shakespeare_gen.train_model(**{**options, **cut})
    rows = run.step_metrics()
    steps = [] if options.get("model") == "ngram" else [1, 2, 3]  # n-grams are counted
    assert [row["step"] for row in rows] == steps
    assert all(np.isfinite(row["loss"]) and row["update_to_weight_ratio"] > 0 for row in rows[2:])
    assert np.isfinite(run.losses["validation"])
    [result] = shakespeare_gen.load_generator(run.path).generate(length=5, seed=1)
    assert len(result.pieces) == 5
