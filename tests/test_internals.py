"""Gradients, updates and gates by layer: their values, their rows, resumption, the figure."""

import importlib.util
import json
import math

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import models, train
from shakespeare_gen.options import Options
from shakespeare_gen.report import layer_charts
from shakespeare_gen.runs import history

SMALL = {"units": 8, "embedding_size": 4, "window_chars": 16, "batch_size": 8, "num_layers": 2}
SMALL |= {"sample_every_epochs": 0, "log_every_steps": 5, "log_internals": True, "dropout": 0.2}


def model_of(**values):
    options = Options.parse(train.groups(), {**SMALL, "dropout": 0.0, **values})
    return models.build(models.spec_of(11, options))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def expected_lstm(weights, x, units):
    """The gates of an LSTM layer over inputs [T, D], step by step, and its outputs."""
    h, c, gates, outputs = np.zeros(units), np.zeros(units), [], []
    for row in x:
        z = row @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"]
        i, f, g, o = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        gates.append({"input": sigmoid(i), "forget": sigmoid(f), "output": sigmoid(o)})
        outputs.append(h)
    return gates, np.array(outputs)


def expected_gru(weights, x, units):
    h, gates, outputs = np.zeros(units), [], []
    for row in x:
        left = np.split(row @ weights["kernel"] + weights["bias"][0], 3)
        right = np.split(h @ weights["recurrent_kernel"] + weights["bias"][1], 3)
        z, r = sigmoid(left[0] + right[0]), sigmoid(left[1] + right[1])
        candidate = np.tanh(left[2] + r * right[2])
        h = z * h + (1 - z) * candidate
        gates.append({"update": z, "reset": r})
        outputs.append(h)
    return gates, np.array(outputs)


@pytest.mark.parametrize("embedding_size", [0, 4])
@pytest.mark.parametrize(("cell", "expected"), [("lstm", expected_lstm), ("gru", expected_gru)])
def test_gate_values_are_those_of_the_recurrence(cell, expected, embedding_size):
    model = model_of(cell=cell, embedding_size=embedding_size, residual=True)
    rng = np.random.default_rng(3)
    for variable in model.weights.values():
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    ids = rng.integers(11, size=(1, 6))
    found = model.gate_values(ids)
    every = {name: np.asarray(weight, np.float64) for name, weight in model.weights.items()}
    x = every["embedding/embeddings"][ids[0]] if embedding_size else np.eye(11)[ids[0]]
    for number in (1, 2):
        layer = f"{cell}_{number}"
        own = {n.split("/")[1]: w for n, w in every.items() if n.startswith(f"{layer}/")}
        gates, y = expected(own, x, 8)
        for gate in gates[0]:
            wanted = np.array([step[gate] for step in gates])
            np.testing.assert_allclose(found[f"{layer}/{gate}"][0], wanted, atol=2e-5)
        x = x + y if number > 1 else y


@pytest.mark.parametrize(
    ("cell", "gates"),
    [("min_gru", {"update"}), ("min_lstm", {"forget", "input"}), ("simple_rnn", set())],
)
def test_the_gates_of_a_cell(cell, gates):
    found = model_of(cell=cell, num_layers=1).gate_values([[1, 2, 3]])
    assert set(found) == {f"{cell}_1/{gate}" for gate in gates}
    assert all(((np.array(v) > 0) & (np.array(v) < 1)).all() for v in found.values())


def internals(row):
    return {key: value for key, value in row.items() if "/" in key}


@pytest.fixture(scope="module")
def run(small_text, tmp_path_factory):
    """A run of two layers; with logs for TensorBoard if that is installed."""
    folder = tmp_path_factory.mktemp("internals")
    (folder / "text.txt").write_text(small_text, "utf-8")
    options = {"corpus": str(folder / "text.txt"), "run_dir": folder / "run", "epochs": 1}
    tensorboard = importlib.util.find_spec("tensorboard") is not None
    return shakespeare_gen.train_model(**options, tensorboard=tensorboard, **SMALL)


def test_rows_of_steps_have_values_by_layer(run):
    rows = run.step_metrics()
    layers = ("embedding", "lstm_1", "lstm_2", "logits")
    gates = {f"saturation/lstm_{i}/{g}" for i in (1, 2) for g in ("input", "forget", "output")}
    kinds = ("gradient_norm", "update_to_weight_ratio")
    assert set(internals(rows[-1])) == gates | {f"{k}/{layer}" for k in kinds for layer in layers}
    for row in rows:
        norms = [row[f"gradient_norm/{layer}"] for layer in layers]
        assert math.hypot(*norms) == pytest.approx(row["gradient_norm"], rel=1e-5)
        assert all(0 <= row[gate] <= 1 for gate in gates)
    assert (run.path / "internals.png").read_bytes()[1:4] == b"PNG"


