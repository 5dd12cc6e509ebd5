"""The layers compared with keras.layers with the same weights, and with finite differences."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from shakespeare_gen.models import layers

PAIRS = {
    "lstm": (layers.LSTM, keras.layers.LSTM),
    "gru": (layers.GRU, keras.layers.GRU),
    "simple_rnn": (layers.SimpleRNN, keras.layers.SimpleRNN),
}
RANDOM = np.random.default_rng(0)


def random(*shape):
    return tf.constant(RANDOM.normal(size=shape), tf.float32)


def pair(cell, features=3, **options):
    """This package's layer and Keras's, built, with the same weights; the biases are not zero."""
    ours, theirs = (
        kind(5, return_sequences=True, return_state=True, **options) for kind in PAIRS[cell]
    )
    for layer in (ours, theirs):
        layer.build((None, None, features))
    weights = [np.asarray(RANDOM.normal(size=w.shape) * 0.5) for w in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def state_of(layer, batch_size):
    return [random(batch_size, 5) for _ in range(2 if isinstance(layer, keras.layers.LSTM) else 1)]


def loss_and_gradients(layer, x, state, targets):
    with tf.GradientTape() as tape:
        tape.watch([x, *state])
        results = layer(x, initial_state=state)
        loss = sum(tf.reduce_sum(r * t) for r, t in zip(results, targets, strict=True))
    return results, tape.gradient(loss, [x, *state, *layer.trainable_variables])


@pytest.mark.parametrize("cell", PAIRS)
@pytest.mark.parametrize(("batch_size", "num_steps"), [(1, 1), (4, 7), (3, 50)])
def test_results_and_gradients_match_keras(cell, batch_size, num_steps):
    ours, theirs = pair(cell)
    x, state = random(batch_size, num_steps, 3), state_of(ours, batch_size)
    targets = [random(*r.shape) for r in theirs(x, initial_state=state)]
    results, gradients = loss_and_gradients(ours, x, state, targets)
    expected_results, expected_gradients = loss_and_gradients(theirs, x, state, targets)
    for found, expected in zip(
        [*results, *gradients], [*expected_results, *expected_gradients], strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("cell", PAIRS)
def test_gradients_match_finite_differences(cell):
    """In float64, so that the difference quotient is precise enough."""
    with keras.device("cpu"):
        layer = PAIRS[cell][0](3, return_sequences=True, return_state=True, dtype="float64")
        layer.build((2, 4, 2))
        values = [tf.constant(RANDOM.normal(size=w.shape)) for w in layer.trainable_variables]
        x = tf.constant(RANDOM.normal(size=(2, 4, 2)))
        weights = tf.constant(RANDOM.normal(size=(2, 4, 3)))

    def loss(*arguments):
        x, *values = arguments
        for variable, value in zip(layer.trainable_variables, values, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = tf.reduce_sum(layer(x)[0] * weights)
        return result, tape.gradient(result, [x, *layer.trainable_variables])

    arguments = [x, *values]
    _, gradients = loss(*arguments)
    for i, gradient in enumerate(gradients):
        direction = tf.constant(RANDOM.normal(size=arguments[i].shape))
        shifted = [list(arguments), list(arguments)]
        for sign, changed in zip((1, -1), shifted, strict=True):
            changed[i] = arguments[i] + sign * 1e-5 * direction
        quotient = (loss(*shifted[0])[0] - loss(*shifted[1])[0]) / 2e-5
        slope = tf.reduce_sum(gradient * direction)
        np.testing.assert_allclose(slope, quotient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cell", PAIRS)
@pytest.mark.parametrize("batch_size", [None, 5])
def test_batch_and_length_may_be_unknown_in_a_graph(cell, batch_size):
    """With a known batch size and an unknown length, the GRU's loop once lost the batch size."""
    ours, theirs = pair(cell)
    state = state_of(ours, 5) if batch_size else None

    @tf.function(input_signature=[tf.TensorSpec([batch_size, None, 3])])
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(ours(x, initial_state=state)[0] ** 2)
        return y, tape.gradient(y, x)

    for shape in ((batch_size or 2, 3, 3), (5, 9, 3)):
        x = random(*shape)
        with tf.GradientTape() as tape:
            tape.watch(x)
            expected = tf.reduce_sum(theirs(x, initial_state=state)[0] ** 2)
        found, gradient = run(x)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        np.testing.assert_allclose(gradient, tape.gradient(expected, x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", PAIRS)
@pytest.mark.parametrize(
    "options",
    [{"go_backwards": True}, {"use_bias": False}, {"activation": "relu"}, {"unroll": True}],
)
def test_options_without_a_kernel_fall_back_to_keras(cell, options):
    ours, theirs = pair(cell, **options)
    x = random(2, 4, 3)
    np.testing.assert_allclose(ours(x)[0], theirs(x)[0], rtol=1e-4, atol=1e-5)
    ours.kernel = "fused"
    with pytest.raises(ValueError, match="kernel='fused' covers"):
        ours(x)


@pytest.mark.parametrize("cell", PAIRS)
def test_a_mask_falls_back_to_keras(cell):
    ours, theirs = pair(cell)
    x, mask = random(2, 4, 3), tf.constant([[True] * 4, [True, True, False, False]])
    np.testing.assert_allclose(ours(x, mask=mask)[0], theirs(x, mask=mask)[0], atol=1e-5)


@pytest.mark.parametrize("cell", PAIRS)
def test_last_output_and_stateful_match_keras(cell):
    kinds = PAIRS[cell]
    x = random(2, 6, 3)
    ours, theirs = (kind(5, stateful=True) for kind in kinds)
    ours.build(x.shape)
    theirs.build(x.shape)
    ours.set_weights(theirs.get_weights())
    for part in (x[:, :2], x[:, 2:]):
        np.testing.assert_allclose(ours(part), theirs(part), atol=1e-5)


@pytest.mark.parametrize("cell", PAIRS)
@pytest.mark.parametrize("dropout", [0.5, 1.0])
def test_input_dropout_matches_keras(cell, dropout):
    """One mask over the features, the same at every time step."""
    ours, theirs = pair(cell, dropout=dropout, seed=1)
    x = random(3, 4, 3)
    try:
        expected = theirs(x, training=True)[0]
    except ValueError:
        pytest.skip("this version of Keras rejects a dropout of 1")
    np.testing.assert_allclose(ours(x, training=True)[0], expected, rtol=1e-4, atol=1e-5)
    assert ours.chosen_kernel() == ("fused" if dropout < 1 else "keras")


@pytest.mark.parametrize("cell", PAIRS)
def test_an_activation_is_not_identified_by_its_name_alone(cell):
    def tanh(x):
        return keras.ops.clip(x, -1, 1)

    x = random(2, 4, 3)
    for activation in (tanh, keras.layers.LeakyReLU()):
        ours, theirs = pair(cell, activation=activation)
        np.testing.assert_allclose(ours(x)[0], theirs(x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", PAIRS)
def test_layers_are_saved_wrapped_and_loaded_like_those_of_keras(cell, tmp_path):
    ours, theirs = PAIRS[cell]
    both = keras.layers.Bidirectional(ours(4, return_sequences=True))
    model = keras.Sequential([keras.Input((None, 3)), both, ours(5)])
    model.save(tmp_path / "m.keras")
    x = random(2, 6, 3)
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "m.keras")(x), model(x))
    assert theirs.from_config(ours(4, dropout=0.1).get_config()).dropout == 0.1


def test_the_loop_of_keras_runs_on_a_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: ["GPU:0"])
    assert layers.LSTM(3).chosen_kernel() == "keras"
    assert layers.LSTM(3, kernel="fused").chosen_kernel() == "fused"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_cudnn_is_named_where_keras_uses_it(cell, monkeypatch):
    kind, _ = PAIRS[cell]
    assert not kind(3).runs_on_cudnn()
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: ["GPU:0"])
    assert kind(3).runs_on_cudnn()
    assert not kind(3, kernel="fused").runs_on_cudnn()
    assert not kind(3, recurrent_dropout=0.1).runs_on_cudnn()
    assert not kind(3, activation="relu").runs_on_cudnn()
    assert not layers.SimpleRNN(3).runs_on_cudnn()


