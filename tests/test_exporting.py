"""Exports: every format against the model itself, and the command."""

import json
import subprocess
import sys

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import export
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.exporting import job
from shakespeare_gen.exporting.formats import FORMATS
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.options import Options
from shakespeare_gen.runs import loading
from tests import fake_runs

SMALL = {"units": 8, "embedding_size": 4}
TRANSFORMER = {"model": "transformer", "width": 16, "num_heads": 2, "context_tokens": 6}
MODELS = {
    "lstm": SMALL,
    "lstm, 2 layers, one-hot": {**SMALL, "embedding_size": 0, "num_layers": 2},
    "gru": {**SMALL, "cell": "gru", "num_layers": 2, "residual": True},
    "simple_rnn": {**SMALL, "cell": "simple_rnn"},
    "min_gru": {**SMALL, "cell": "min_gru", "num_layers": 2},
    "min_lstm": {**SMALL, "cell": "min_lstm"},
    "handcrafted": {**SMALL, "cell": "handcrafted"},
    "transformer": {**TRANSFORMER, "num_layers": 2},
    "transformer, tied, gelu": {**TRANSFORMER, "tied_embeddings": True, "mlp": "gelu"},
}
IDS = np.array([2, 0, 1, 1, 0, 2, 0, 1, 0, 1, 1, 2, 0], np.int32)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """A subject by the name of its model, with random weights."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {
        name: fake_runs.write_run(folder / str(i), **options)
        for i, (name, options) in enumerate(MODELS.items())
    }
    found = {name: subject_of(run) for name, run in runs.items()}
    found["ensemble"] = subject_of(runs["gru"], runs["transformer"])
    return found


def subject_of(*runs):
    return Subject.of(loading.read_checkpoints([str(run.path) for run in runs]))


def exported(subject, tmp_path, **values):
    """The path and the proof of an export."""
    given = {"output_path": str(tmp_path / "out"), **values}
    return job.run(subject, Options.parse(export.groups(), given))


def logits_of(subject, ids):
    return subject.model().read(ids[None])[0][0]


@pytest.mark.parametrize("name", [*MODELS, "ensemble"])
def test_numpy_code_computes_the_model(subjects, name, tmp_path):
    FORMATS["numpy"].exporter().write(subjects[name], "none", tmp_path)
    space = {"__file__": str(tmp_path / "model.py")}
    exec((tmp_path / "model.py").read_text("utf-8"), space)
    model = space["Model"]()
    state, found = model.start(2), []
    for i in IDS:
        logits, state = model.step(np.array([i, IDS[0]], np.int32), state)
        found.append(logits[0])
    np.testing.assert_allclose(found, logits_of(subjects[name], IDS), rtol=1e-4, atol=1e-5)


def test_the_proof_compares_with_the_model(subjects, tmp_path):
    path, proof = exported(subjects["lstm"], tmp_path)
    assert proof.largest_error < 1e-5
    assert proof.nats_after == pytest.approx(proof.nats_before, abs=1e-6)
    assert proof.size_bytes == sum(file.stat().st_size for file in path.rglob("*"))
    assert proof.text == "text that the model wrote"  # the corpus is not there
    config = json.loads((path / "config.json").read_text("utf-8"))
    assert config["state"][0] == {
        "name": "lstm_1_h",
        "shape": ["batch", 8],
        "dtype": "float32",
        "initial": 0,
    }


def test_an_exported_folder_generates_the_text_of_the_model(subjects, tmp_path):
    path, _ = exported(subjects["lstm"], tmp_path)
    done = subprocess.run(
        [sys.executable, "generate.py", "ab", "40", "0.9", "7"],
        cwd=path,
        capture_output=True,
        check=True,
        text=True,
    )
    generator = loading.load_generator(subjects["lstm"].runs[0], engine="numpy")
    [result] = generator.generate("ab", length=40, temperature=0.9, seed=7)
    assert done.stdout == f"ab{result.text}\n"


def test_an_existing_folder_is_kept_unless_it_may_be_replaced(subjects, tmp_path):
    path, _ = exported(subjects["lstm"], tmp_path)
    with pytest.raises(UserError, match="found an existing one; `overwrite` replaces it"):
        exported(subjects["gru"], tmp_path)
    exported(subjects["gru"], tmp_path, overwrite=True)
    config = json.loads((path / "config.json").read_text("utf-8"))
    assert config["models"][0]["options"]["cell"] == "gru"
    (path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="expected an export to replace, found another folder"):
        exported(subjects["gru"], tmp_path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_an_export_that_costs_too_much_is_refused(subjects, tmp_path, monkeypatch):
    exporter = FORMATS["numpy"].exporter()
    read_back = exporter.read_back

    def worse(path, ids):
        found = read_back(path, ids)
        found.logits[:] *= 2
        return found

    monkeypatch.setattr(exporter, "read_back", worse)
    with pytest.raises(UserError, match="max_loss_increase: expected at most 0.005 nats"):
        exported(subjects["lstm"], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def ngram_subject(abab_path, tmp_path_factory):
    """A counted model."""
    path = tmp_path_factory.mktemp("runs") / "ngram"
    run = shakespeare_gen.train_model(
        corpus=str(abab_path), model="ngram", window_chars=20, run_dir=str(path), sample_chars=1
    )
    return subject_of(run)


def test_an_ngram_model_is_an_error_where_the_format_holds_no_tables(ngram_subject, tmp_path):
    with pytest.raises(UserError, match="expected a neural network, found model=ngram"):
        exported(ngram_subject, tmp_path)


def test_a_missing_path_and_a_wrong_quantization_are_reported(subjects, tmp_path):
    with pytest.raises(UsageError, match="output_path: expected a path"):
        exported(subjects["lstm"], tmp_path, output_path="")
    with pytest.raises(UsageError, match="quantize: expected none with `format=numpy`"):
        exported(subjects["lstm"], tmp_path, quantize="int8")