def places(line):
    return [tuple(map(float, point.split(","))) for point in line.points.split()]


def test_the_page_has_a_chart_per_kind_and_gate_with_a_line_per_layer():
    rows = [
        {"step": step, **{f"gradient_norm/{layer}": size * step for layer, size in sizes}}
        | {"saturation/lstm_1/forget": 0.25, "update_to_weight_ratio/lstm_1": 0.0}
        for sizes in ((("embedding", 0.01), ("lstm_1", 1.0)),)
        for step in (10, 20)
    ]
    gradients, gate = layer_charts.of(history.by_layer(rows))  # all updates are 0: no chart
    assert (gradients.title, gate.title) == ("Gradients", "Forget gate")
    assert [line.label for line in gradients.chart.lines] == ["embedding", "lstm_1"]
    assert gradients.chart.rows == [["10", "0.1", "10"], ["20", "0.2", "20"]]
    (_, low), (_, lower) = places(gradients.chart.lines[0])
    (left, high), (right, highest) = places(gradients.chart.lines[1])
    assert (left, right) == (0, 100)
    assert 0 < highest < high < lower < low < 100  # from the top
    assert low - lower == pytest.approx(high - highest, abs=0.02)  # a factor is a distance
    assert [label for _, label in gradients.chart.y_ticks] == ["0.1", "1", "10"]
    assert places(gate.chart.lines[0]) == [(0, 75), (100, 75)]


def test_the_evaluation_of_a_run_shows_its_internals(run):
    found = shakespeare_gen.evaluate_run(run, baselines=False, sample_chars=0)
    rows = run.step_metrics()
    assert found["internals"]["saturation"]["lstm_2/forget"] == [
        [row["step"], row["saturation/lstm_2/forget"]] for row in rows
    ]
    page = (run.folder.evaluation_dir / "evaluation.html").read_text("utf-8")
    section = page.split('<section id="internals"')[1].split("</section>")[0]
    titles = ("Gradients", "Updates", "Input gate", "Forget gate", "Output gate")
    assert [title for title in titles if f"<b>{title}</b>" in section] == list(titles)
    assert section.count('class="layer"') == 2 * (4 + 4 + 3 * 2)  # in the legend and the plot


@pytest.mark.slow
def test_a_resumed_run_logs_the_same_values(small_text, tmp_path):
    whole = shakespeare_gen.train_model(text=small_text, run_dir=tmp_path / "a", epochs=2, **SMALL)
    part = {**SMALL, "schedule": "constant"}
    for path, epochs in (("b", (2,)), ("c", (1, 2))):
        for number, last in enumerate(epochs):
            again = {"resume": True} if number else part
            shakespeare_gen.train_model(
                text=small_text, run_dir=tmp_path / path, epochs=last, **again
            )
    found = [shakespeare_gen.runs.open_run(tmp_path / p).step_metrics() for p in ("b", "c")]
    assert [internals(row) for row in found[0]] == [internals(row) for row in found[1]]
    assert len(whole.step_metrics()) == len(found[0]) > 4


def test_other_models_have_values_by_layer(small_text, tmp_path):
    options = {"model": "transformer", "width": 8, "num_heads": 2}
    run = shakespeare_gen.train_model(
        text=small_text, run_dir=tmp_path / "x", epochs=1, **{**SMALL, **options}
    )
    found = {key.split("/")[0] for key in internals(run.step_metrics()[-1])}
    assert found == {"gradient_norm", "update_to_weight_ratio"}


def test_tensorboard_has_the_values(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder.tensorboard_dir / "train"))
    events.Reload()
    assert set(internals(run.step_metrics()[-1])) <= set(events.Tags()["tensors"])


@pytest.mark.parametrize(
    "key", ["saturation", "saturation/", "saturation/A", "saturation/a/b/c", "other/lstm_1"]
)
def test_a_row_with_another_name_is_damaged(tmp_path, key):
    row = {"step": 1, "loss": 1.0, "learning_rate": 0.1}
    path = tmp_path / "metrics.jsonl"
    good = {**row, "saturation/lstm_1/forget": 0.5}
    path.write_text(json.dumps({**row, key: 0.5}) + "\n" + json.dumps(good) + "\n", "utf-8")
    assert history.read_rows(path) == [good]
