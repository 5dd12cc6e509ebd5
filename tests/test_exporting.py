"""Exports: every format against the model itself, and the command."""

import dataclasses
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
from shakespeare_gen.generation import Generator
from shakespeare_gen.options import Options
from shakespeare_gen.runs import loading
from tests import fake_runs

SMALL = {"units": 32, "embedding_size": 4}
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
    """A subject with weights of about the size of trained ones."""
    found = Subject.of(loading.read_checkpoints([str(run.path) for run in runs]))
    return dataclasses.replace(
        found, checkpoints=tuple(smaller(checkpoint) for checkpoint in found.checkpoints)
    )


def smaller(checkpoint):
    weights = {
        name: (0.3 * weight).astype(weight.dtype) if weight.ndim > 1 else weight
        for name, weight in checkpoint.weights.items()
    }
    return dataclasses.replace(checkpoint, weights=weights)


def exported(subject, tmp_path, **values):
    """The path and the proof of an export."""
    given = {"output_path": str(tmp_path / "out"), **values}
    return job.run(subject, Options.parse(export.groups(), given))


def logits_of(subject, ids):
    return subject.model().read(ids[None])[0][0]


def written(subject, format, quantize, folder):
    """The model of an exported folder, loaded in this process."""
    folder.mkdir()
    FORMATS[format].exporter().write(subject, quantize, folder)
    path = folder / "model.py"
    space = {"__file__": str(path)}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), space)
    return space["Model"]()


def stepped(model, ids, *start):
    """The logits [N, V] of one row after each of ids [N]."""
    state, found = model.start(*start), []
    for i in ids:
        rows = [i, ids[0]][: start[0] if start else 1]
        logits, state = model.step(np.array(rows, np.int32), state)
        found.append(logits[0])
    return np.stack(found)


@pytest.mark.parametrize("name", [*MODELS, "ensemble"])
@pytest.mark.parametrize(
    "format",
    [
        "numpy",
        "onnx",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("litert", "saved_model")),
    ],
)
def test_an_export_computes_the_model(subjects, format, name, tmp_path):
    pytest.importorskip(
        {"litert": "ai_edge_litert"}.get(format, format.replace("saved_model", "tensorflow"))
    )
    expected = logits_of(subjects[name], IDS)
    model = written(subjects[name], format, "none", tmp_path / "out")
    batch = [] if format == "litert" else [2]
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(stepped(model, IDS, *batch), expected, **close)
    if not hasattr(model, "read"):
        return
    logits, state = model.read(IDS[None, :5], model.start())
    later, _ = model.read(IDS[None, 5:], state)
    np.testing.assert_allclose(np.concatenate([logits[0], later[0]]), expected, **close)


@pytest.mark.parametrize("name", [*MODELS, "ensemble"])
@pytest.mark.parametrize(
    ("format", "quantize"),
    [
        ("onnx", "int8"),
        pytest.param("litert", "float16", marks=pytest.mark.slow),
        pytest.param("litert", "int8", marks=pytest.mark.slow),
    ],
)
def test_a_quantized_export_is_close_to_the_model(subjects, format, quantize, name, tmp_path):
    if quantize == "float16" and "transformer" in [spec.family for spec in subjects[name].specs]:
        with pytest.raises(UsageError, match="quantize: expected none or int8 for a transformer"):
            exported(subjects[name], tmp_path, format=format, quantize=quantize)
        return
    expected = logits_of(subjects[name], IDS)
    found = stepped(written(subjects[name], format, quantize, tmp_path / "out"), IDS)
    error = np.abs(found - expected).max() / expected.std()
    assert 0 < error < {"float16": 0.01, "int8": 0.15}[quantize]


def test_the_proof_compares_with_the_model(subjects, tmp_path):
    path, proof = exported(subjects["lstm"], tmp_path)
    assert proof.largest_error < 1e-5
    assert proof.nats_after == pytest.approx(proof.nats_before, abs=1e-6)
    assert proof.size_bytes == sum(file.stat().st_size for file in path.rglob("*"))
    assert proof.text == "text that the model wrote"  # the corpus is not there
    config = json.loads((path / "config.json").read_text("utf-8"))
    assert config["state"][0] == {
        "name": "lstm_1_h",
        "shape": ["batch", 32],
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
    generator = Generator(subjects["lstm"].model(), subjects["lstm"].tokenizer)
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
