"""Golden run folders of every format version.

They are never rewritten. When `runs.FORMAT_VERSION` is incremented, add a folder of the new
version. `golden-text.txt` is the training text of format-2.
"""

import json
import shutil

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import models, runs
from shakespeare_gen.runs import checkpoints, store
from tests import fake_runs
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden"
FOLDERS = sorted(path for path in GOLDEN.iterdir() if path.is_dir())
PROMPT = "The wind"


@pytest.fixture(params=FOLDERS, ids=lambda path: path.name)
def golden(request):
    """A folder and the text that its model generates."""
    return request.param, (GOLDEN / f"{request.param.name}.txt").read_text("utf-8")


def test_the_current_format_has_a_golden_run():
    assert f"format-{runs.FORMAT_VERSION}" in [folder.name for folder in FOLDERS]


def test_an_old_run_still_generates_the_same_text(golden):
    folder, expected = golden
    generator = shakespeare_gen.load_generator(folder)
    assert PROMPT + generator.generate(PROMPT, length=200, temperature=0)[0].text == expected


def test_an_old_run_generates_the_same_text_in_numpy(golden):
    folder, expected = golden
    run = runs.open_run(folder)
    tokenizer = run.spec.tokenizer
    model = models.from_arrays(run.spec.model_spec, checkpoints.read(run).weights)
    ids, state = [tokenizer.start_id, *tokenizer.encode(PROMPT)], model.initial_state(1)
    for i in range(len(PROMPT) + 200):
        logits, state = model.step(np.array([ids[i]]), state)
        if i >= len(PROMPT):
            ids.append(int(logits[0].argmax()))
    assert tokenizer.decode(ids[1:]) == expected


@pytest.mark.slow
def test_a_run_is_resumed_on_a_text_that_has_moved(tmp_path):
    """The stored path does not exist; the text is identified by its hash."""
    path = GOLDEN / "golden-text.txt"
    folder = shutil.copytree(GOLDEN / "format-2", tmp_path / "run")
    run = shakespeare_gen.train_model(run_dir=folder, resume=True, corpus=path, epochs=18)
    assert [row["epoch"] for row in run.metrics()] == list(range(1, 19))
    assert run.metrics()[-1]["validation_loss"] < 0.1
    assert run.spec.corpus.path == str(path)
    [resumption] = run.spec.resumed
    assert resumption.from_checkpoint == "step-00000256-epoch-0016"
    assert resumption.changed == {
        "corpus": ("golden-text.txt", str(path)),
        "epochs": (24, 18),
    }


@pytest.mark.slow
@pytest.mark.parametrize("carry_state", [False, True])
def test_a_run_of_format_1_resumes_bit_exactly(tmp_path, small_text, carry_state):
    path = tmp_path / "small.txt"
    path.write_text(small_text[:2100], encoding="utf-8")
    options = {
        "corpus": path,
        "units": 8,
        "embedding_size": 4,
        "window_chars": 16,
        "batch_size": 8,
        "dropout": 0.3,
        "epochs": 2,
        "sample_chars": 30,
        "schedule": "constant",
        "carry_state": carry_state,
    }
    whole = shakespeare_gen.train_model(**options, run_dir=tmp_path / "whole")
    half = shakespeare_gen.train_model(**{**options, "epochs": 1}, run_dir=tmp_path / "half")
    fake_runs.downgrade(half.folder)
    assert runs.open_run(half.path).spec.corpus.path == ""
    resumed = shakespeare_gen.train_model(run_dir=half.path, resume=True, epochs=2)
    assert json.loads(resumed.folder.config_path.read_text("utf-8"))["format_version"] == 2
    assert not resumed.folder.vocabulary_path.exists()
    assert store.names(resumed.folder.checkpoints) == store.names(whole.folder.checkpoints)
    last = store.names(whole.folder.checkpoints)[-1]
    for name in ("weights.safetensors", "training.safetensors", "state.json"):
        found, expected = (run.folder.checkpoints / last / name for run in (resumed, whole))
        assert found.read_bytes() == expected.read_bytes()
    texts = [run.folder.samples_path.read_text("utf-8") for run in (resumed, whole)]
    assert texts[0].replace("=== epoch 1\n", "=== epoch 1, 30 bytes\n") == texts[1]