@pytest.mark.parametrize("bias", [-3.0, -6.0, -9.0])
def test_a_nearly_closed_gate_keeps_its_precision_in_bfloat16(bias):
    """Computed from a tanh rounded to bfloat16, an input gate of 0.0009 was once 0, and so was its
    gradient."""
    found = {}
    for dtype in ("float32", "mixed_bfloat16"):
        layer = layers.LSTM(1, return_state=True, dtype=dtype)
        layer.build((None, None, 1))
        layer.set_weights([np.zeros((1, 4)), np.zeros((1, 4)), np.array([bias, 10, 10, 10])])
        with tf.GradientTape() as tape:
            cell_state = layer(tf.zeros([1, 1, 1]))[2]
        gradient = tape.gradient(cell_state, layer.cell.bias)
        found[dtype] = [float(cell_state[0, 0]), float(gradient[0])]
    np.testing.assert_allclose(found["mixed_bfloat16"], found["float32"], rtol=0.01)


@pytest.mark.parametrize("cell", PAIRS)
def test_bfloat16_approximates_float32(cell):
    ours, _ = pair(cell)
    narrow = PAIRS[cell][0](5, return_sequences=True, dtype="mixed_bfloat16")
    narrow.build((None, None, 3))
    narrow.set_weights(ours.get_weights())
    x = random(3, 20, 3)
    with tf.GradientTape() as tape:
        y = narrow(x)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
    assert y.dtype == tf.bfloat16
    assert all(v.dtype == "float32" for v in narrow.weights)
    np.testing.assert_allclose(tf.cast(y, tf.float32), ours(x)[0], atol=0.1)
    for gradient in tape.gradient(loss, narrow.trainable_variables):
        assert gradient.dtype == tf.float32
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("cell", PAIRS)
def test_graph_size_does_not_depend_on_length(cell):
    ours, _ = pair(cell)

    def num_operations(num_steps):
        run = tf.function(lambda x: ours(x)[0])
        graph = run.get_concrete_function(tf.TensorSpec([2, num_steps, 3])).graph
        return len(graph.get_operations())

    assert num_operations(1000) < num_operations(10) + 10


