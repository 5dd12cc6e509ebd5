"""Exports: every format against the model itself, and the command."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import string
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import shakespeare_gen
from shakespeare_gen import export
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.exporting import folders, job
from shakespeare_gen.exporting.formats import FORMATS
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.generation import Generator
from shakespeare_gen.models import rotary, states
from shakespeare_gen.models.cells import CELLS, Cell, product
from shakespeare_gen.options import Options
from shakespeare_gen.runs import loading
from tests import fake_runs
from tests.conftest import REPOSITORY

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
    written_runs = {
        name: fake_runs.write_run(folder / str(i), **options)
        for i, (name, options) in enumerate(MODELS.items())
    }
    found = {name: subject_of(run) for name, run in written_runs.items()}
    found["ensemble"] = subject_of(written_runs["gru"], written_runs["transformer"])
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
        "safetensors",
        "onnx",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("litert", "saved_model", "keras")),
    ],
)
def test_an_export_computes_the_model(subjects, format, name, tmp_path):
    expected = logits_of(subjects[name], IDS)
    model = written(subjects[name], format, "none", tmp_path / "out")
    batch = [] if format == "litert" else [2]
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(stepped(model, IDS, *batch), expected, **close)
    if getattr(model, "read", None) is None:
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
    expected = logits_of(subjects[name], IDS)
    found = stepped(written(subjects[name], format, quantize, tmp_path / "out"), IDS)
    error = np.abs(found - expected).max() / expected.std()
    assert 0 < error < {"float16": 0.01, "int8": 0.15}[quantize]


def test_the_output_layer_of_a_small_vocabulary_is_stored_in_float16(tmp_path):
    import onnx

    text = string.ascii_letters + "\n"
    subject = subject_of(fake_runs.write_run(tmp_path / "run", text=text, units=192))
    model = written(subject, "onnx", "int8", tmp_path / "out")
    ids = subject.tokenizer.encode(text)[:4]  # random weights of this size amplify errors
    expected = logits_of(subject, ids)
    assert np.abs(stepped(model, ids) - expected).max() < 0.05 * expected.std()
    arrays = onnx.load(str(tmp_path / "out" / "model.onnx")).graph.initializer
    types = {array.name: array.data_type for array in arrays}
    assert types["weights/logits/kernel"] == onnx.TensorProto.FLOAT16
    assert types["weights/layers/lstm_1/cell/recurrent_kernel"] == onnx.TensorProto.UINT8


@pytest.mark.slow
def test_positions_are_exact_in_half_precision(subjects, tmp_path):
    """Also where they begin again, and where float16 has no such number."""
    subject = subjects["transformer"]
    model = written(subject, "litert", "float16", tmp_path / "out")
    start = states.flatten(subject.model().initial_state(1))
    random = np.random.default_rng(1)
    for position in (3001, 70_001, 2 * rotary.NUM_ANGLES - 3):
        caches = [random.normal(size=part.shape).astype(np.float32) for part in start[2:]]
        state = [np.full((1, 1), place, np.float32) for place in (position, position % 6)] + caches
        like = states.unflatten(subject.model().initial_state(1), state)
        expected, found = [], []
        for i in IDS[:8]:
            logits, like = subject.model().step(IDS[i : i + 1], like)
            expected.append(logits)
            logits, state = model.step(IDS[i : i + 1], state)
            found.append(logits)
        assert np.abs(np.stack(found) - expected).max() < 0.02 * np.std(expected)
        for ours, theirs in zip(states.flatten(like)[:2], state[:2], strict=True):
            assert ours == theirs


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


def check_text(subject, path):
    """The program of an exported folder writes the text of the model."""
    done = subprocess.run(
        [sys.executable, "generate.py", "ab", "40", "0.9", "7"],
        cwd=path,
        capture_output=True,
        check=True,
        text=True,
    )
    generator = Generator(subject.model(), subject.tokenizer)
    [result] = generator.generate("ab", length=40, temperature=0.9, seed=7)
    assert done.stdout == f"ab{result.text}\n"


@pytest.mark.parametrize(
    "format",
    [
        *("numpy", "safetensors", "onnx"),
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("litert", "saved_model", "keras")),
    ],
)
def test_an_exported_folder_generates_the_text_of_the_model(subjects, format, tmp_path):
    (tmp_path / "text.txt").write_text("abba" * 10)
    text_path = str(tmp_path / "text.txt")
    path, _ = exported(subjects["lstm"], tmp_path, format=format, text_path=text_path)
    check_text(subjects["lstm"], path)


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


def test_counted_models_do_not_fit_into_a_graph(ngram_subject, tmp_path):
    with pytest.raises(UserError, match="expected a neural network, found model=ngram; for it"):
        exported(ngram_subject, tmp_path, format="onnx")


@pytest.mark.parametrize("format", ["numpy", "safetensors", "hub"])
def test_counted_models_are_exported_as_code(ngram_subject, format, tmp_path):
    (tmp_path / "text.txt").write_text("abba" * 40)
    text_path = str(tmp_path / "text.txt")
    path, proof = exported(ngram_subject, tmp_path, format=format, text_path=text_path)
    assert proof.largest_error < 1e-4
    check_text(ngram_subject, path)


@pytest.mark.slow
def test_counted_models_fit_into_a_saved_model(ngram_subject, tmp_path):
    model = written(ngram_subject, "saved_model", "none", tmp_path / "out")
    expected = logits_of(ngram_subject, IDS)
    np.testing.assert_allclose(stepped(model, IDS, 2), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.read(IDS[None], model.start())[0][0], expected, rtol=1e-4)


@pytest.mark.slow
def test_a_saved_model_follows_the_conventions_of_tensorflow_serving(subjects, tmp_path):
    """A version as subfolder, signatures for `predict`, and a request that has a value per row."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    subject = subjects["gru"]
    FORMATS["saved_model"].exporter().write(subject, "none", tmp_path)
    content = (tmp_path / "1" / "saved_model.pb").read_bytes()
    [graph] = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    assert "serve" in graph.meta_info_def.tags
    signatures = {name: graph.signature_def[name] for name in ("serving_default", "read", "step")}
    for signature in signatures.values():
        assert signature.method_name == "tensorflow/serving/predict"
        for array in (*signature.inputs.values(), *signature.outputs.values()):
            assert array.tensor_shape.dim[0].size == -1  # rows
    ids, state = IDS[:2], subject.model().initial_state(2)
    before = dict(zip(subject.state_names, states.flatten(state), strict=True))
    rows = [
        {"ids": int(i), **{n: x[r].tolist() for n, x in before.items()}} for r, i in enumerate(ids)
    ]
    request = json.loads(json.dumps({"signature_name": "step", "instances": rows}))
    signature = signatures[request["signature_name"]]
    given = {
        name: tf.constant([row[name] for row in request["instances"]], tf.as_dtype(array.dtype))
        for name, array in signature.inputs.items()
    }
    answer = tf.saved_model.load(str(tmp_path / "1")).signatures["step"](**given)
    logits, after = subject.model().step(ids, state)
    np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)
    for name, array in zip(subject.state_names, states.flatten(after), strict=True):
        np.testing.assert_allclose(answer[f"next_{name}"], array, atol=1e-5)


