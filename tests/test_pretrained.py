"""Pretrained models: their names, and that their folders are only read."""

import os
import re

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import pretrained
from shakespeare_gen.errors import UserError
from shakespeare_gen.report import comparison
from shakespeare_gen.runs import RunFolder, checkpoints, open_run, tensors
from tests import fake_runs


def test_weights_may_be_stored_as_bfloat16():
    weights = np.float32([1, -2.5, 1e-20, 3.1415927, 0])
    kinds = {"a": ("float32", (5,))}
    data = tensors.encode({"a": weights}, in_bfloat16=True)
    assert len(data) <= tensors.max_bytes(kinds)
    found = tensors.decode(data, kinds, "file")["a"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, weights, rtol=2**-8)
    assert found[[0, 1, 3]].tolist() == [1, -2.5, 3.140625]


def test_integers_are_never_stored_as_bfloat16():
    arrays = {"a": np.int32([1, 300_001])}
    data = tensors.encode(arrays, in_bfloat16=True)
    assert tensors.decode(data, {"a": ("int32", (2,))}, "file")["a"].tolist() == [1, 300_001]
    narrow = tensors.encode({"a": np.float32([1, 2])}, in_bfloat16=True)
    with pytest.raises(UserError, match="expected tensor a to be"):
        tensors.decode(narrow, {"a": ("int32", (2,))}, "file")


def test_a_checkpoint_without_training_state_can_be_loaded_but_not_resumed(tmp_path):
    fake_runs.write_run(tmp_path / "run", (1,))
    run = open_run(tmp_path / "run")
    [place] = run.folder.checkpoints.iterdir()
    files = {
        checkpoints.WEIGHTS: tensors.encode(checkpoints.read(run).weights, in_bfloat16=True),
        checkpoints.STATE: (place / checkpoints.STATE).read_bytes(),
    }
    (place / "manifest.json").unlink()
    checkpoints.store.save(run.folder.checkpoints, place.name, files)
    assert checkpoints.read(run).weights.keys() == run.spec.model_spec.weight_shapes().keys()
    with pytest.raises(UserError, match="expected a run with an intact checkpoint, found none"):
        checkpoints.read(run, "last", verify_training=True)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_no_run_is_trained_in_a_pretrained_folder(options):
    with pytest.raises(UserError, match="expected a folder to train in, received pretrained:tiny"):
        shakespeare_gen.train_model(run_dir=pretrained.DEFAULT, text="ab" * 500, **options)


def test_an_unknown_name_lists_the_models_there_are():
    with pytest.raises(UserError, match="expected one of .*pretrained:tiny-shakespeare, received"):
        open_run("pretrained:no-such-model")


def test_what_is_written_about_a_pretrained_model_is_outside_the_package():
    folder = RunFolder(pretrained.DEFAULT)
    assert folder.evaluation_dir.parts == ("runs", "pretrained-tiny-shakespeare", "evaluation")
    assert comparison.common_folder([open_run(pretrained.DEFAULT)]) == os.path.abspath("runs")


@pytest.mark.parametrize("name", pretrained.names())
def test_every_pretrained_model_is_small_intact_and_writes(name):
    folder = pretrained.path(name)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 5_000_000
    text = "".join(path.read_text("utf-8") for path in files if path.suffix in {".json", ".md"})
    assert not re.search("/(tmp|home|root|work)/", text)
    run = open_run(name)
    assert run.losses.keys() == {"validation", "test", "both"}
    generator = shakespeare_gen.load_generator(name, engine="numpy")
    assert len(generator.generate("ROMEO:\n", length=40, seed=1)[0].text) == 40


def test_generation_takes_the_pretrained_model_where_there_is_no_run(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO", logger="absl"):
        generator = shakespeare_gen.load_generator(engine="numpy")
    assert "runs: expected a finished run, found none; using pretrained:tiny-" in caplog.text
    assert generator.tokenizer == open_run(pretrained.DEFAULT).spec.tokenizer
