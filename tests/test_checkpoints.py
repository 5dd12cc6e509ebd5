"""Checkpoints are written atomically and verified before they are used.

The run folders contain random weights and do not need TensorFlow, unless a test states otherwise.
"""

import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from shakespeare_gen import models, runs
from shakespeare_gen.errors import NotFiniteError, UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.runs import RunFolder, checkpoints, store, tensors
from tests import fake_runs
from tests.conftest import REPOSITORY
from tests.fake_runs import change_number, edit_options, only_checkpoint, reseal

GOLDEN = REPOSITORY / "tests" / "golden"


@pytest.fixture
def run(tmp_path):
    """A run with one checkpoint."""
    return fake_runs.write_run(tmp_path / "run")


def damage(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


# Damage


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_flipped_bits_and_truncations_are_detected(version, tmp_path):
    """200 bits and 50 truncations of each file of a checkpoint, config.json and the tokenizer."""
    if version == 1:
        folder = RunFolder(shutil.copytree(GOLDEN / "format-1", tmp_path / "run"))
    else:
        folder = fake_runs.write_run(tmp_path / "run").folder
    beside = [path for path in folder.path.iterdir() if path.suffix == ".json"]
    files = [*sorted(only_checkpoint(folder).iterdir()), *beside]
    assert len(files) == 6
    chance = random.Random(0)

    def read():
        checkpoints.read(runs.open_run(folder.path), "last", verify_training=True)

    def damaged(good):
        for _ in range(200):
            bad = bytearray(good)
            bad[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
            yield bytes(bad)
        for number in range(50):  # a missing last byte is the hardest to detect
            yield good[: -1 if number == 0 else chance.randrange(len(good))]

    read()
    for path in files:
        good = path.read_bytes()
        for bad in damaged(good):
            path.write_bytes(bad)
            with pytest.raises(UserError):
                read()
        path.write_bytes(good)
    read()


def test_a_damaged_checkpoint_is_skipped_and_named(run, caplog):
    place = only_checkpoint(run.folder)
    later = shutil.copytree(place, run.folder.checkpoints / "step-00009999")
    damage(later / "weights.safetensors")
    assert checkpoints.read(run, "last").place == place
    assert f"skipping damaged checkpoint {later}: weights.safetensors differs" in caplog.text


def test_the_last_checkpoint_replaces_a_damaged_best_one(run, caplog):
    place = only_checkpoint(run.folder)
    shutil.copytree(place, run.folder.checkpoints / "step-00009999")
    (place / "weights.safetensors").unlink()
    assert checkpoints.read(run, "best").place.name == "step-00009999"
    assert f"skipping damaged checkpoint {place}" in caplog.text


def test_a_damaged_training_state_affects_only_resuming(run):
    damage(only_checkpoint(run.folder) / "training.safetensors")
    assert checkpoints.read(run, "last").progress.epoch == 1
    with pytest.raises(UserError, match="expected a run with an intact checkpoint, found none"):
        checkpoints.read(run, "last", verify_training=True)


def test_a_checkpoint_deleted_during_the_search_is_replaced_by_a_newer_one(run, monkeypatch):
    """A training process deletes a checkpoint after it is listed and before it is opened."""
    place = only_checkpoint(run.folder)
    find_damage = store.find_damage

    def tidied(at, max_bytes, unread):
        if at == place:
            shutil.copytree(place, run.folder.checkpoints / "step-00009999")
            shutil.rmtree(place)
        return find_damage(at, max_bytes, unread)

    monkeypatch.setattr(store, "find_damage", tidied)
    assert checkpoints.read(run, "last").place.name == "step-00009999"


# Best and last


def test_best_and_last_are_distinguished(tmp_path):
    run = fake_runs.write_run(tmp_path / "run", epochs=())
    models_by_epoch = {
        epoch: fake_runs.save(run, epoch, best_checkpoint="step-00000007-epoch-0001")
        for epoch in (1, 2)
    }
    for which, epoch in (("best", 1), ("last", 2)):
        found = checkpoints.read(run, which)
        assert (found.place.name, found.progress.epoch) == (
            f"step-{7 * epoch:08d}-epoch-000{epoch}",
            epoch,
        )
        expected = models_by_epoch[epoch].language_model.weights
        for name, weight in found.weights.items():
            np.testing.assert_array_equal(weight, np.asarray(expected[name]))


@pytest.mark.parametrize("which", ["foo", "", "Best", "step-00000007-epoch-0001"])
def test_an_invalid_checkpoint_choice_is_rejected(run, which):
    """`load_generator(run, "foo")` once loaded the last checkpoint."""
    with pytest.raises(UsageError, match="^checkpoint: expected one of best, last, received"):
        checkpoints.read(run, which)


# Loading


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_rejected(run, value):
    """`generate` once wrote blank lines with exit code 0, `evaluate` ended in a traceback."""
    change_number(run.folder, "weights.safetensors", "logits/bias", value)
    for which in ("best", "last"):
        with pytest.raises(UserError) as error:
            checkpoints.read(run, which)
        place = only_checkpoint(run.folder)
        assert str(error.value) == (
            f"{place}/weights.safetensors: expected finite numbers, found NaN or infinity in "
            "logits/bias"
        )


def test_training_state_that_is_not_finite_is_rejected(run):
    change_number(run.folder, "training.safetensors", "optimizer/0001", np.nan)
    with pytest.raises(UserError, match=r"training\.safetensors: .* in optimizer/0001$"):
        checkpoints.restore(run, fake_runs.training_model(run.spec, seed=5))


def test_hostile_training_state_is_reported_on_one_line(run):
    path = only_checkpoint(run.folder) / "training.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"I32"', 1))
    reseal(path.parent)
    with pytest.raises(UserError, match=r"training\.safetensors: expected tensor .* to be"):
        checkpoints.restore(run, fake_runs.training_model(run.spec))


def test_a_checkpoint_with_other_model_options_is_rejected(run):
    edit_options(run.folder, "model", residual=True)
    with pytest.raises(UserError, match=r"config\.json: expected residual False, .* found True"):
        checkpoints.read(runs.open_run(run.path))


def test_a_saved_state_is_restored(run):
    trained = fake_runs.training_model(run.spec, seed=1)
    other = fake_runs.training_model(run.spec, seed=9)
    checkpoint = checkpoints.restore(run, other)
    assert checkpoint.progress == fake_runs.progress_of(1)
    pairs = [(trained.language_model.weights, other.language_model.weights)]
    pairs.append((trained.training_state(), other.training_state()))
    for expected, found in pairs:
        for name in expected:
            np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(expected[name]))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "min_lstm"])
