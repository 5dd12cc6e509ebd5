"""The RNN in NumPy: its gradients, what it learns, and as the reference of the Keras cells."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import shakespeare_gen
from shakespeare_gen import models, numpy_rnn
from shakespeare_gen.errors import UserError
from shakespeare_gen.models import layers
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec
from shakespeare_gen.options import Options
from shakespeare_gen.runs import checkpoints

V, UNITS = 11, 7
LAYERS = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM}


def network_of(cell, vocabulary_size=V, units=UNITS, seed=0, dtype=np.float64):
    """A network with random weights, biases included."""
    rng = np.random.default_rng(seed)
    weights = numpy_rnn.initial_weights(cell, vocabulary_size, units, 0.5, rng)
    return numpy_rnn.Network(
        cell,
        {name: (w + 0.1 * rng.normal(size=w.shape)).astype(dtype) for name, w in weights.items()},
    )


def keras_name(cell, name):
    return name if name.startswith("logits/") else f"{cell}_1/{name}"


@pytest.mark.parametrize("cell", numpy_rnn.CELLS)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_finite_differences(cell, seed):
    errors = numpy_rnn.gradient_errors(cell, seed)
    assert set(errors) == set(network_of(cell).weights)
    assert max(errors.values()) < 1e-7


def test_the_check_finds_a_wrong_gradient(monkeypatch, capsys):
    """Without the derivative of tanh."""
    wrong = staticmethod(lambda d_state, kept: (d_state[0], ()))
    monkeypatch.setattr(numpy_rnn.SimpleRNN, "backward", wrong)
    options = Options.parse(numpy_rnn.groups(), {"check_gradients": True})
    with pytest.raises(UserError, match="simple_rnn kernel: expected a relative error of at most"):
        numpy_rnn.main(options)


def test_the_command_checks_the_gradients_of_every_cell(capsys):
    numpy_rnn.main(Options.parse(numpy_rnn.groups(), {"check_gradients": True}))
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == set(numpy_rnn.CELLS)
    assert len(lines) == 10


@pytest.mark.parametrize("cell", numpy_rnn.CELLS)
def test_hello_world_is_learned_to_zero_error(cell):
    """After "l" comes "l", "o" or "d", and after "o" comes " " or "r": h has to remember."""
    text = "hello world\n" * 5
    characters = sorted(set(text))
    ids = np.array([characters.index(c) for c in text])
    weights = numpy_rnn.initial_weights(cell, len(characters), 30, 0.1, np.random.default_rng(0))
    network = numpy_rnn.Network(cell, weights)
    options = numpy_rnn.NumpyRNNOptions(cell=cell, num_steps=600, window_chars=11)
    *_, smoothed = numpy_rnn.train(network, ids, options)
    assert smoothed < np.log(len(characters))
    assert numpy_rnn.mean_loss(network, ids) < 0.02
    drawn = numpy_rnn.sample(network, ids[0], len(text) - 1, np.random.default_rng(0), 0.0)
    assert "h" + "".join(characters[i] for i in drawn) == text


def test_samples_have_the_frequencies_of_the_prediction():
    """The network ignores its input; within 5 standard deviations of the binomial distribution."""
    network = network_of("simple_rnn")
    for weight in network.weights.values():
        weight[:] = 0
    expected = np.arange(1, V + 1) / np.arange(1, V + 1).sum()
    network.weights["logits/bias"][:] = np.log(expected)
    drawn = numpy_rnn.sample(network, 0, 4000, np.random.default_rng(1))
    frequencies = np.bincount(drawn, minlength=V) / 4000
    assert (np.abs(frequencies - expected) < 5 * np.sqrt(expected * (1 - expected) / 4000)).all()
    sharp = numpy_rnn.sample(network, 0, 50, np.random.default_rng(1), temperature=0.01)
    assert set(sharp) == {V - 1}


def test_the_smoothed_loss_starts_with_that_of_guessing():
    network = network_of("simple_rnn")
    network.weights = {name: 0 * weight for name, weight in network.weights.items()}
    options = numpy_rnn.NumpyRNNOptions(num_steps=2, window_chars=5, learning_rate=1e-30)
    losses = list(numpy_rnn.train(network, np.arange(11) % V, options))
    assert losses == pytest.approx([np.log(V)] * 2)


def test_the_mean_loss_does_not_depend_on_chunks():
    network, ids = network_of("lstm"), np.random.default_rng(0).integers(0, V, 50)
    whole = numpy_rnn.mean_loss(network, ids)
    assert numpy_rnn.mean_loss(network, ids, chunk_chars=7) == pytest.approx(whole)
    total, _, _ = network.loss_and_gradients(ids[None, :-1], ids[None, 1:], network.initial_state())
    assert whole == pytest.approx(total / 49)


# The reference of the Keras cells


@pytest.mark.parametrize("cell", numpy_rnn.CELLS)
def test_a_network_of_this_package_has_the_same_loss_and_gradients(cell):
    """In float32, with one-hot input, from a state that is not empty."""
    reference = network_of(cell, dtype=np.float32)
    options = RecurrentOptions(cell=cell, units=UNITS, embedding_size=0)
    model = models.build(RecurrentSpec(V, options))
    for name, weight in reference.weights.items():
        model.weights[keras_name(cell, name)].assign(weight)
    ids, targets = np.random.default_rng(1).integers(0, V, (2, 3, 9)).astype(np.int32)
    state = tuple(0.5 + part for part in reference.initial_state(3))
    expected, expected_gradients, expected_state = reference.loss_and_gradients(ids, targets, state)
    variables = [model.weights[keras_name(cell, name)].value for name in expected_gradients]
    with tf.GradientTape() as tape:
        logits, (last,) = model.read(ids, (tuple(map(tf.constant, state)),))
        losses = keras.ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        loss = tf.reduce_sum(losses)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    found = map(tf.convert_to_tensor, tape.gradient(loss, variables))
    for gradient, (name, wanted) in zip(found, expected_gradients.items(), strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-5, err_msg=name)
    for part, wanted in zip(last, expected_state, strict=True):
        np.testing.assert_allclose(part, wanted, atol=1e-6)


@pytest.mark.parametrize("cell", numpy_rnn.CELLS)
@pytest.mark.parametrize("kernel", ["fused", "keras"])
def test_the_layers_have_the_same_gradients_in_float64(cell, kernel):
    reference = network_of(cell)
    with keras.device("cpu"):
        layer = LAYERS[cell](
            UNITS, return_sequences=True, kernel=kernel, one_hot_size=V, dtype="float64"
        )
        layer.build((3, 9, 1))
    names = ("kernel", "recurrent_kernel", "bias")
    layer.set_weights([reference.weights[name] for name in names])
    ids, targets = np.random.default_rng(1).integers(0, V, (2, 3, 9))
    expected, expected_gradients, _ = reference.loss_and_gradients(
        ids, targets, reference.initial_state(3)
    )
    with tf.GradientTape() as tape:
        hidden = layer(tf.constant(ids[..., None]))
        logits = hidden @ reference.weights["logits/kernel"] + reference.weights["logits/bias"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        loss = tf.reduce_sum(losses)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    gradients = map(tf.convert_to_tensor, tape.gradient(loss, layer.trainable_variables))
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(gradient, expected_gradients[name], rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["simple_rnn", "lstm"])
def test_training_with_the_options_of_min_char_rnn_is_training_in_numpy(cell, small_text, tmp_path):
    """The same weights after 81 updates: windows, carried state, restart of the text, Adagrad and
    clipping. The loss of `train` is a mean over 25 characters, so that its gradients, the limit of
    clipping and epsilon are smaller by 1 / 25 and 1 / 625."""
    text = small_text[:698] + "\n\n"
    run = shakespeare_gen.train_model(
        text=text,
        run_dir=tmp_path / "run",
        validation_fraction=0,
        test_fraction=0,
        cell=cell,
        units=20,
        embedding_size=0,
        init_scale=0.1,
        window_chars=25,
        batch_size=1,
        carry_state=True,
        random_offset=False,
        optimizer="adagrad",
        learning_rate=0.02,
        schedule="constant",
        warmup_steps=0,
        initial_accumulator=0.0,
        epsilon=1e-8 / 625,
        clip_norm=0.0,
        clip_value=1 / 25,
        precision="float32",
        epochs=3,
        sample_every_epochs=0,
        log_every_steps=1,
        seed=4,
    )
    rows = run.step_metrics()
    assert len(rows) == 3 * ((len(text) - 1) // 25) == 81
    keras.utils.set_random_seed(4)
    initial = models.build(run.spec.model_spec).weights
    names = list(network_of(cell).weights)
    weights = {name: np.array(initial[keras_name(cell, name)]) for name in names}
    network = numpy_rnn.Network(cell, weights)
    options = numpy_rnn.NumpyRNNOptions(
        cell=cell, learning_rate=0.02, clip_value=1.0, num_steps=len(rows)
    )
    losses = list(numpy_rnn.train(network, run.spec.tokenizer.encode(text), options))
    assert [row["smoothed_loss"] for row in rows] == pytest.approx(losses, rel=1e-4)
    trained = checkpoints.read(run, "last").weights
    for name, weight in network.weights.items():
        np.testing.assert_allclose(trained[keras_name(cell, name)], weight, atol=2e-3, err_msg=name)


# The command


def test_the_command_trains_on_a_file(small_text, tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_text(small_text, encoding="utf-8")
    flags = {"corpus": str(path), "num_steps": 50, "sample_every_steps": 20, "units": 10}
    numpy_rnn.main(Options.parse(numpy_rnn.groups(), flags | {"sample_chars": 30}))
    shown = capsys.readouterr().out
    assert [line.split(":")[0] for line in shown.splitlines() if "smoothed loss" in line] == [
        "step 20",
        "step 40",
        "step 50",
    ]
    assert shown.splitlines()[-1].startswith("validation: ")


def test_a_text_shorter_than_a_window_is_reported_on_one_line(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("hello world", encoding="utf-8")
    flags = {"corpus": str(path), "validation_fraction": 0, "test_fraction": 0}
    with pytest.raises(UserError, match="window_chars: expected a training text of at least 26 "):
        numpy_rnn.main(Options.parse(numpy_rnn.groups(), flags))


def test_the_command_needs_no_tensorflow(small_text, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(small_text, encoding="utf-8")
    code = (
        "import sys; from shakespeare_gen.__main__ import main\n"
        f"try: main(['numpy_rnn', '--corpus={path}', '--num_steps=2'])\n"
        "except SystemExit: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.endswith("\nFalse\n"), done.stderr