@pytest.mark.parametrize(
    "format",
    [
        *("numpy", "safetensors", "hub", "onnx"),
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("litert", "saved_model", "keras")),
    ],
)
def test_the_python_code_of_a_readme_runs(subjects, format, tmp_path):
    FORMATS[format].exporter().write(subjects["gru"], "none", tmp_path)
    page = (tmp_path / "README.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    if format in ("numpy", "safetensors", "hub", "onnx"):  # TensorFlow and LiteRT log
        assert not done.stderr
    assert done.stdout


@pytest.mark.skipif(
    not (shutil.which("node") and os.environ.get("ONNXRUNTIME_WEB_DIR")),
    reason="needs node, and ONNXRUNTIME_WEB_DIR, a folder with onnxruntime-web",
)
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_the_javascript_of_a_readme_continues_a_prompt_as_python_does(subjects, quantize, tmp_path):
    subject = subjects["gru"]
    model = written(subject, "onnx", quantize, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text("utf-8")
    [code] = re.findall(r"```js\n(.*?)```", page, re.DOTALL)
    (tmp_path / "out" / "example.mjs").write_text(code)
    (tmp_path / "out" / "node_modules").symlink_to(
        pathlib.Path(os.environ["ONNXRUNTIME_WEB_DIR"]) / "node_modules"
    )
    done = subprocess.run(
        ["node", "example.mjs"], cwd=tmp_path / "out", capture_output=True, check=True, text=True
    )
    ids = [json.loads(re.search(r"let ids = (.*?);", code)[1])[0]]
    state, found = model.start(), []
    for _ in range(20):
        logits, state = model.step(np.array(ids[-1:], np.int32), state)
        ids.append(int(logits[0].argmax()))
        found.append(ids[-1])
    assert json.loads(done.stdout) == found


TEXT = "Knights’ café:\nTwo  knights, 12 café\u0301s; naïve — ok_ok\x03\n"


@pytest.mark.parametrize("tokens", ["characters", "bytes", "words"])
def test_the_tokenizer_of_a_folder_is_that_of_the_model(tokens, tmp_path):
    run = fake_runs.write_run(tmp_path / "run", text=TEXT * 3, tokens=tokens, **SMALL)
    FORMATS["numpy"].exporter().write(subject_of(run), "none", tmp_path)
    space = {"__file__": str(tmp_path / "tokenizer.py")}
    exec((tmp_path / "tokenizer.py").read_text("utf-8"), space)
    theirs, ours = space["Tokenizer"](), run.spec.tokenizer
    text = TEXT if tokens == "characters" else f"{TEXT} ünknown Knights \U0001f600"
    assert theirs.encode(text) == ours.encode(text).tolist()
    assert theirs.decode(ours.encode(text).tolist()) == text
    assert theirs.decode(range(ours.size)) == ours.decode(range(ours.size))


def test_a_character_outside_the_vocabulary_is_an_error_or_the_unknown_id(tmp_path):
    for unknown_id in (False, True):
        folder = tmp_path / str(unknown_id)
        run = fake_runs.write_run(folder / "run", unknown_id=unknown_id, **SMALL)
        FORMATS["numpy"].exporter().write(subject_of(run), "none", folder)
        space = {"__file__": str(folder / "tokenizer.py")}
        exec((folder / "tokenizer.py").read_text("utf-8"), space)
        if unknown_id:
            assert space["Tokenizer"]().encode("aé") == run.spec.tokenizer.encode("aé").tolist()
            continue
        with pytest.raises(ValueError, match="outside the vocabulary: 'é'"):
            space["Tokenizer"]().encode("aé")


def test_the_proof_reads_the_validation_text_of_the_run(abab_run, tmp_path):
    subject = Subject.of(loading.read_checkpoints([str(abab_run.path)]))
    _, proof = exported(subject, tmp_path)
    assert (proof.text, proof.num_chars) == ("validation text", 300)
    assert proof.nats_before == pytest.approx(abab_run.losses["validation"], abs=1e-4)


def test_the_proof_reads_a_given_text(subjects, tmp_path):
    (tmp_path / "text.txt").write_text("abba" * 1000)
    text_path = str(tmp_path / "text.txt")
    _, proof = exported(subjects["lstm"], tmp_path, text_path=text_path)
    assert (proof.text, proof.num_chars) == (f"text_path={text_path}", 2000)


def test_a_run_of_format_1_whose_corpus_is_not_there_is_exported(tmp_path):
    golden = str(REPOSITORY / "tests" / "golden" / "format-1")
    subject = Subject.of(loading.read_checkpoints([golden]))
    _, proof = exported(subject, tmp_path)
    assert proof.text == "text that the model wrote"
    assert proof.largest_error < 1e-4


def test_a_cell_from_outside_the_package_is_exported(tmp_path, monkeypatch):
    class Leaky(Cell):
        def step(self, xp, projected, state, weights):
            new = xp.tanh(projected + product(xp, state[0], weights["recurrent_kernel"]))
            h = 0.5 * state[0] + 0.5 * new
            return h, (h,)

    monkeypatch.setitem(CELLS, "leaky", Leaky())
    subject = subject_of(fake_runs.write_run(tmp_path / "run", **{**SMALL, "cell": "leaky"}))
    expected = logits_of(subject, IDS)
    for format in ("numpy", "safetensors", "onnx"):
        found = stepped(written(subject, format, "none", tmp_path / format), IDS)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_model_card_has_metadata_losses_and_a_sample(tmp_path):
    subject = Subject.of(loading.read_checkpoints(["pretrained:tiny-shakespeare"]))
    (tmp_path / "text.txt").write_text("To be, or not to be" * 9)
    path, _ = exported(subject, tmp_path, format="hub", text_path=str(tmp_path / "text.txt"))
    front, page = (path / "README.md").read_text("utf-8").split("---\n")[1:]
    assert "license: mit\n" in front
    assert 'split: "validation"' in front
    assert "validation 1.3369" in page
    assert "```\nROMEO:\n" in page
    weights = load_file(path / "model.safetensors")
    config = json.loads((path / "config.json").read_text("utf-8"))
    assert {n: list(w.shape) for n, w in weights.items()} == config["weights"]


def test_an_export_names_no_folder_of_its_user(tmp_path):
    corpus = str(tmp_path / "private" / "novel.txt")
    places = {"data_dir": str(tmp_path / "data"), "fallback_corpus": corpus}
    run = fake_runs.write_run(tmp_path / "run", corpus=corpus, **places, **SMALL)
    path, _ = exported(subject_of(run), tmp_path, format="hub")
    for file in path.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()
    assert "--corpus=novel.txt --fallback_corpus=novel.txt" in (path / "README.md").read_text()


def test_the_licence_of_a_hub_folder_is_that_of_the_package():
    assert (folders.PAGES / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()


def test_the_command_prints_the_proof(subjects, tmp_path):
    (tmp_path / "text.txt").write_text("abba" * 10)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "shakespeare_gen.export", "--format=onnx", "--quantize=int8"),
            f"--run_dir={subjects['lstm'].runs[0].path}",
            f"--output_path={tmp_path / 'out'}",
            f"--text_path={tmp_path / 'text.txt'}",
            "--max_loss_increase=9",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == str(tmp_path / "out")
    assert re.fullmatch(r"  loaded with +onnxruntime [\d.]+", lines[1])
    assert re.fullmatch(r"  nats per character +[\d.]+ before, [\d.]+ after \(.*\)", lines[5])
    assert done.stderr == ""


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="format=onnx: expected the packages of the extra onnx"):
        export.main(Options.parse(export.groups(), {"format": "onnx", "output_path": "out"}))


def test_a_missing_path_and_a_wrong_quantization_are_reported(subjects, tmp_path):
    with pytest.raises(UsageError, match="output_path: expected a path"):
        exported(subjects["lstm"], tmp_path, output_path="")
    with pytest.raises(UsageError, match="quantize: expected none with `format=numpy`"):
        exported(subjects["lstm"], tmp_path, quantize="int8")