def test_gate_rows_of_an_lstm_do_not_share_cache_sets():
    """At 256 units, rows of gates were once 4,096 bytes apart, and the weight gradient, a product
    without repacking of its input, took 1.8 times as long."""
    layer = layers.LSTM(256, return_sequences=True, kernel="fused")

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x))
        return tape.gradient(loss, layer.trainable_weights)

    traced = gradient.get_concrete_function(tf.TensorSpec([64, 100, 64])).graph
    graph = traced.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    shapes = [n.attr["_output_shapes"].list.shape[0].dim for n in nodes if n.op == "MatMul"]
    widths = {shape[1].size for shape in shapes}
    assert {256, 1024 + 16} <= widths  # both are found: the gradient of h and the gates
    assert not any(width * 4 % 4096 == 0 for width in widths)


READS_IDS = {
    "lstm": layers.LSTM,
    "gru": layers.GRU,
    "simple_rnn": layers.SimpleRNN,
    "min_gru": layers.MinGRU,
    "min_lstm": layers.MinLSTM,
}


@pytest.mark.parametrize(
    ("dtype", "cell"),
    [
        *(("float32", cell) for cell in READS_IDS),
        ("mixed_bfloat16", "lstm"),
        *(
            pytest.param("mixed_bfloat16", cell, marks=pytest.mark.slow)
            for cell in READS_IDS
            if cell != "lstm"
        ),
    ],
)
def test_ids_equal_one_hot_vectors_with_every_kernel(cell, dtype):
    """`keras` is the way of a GPU. In bfloat16, a sum of 600 gradients of one row is not rounded at
    every addition."""
    ids = RANDOM.integers(0, 4, (20, 30, 1)).astype(np.int32)
    vectors, found, weights = tf.one_hot(ids[..., 0], 4), {}, None
    for kernel, size, x in (("keras", 0, vectors), ("keras", 4, ids), ("fused", 4, ids)):
        layer = READS_IDS[cell](
            5, return_sequences=True, kernel=kernel, one_hot_size=size, dtype=dtype
        )
        layer.build(x.shape)
        if weights is None:
            # Small ones: with large weights a rounded state grows apart step by step.
            weights = [0.5 * np.asarray(random(*w.shape)) for w in layer.get_weights()]
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            y = tf.cast(layer(x), tf.float32)
            loss = tf.reduce_mean((y - 1) ** 2)
        gradients = tape.gradient(loss, layer.trainable_variables)
        found[kernel, size] = [y, *map(tf.convert_to_tensor, gradients)]
    tolerance = 1e-5 if dtype == "float32" else 0.03
    for key in (("keras", 4), ("fused", 4)):
        for part, expected in zip(found[key], found["keras", 0], strict=True):
            difference = np.linalg.norm(part - expected) / np.linalg.norm(expected)
            assert difference < tolerance, key


@pytest.mark.parametrize("cell", READS_IDS)
def test_configs_contain_the_size_of_one_hot_vectors(cell):
    kind = READS_IDS[cell]
    assert kind.from_config(kind(3, one_hot_size=7).get_config()).one_hot_size == 7
    assert "one_hot_size" not in kind(3).get_config()


def test_configs_are_those_of_keras_with_kernel():
    layer = layers.LSTM.from_config(layers.LSTM(7, dropout=0.1, kernel="keras").get_config())
    assert (layer.units, layer.dropout, layer.kernel) == (7, 0.1, "keras")
    with pytest.raises(ValueError, match="expected one of auto, keras, fused"):
        layers.GRU(3, kernel="fast")