def test_a_loaded_model_computes_the_same_as_the_saved_one(tmp_path, cell):
    """In TensorFlow, compared with NumPy."""
    run = fake_runs.write_run(tmp_path / "run", cell=cell, num_layers=2, residual=True)
    checkpoint = checkpoints.read(run)
    loaded = checkpoints.load_model(run, checkpoint)
    exact = models.from_arrays(run.spec.model_spec, checkpoint.weights)
    ids = np.array([[0, 1, 2, 1]], np.int32)
    logits, _ = loaded.read(ids, loaded.initial_state(1))
    expected, _ = exact.read(ids, exact.initial_state(1))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_reading_a_checkpoint_does_not_import_tensorflow(run):
    code = (
        "import sys\n"
        "from shakespeare_gen import runs\nfrom shakespeare_gen.runs import checkpoints\n"
        "for path in sys.argv[1:]:\n"
        "    checkpoints.read(runs.open_run(path), 'best', verify_training=True)\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))\n"
    )
    paths = [str(run.path), str(GOLDEN / "format-1")]
    command = [sys.executable, "-c", code, *paths]
    assert subprocess.check_output(command, cwd=REPOSITORY, text=True) == "set()\n"


def test_a_model_that_is_too_large_is_rejected_before_it_is_built():
    options = Options.parse(models.groups(), {"units": 16384, "num_layers": 64})
    with pytest.raises(UserError, match="expected at most 1,000,000,000 parameters, received"):
        models.spec_of(65, options)


# Saving


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["weights", "training state"])
def test_numbers_that_are_not_finite_are_never_saved(run, part, value):
    model = fake_runs.training_model(run.spec)
    variables = model.training_state()
    if part == "weights":
        variables = model.language_model.weights
    name = list(variables)[1]
    array = np.asarray(variables[name]).copy()
    array.flat[3] = value
    variables[name].assign(array)
    with pytest.raises(NotFiniteError, match=rf"^{name} became NaN or infinite in step 14$"):
        checkpoints.save(run, model, fake_runs.progress_of(2), fake_runs.STEPS_PER_EPOCH, 2)
    assert store.names(run.folder.checkpoints) == ["step-00000007-epoch-0001"]


def test_a_model_whose_outputs_overflow_is_never_saved(run):
    """The loss of a step is computed before its update, so the next loss comes too late."""
    model = fake_runs.training_model(run.spec)
    bias = np.array([3e38, -3e38, 0], np.float32)
    weights = {name: np.asarray(v) for name, v in model.language_model.weights.items()}
    hot = models.from_arrays(run.spec.model_spec, weights | {"logits/bias": bias})
    model.language_model = hot
    with pytest.raises(NotFiniteError, match="^the loss became NaN or infinite in step 14$"):
        checkpoints.save(run, model, fake_runs.progress_of(2), fake_runs.STEPS_PER_EPOCH, 2)
    assert store.names(run.folder.checkpoints) == ["step-00000007-epoch-0001"]


def test_the_newest_checkpoints_and_the_best_one_are_kept(tmp_path):
    run = fake_runs.write_run(tmp_path / "run", epochs=())
    for epoch in range(1, 6):
        best = f"step-000000{7 * min(epoch, 2):02d}-epoch-000{min(epoch, 2)}"
        fake_runs.save(run, epoch, num_kept=2, best_checkpoint=best)
    assert [name[-1] for name in store.names(run.folder.checkpoints)] == ["2", "4", "5"]


def test_an_intact_checkpoint_is_never_overwritten_but_a_damaged_one_is(tmp_path):
    files = {"a.json": b"one", "b.json": b"two"}
    place = store.save(tmp_path, "step-00000001", files)
    before = os.stat(place / "a.json").st_ino
    store.save(tmp_path, "step-00000001", files)
    assert os.stat(place / "a.json").st_ino == before
    (place / "a.json").write_bytes(b"0ne")
    store.save(tmp_path, "step-00000001", files)
    assert store.find_damage(place, {"a.json": 3, "b.json": 3}) is None


def test_checkpoints_are_sorted_by_step_number(tmp_path):
    names = ["step-00000007", "step-00000100", "step-00000100-epoch-0001", "step-100000000"]
    for name in reversed(names):
        (tmp_path / name).mkdir()
    (tmp_path / ".step-00000200.partial").mkdir()
    (tmp_path / "step-1").mkdir()
    assert store.names(tmp_path) == names


# Tensors


def test_arrays_survive_a_round_trip():
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(7, np.int64),
        "c": np.zeros((0, 4), np.int32),
        "d": np.array([1, 2], np.uint32),
    }
    kinds = {name: (str(a.dtype), a.shape) for name, a in arrays.items()}
    data = tensors.encode(arrays)
    assert len(data) <= tensors.max_bytes(kinds)
    for name, array in tensors.decode(data, kinds, "x").items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