MINIMAL = {"min_gru": layers.MinGRU, "min_lstm": layers.MinLSTM}


@pytest.mark.parametrize("cell", MINIMAL)
@pytest.mark.parametrize("num_steps", [1, 2, 37])
def test_the_scans_equal_the_loop_over_the_cell(cell, num_steps):
    """Compares results and gradients of Keras's loop, the sequential and the parallel scan."""
    x, h = random(3, num_steps, 4), random(3, 5)
    weights = None
    for kernel in ("keras", "fused"):
        layer = MINIMAL[cell](5, return_sequences=True, return_state=True, kernel=kernel)
        layer.build(x.shape)
        if weights is None:
            weights = [np.asarray(random(*w.shape)) for w in layer.get_weights()]
            target = random(3, num_steps, 5)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch([x, h])
            y, last = layer(x, initial_state=h)
            loss = tf.reduce_sum(y * target) + tf.reduce_sum(last**2)
        found = [y, last, *tape.gradient(loss, [x, h, *layer.trainable_variables])]
        if kernel == "keras":
            expected = found
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_parallel_scan_equals_the_sequential_one():
    from shakespeare_gen.models.layers import minimal

    decay, new, h = tf.sigmoid(random(50, 2, 3)), random(50, 2, 3), random(2, 3)
    results = []
    for scan in (minimal.sequential_scan, minimal.parallel_scan):
        with tf.GradientTape() as tape:
            tape.watch([decay, new, h])
            y = scan(decay, new, h)
            loss = tf.reduce_sum(y**2)
        results.append([y, *tape.gradient(loss, [decay, new, h])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("cell", MINIMAL)
def test_the_long_memory_of_a_minimal_cell_works_in_bfloat16(cell):
    """In bfloat16 a state that changes by a thousandth per step once stopped changing."""
    last = {}
    for dtype in ("float32", "mixed_bfloat16"):
        for kernel in ("fused", "keras"):
            layer = MINIMAL[cell](1, dtype=dtype, kernel=kernel)
            layer.build((None, None, 1))
            kernel_weights, bias = layer.get_weights()
            bias[:] = {"min_gru": [-6, 1], "min_lstm": [0, -6, 1]}[cell]
            layer.set_weights([0 * kernel_weights, bias])
            last[dtype, kernel] = float(layer(tf.zeros([1, 300, 1]))[0, 0])
    assert 0.3 < last["float32", "fused"] < 0.9
    assert last["mixed_bfloat16", "fused"] == pytest.approx(last["float32", "fused"], rel=0.01)
    assert last["float32", "keras"] == pytest.approx(last["float32", "fused"], rel=1e-4)


@pytest.mark.parametrize("cell", MINIMAL)
def test_a_minimal_cell_reads_any_length_on_a_gpu(cell, monkeypatch):
    """The parallel scan cannot be traced for an unknown length."""
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: ["GPU:0"])
    layer = MINIMAL[cell](5)
    layer.build((None, None, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3])])
    def run(x):
        return layer(x)

    for x in (random(2, 9, 3), random(4, 1, 3)):
        np.testing.assert_allclose(run(x), layer(x), atol=1e-5)


@pytest.mark.parametrize("cell", MINIMAL)
def test_a_minimal_cell_with_a_mask_uses_the_loop_of_keras(cell):
    x, mask = random(2, 4, 3), tf.constant([[True] * 4, [True, True, False, False]])
    layer = MINIMAL[cell](5, return_sequences=True)
    shorter = layer(x[1:, :2])
    np.testing.assert_allclose(layer(x, mask=mask)[1:, :2], shorter, atol=1e-5)
    np.testing.assert_allclose(layer(x, mask=mask)[1, 3], shorter[0, 1], atol=1e-5)
    layer.kernel = "fused"
    with pytest.raises(ValueError, match="kernel='fused' covers"):
        layer(x, mask=mask)


def test_a_minimal_cell_never_overflows():
    layer = layers.MinLSTM(4, return_sequences=True)
    y = layer(100 * random(2, 500, 3))
    assert np.isfinite(y).all()
    assert layers.MinLSTM.from_config(layer.get_config()).cell.units == 4


@pytest.mark.slow
def test_ids_of_one_hot_vectors_are_read_without_messages():
    """Without AVX-512, oneDNN reported the transposition of integers as an error."""
    code = (
        "from shakespeare_gen.system import devices; devices.start()\n"
        "from shakespeare_gen import models\n"
        "from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec\n"
        "model = models.build(RecurrentSpec(9, RecurrentOptions(units=4, embedding_size=0)))\n"
        "model.read([[1, 2, 3]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stderr == ""
