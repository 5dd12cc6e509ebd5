"""The recurrent family: consistency of the step, the whole sequence and NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from shakespeare_gen import models
from shakespeare_gen.models import states
from shakespeare_gen.models.cells import CELLS
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec
from shakespeare_gen.training.model import TrainingModel

V, UNITS = 11, 7


def model_of(cell="lstm", seed=3, precision="float32", **options):
    keras.utils.set_random_seed(seed)
    options = RecurrentOptions(cell=cell, **{"units": UNITS, "embedding_size": 5, **options})
    return models.build(RecurrentSpec(V, options), precision)


def ids_of(*shape):
    return np.random.default_rng(0).integers(0, V, shape).astype(np.int32)


def arrays_of(model):
    return {name: np.asarray(weight) for name, weight in model.weights.items()}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "residual": True, "dropout": 0.5}])
def test_stepping_equals_the_whole_sequence_in_tensorflow_and_numpy(cell, options):
    model = model_of(cell, **options)
    ids, state = ids_of(4, 9), model.initial_state(4)
    whole, last = model.read(ids, state)
    in_numpy = models.from_arrays(model.spec, arrays_of(model))
    numpy_logits, numpy_last = in_numpy.read(ids, in_numpy.initial_state(4))
    np.testing.assert_allclose(numpy_logits, whole, atol=1e-5)
    for t in range(ids.shape[1]):
        logits, state = model.step(ids[:, t], state)
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
    for found in (state, numpy_last):
        for part, expected in zip(states.flatten(found), states.flatten(last), strict=True):
            np.testing.assert_allclose(part, expected, atol=1e-5)


def plain_handcrafted(weights, ids):
    """The logits of the cell `handcrafted`, with one-hot vectors."""
    h = np.zeros((len(ids), UNITS))
    logits = []
    for t in range(ids.shape[1]):
        x = np.eye(V)[ids[:, t]]
        h = np.tanh(
            x @ weights["handcrafted_1/kernel"]
            + h @ weights["handcrafted_1/recurrent_kernel"]
            + weights["handcrafted_1/bias"]
        )
        logits.append(h @ weights["logits/kernel"] + weights["logits/bias"])
    return np.stack(logits, 1)


def test_the_handcrafted_cell_matches_plain_numpy():
    model, ids = model_of("handcrafted", embedding_size=0), ids_of(3, 6)
    model.weights["handcrafted_1/bias"].assign(np.linspace(-1, 1, UNITS))
    logits, _ = model.read(ids, model.initial_state(3))
    np.testing.assert_allclose(logits, plain_handcrafted(arrays_of(model), ids), atol=1e-5)


def test_the_handcrafted_cell_starts_with_small_normal_weights():
    """Unlike `simple_rnn`, whose recurrent weights are orthogonal."""
    weights = arrays_of(model_of("handcrafted", units=200))
    for name in ("kernel", "recurrent_kernel"):
        assert weights[f"handcrafted_1/{name}"].std() == pytest.approx(0.05, rel=0.1)
    assert not weights["handcrafted_1/bias"].any()


@pytest.mark.parametrize("cell", CELLS)
def test_one_hot_vectors_equal_an_embedding_by_the_identity(cell):
    """Logits, states and gradients; without an embedding, the first kernel has V rows."""
    options = {"num_layers": 2, "residual": True}
    embedded = model_of(cell, embedding_size=V, **options)
    one_hot = model_of(cell, embedding_size=0, **options)
    assert "embedding/embeddings" not in one_hot.weights
    embedded.weights["embedding/embeddings"].assign(np.eye(V))
    found = []
    ids, targets = ids_of(3, 9), ids_of(9, 3).T
    values = {name: weight + 0.1 for name, weight in arrays_of(one_hot).items()}
    for model in (one_hot, embedded):
        for name, value in values.items():
            model.weights[name].assign(value)
        with tf.GradientTape() as tape:
            logits, state = model.read(ids, model.initial_state(3))
            losses = keras.ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        weights = [model.weights[name].value for name in one_hot.weights]
        gradients = map(tf.convert_to_tensor, tape.gradient(losses, weights))
        found.append([logits, *states.flatten(state), *gradients])
    for part, expected in zip(*found, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_one_hot_vectors_are_not_computed_without_a_gpu(cell):
    """A lookup replaces them: with 10,000 tokens, vectors would take most of the time."""
    model = model_of(cell, embedding_size=0)
    ids, state = ids_of(2, 5), model.initial_state(2)
    function = tf.function(lambda ids: model.read(ids, state)[0])
    graph = function.get_concrete_function(tf.constant(ids)).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    operations = {node.op for node in nodes}
    assert "OneHot" not in operations
    assert "GatherV2" in operations


@pytest.mark.parametrize("cell", CELLS)
def test_one_hot_vectors_step_and_run_in_numpy(cell):
    model, ids = model_of(cell, embedding_size=0), ids_of(2, 6)
    whole, _ = model.read(ids, model.initial_state(2))
    in_numpy, state = model.in_numpy(), model.initial_state(2)
    np.testing.assert_allclose(in_numpy.read(ids, in_numpy.initial_state(2))[0], whole, atol=1e-5)
    for t in range(6):
        logits, state = model.step(ids[:, t], state)
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
    shapes = {name: tuple(weight.shape) for name, weight in model.weights.items()}
    assert model.spec.weight_shapes() == shapes
    assert model.spec.num_parameters == model.num_parameters


@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights_have_the_given_scale(cell):
    """All matrices of all layers; biases, also the forget bias of an LSTM, are 0."""
    model = model_of(cell, units=150, embedding_size=20, num_layers=2, init_scale=0.01)
    for name, weight in arrays_of(model).items():
        if name.endswith("bias"):
            assert not weight.any(), name
        else:
            assert weight.std() == pytest.approx(0.01, rel=0.1), name
            assert abs(weight.mean()) < 0.001, name
    again = arrays_of(model_of(cell, units=150, embedding_size=20, num_layers=2, init_scale=0.01))
    np.testing.assert_array_equal(again["logits/kernel"], arrays_of(model)["logits/kernel"])


def test_the_network_of_a_model_in_use_is_not_built_again(monkeypatch):
    """Once, the oldest network was evicted from the cache even if it was used all the time."""
    built, build = [], keras.layers.Embedding.build
    monkeypatch.setattr(keras.layers.Embedding, "build", lambda *a: built.append(build(*a)))
    model = model_of(embedding_size=3)
    for size in (4, 5, 6, 7):
        models.build(RecurrentSpec(V, RecurrentOptions(units=UNITS, embedding_size=size)))
        model.read_function(model.weight_arrays(), ids_of(1, 2), model.initial_state(1))
    assert len(built) == 5


def test_an_lstm_matches_plain_numpy():
    """An independent implementation of the equations."""
    model = model_of()
    weights, ids = arrays_of(model), ids_of(2, 6)
    logits, _ = model.read(ids, model.initial_state(2))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    h, c = np.zeros((2, UNITS)), np.zeros((2, UNITS))
    for t in range(6):
        x = weights["embedding/embeddings"][ids[:, t]]
        gates = x @ weights["lstm_1/kernel"] + h @ weights["lstm_1/recurrent_kernel"]
        i, f, g, o = np.split(gates + weights["lstm_1/bias"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        expected = h @ weights["logits/kernel"] + weights["logits/bias"]
        np.testing.assert_allclose(logits[:, t], expected, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_the_spec_matches_the_built_weights_and_states(cell):
    model = model_of(cell, num_layers=3, residual=True)
    built = {name: tuple(weight.shape) for name, weight in model.weights.items()}
    assert model.spec.weight_shapes() == built
    assert model.spec.num_parameters == model.num_parameters == model.layer.count_params()
    arrays = states.flatten(model.initial_state(2))
    assert model.spec.state_shapes(2) == [tuple(array.shape) for array in arrays]


def test_weight_names_do_not_change_between_models_of_one_process():
    assert list(model_of().weights) == list(model_of().weights)


def test_read_and_step_see_a_weight_that_changes():
    """Stepping once used a snapshot that only one callback updated."""
    model = model_of()
    ids, state = ids_of(2, 1), model.initial_state(2)
    before, _ = model.step(ids[:, 0], state)
    model.weights["logits/bias"].assign(np.arange(V, dtype=np.float32))
    stepped, _ = model.step(ids[:, 0], state)
    whole, _ = model.read(ids, state)
    np.testing.assert_allclose(stepped, whole[:, 0], atol=1e-5)
    np.testing.assert_allclose(stepped - before, np.broadcast_to(np.arange(V), (2, V)), atol=1e-5)


def test_models_with_the_same_spec_share_a_step_function():
    assert model_of(seed=1).step_function == model_of(seed=2).step_function
    assert hash(model_of(seed=1).step_function) == hash(model_of(seed=2).step_function)
    assert model_of().step_function != model_of("gru").step_function


def test_bfloat16_keeps_a_float32_state():
    model = model_of(precision="bfloat16", num_layers=2)
    exact = models.from_arrays(model.spec, arrays_of(model))
    ids = ids_of(3, 8)
    logits, state = model.read(ids, model.initial_state(3))
    expected, _ = exact.read(ids, exact.initial_state(3))
    np.testing.assert_allclose(logits, expected, atol=0.05)
    assert {array.dtype.name for array in states.flatten(state)} == {"float32"}


def test_hidden_activations_are_the_outputs_of_every_layer():
    model = model_of(num_layers=2)
    ids, state = ids_of(3, 8), model.initial_state(3)
    activations, last = model.hidden(ids, state)
    _, expected = model.read(ids, state)
    assert activations.shape == (3, 8, 2 * UNITS)
    outputs = np.concatenate([expected[0][0], expected[1][0]], -1)
    np.testing.assert_allclose(activations[:, -1], outputs, atol=1e-6)
    for part, other in zip(states.flatten(last), states.flatten(expected), strict=True):
        np.testing.assert_allclose(part, other, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_hidden_activations_and_gates_are_the_same_in_numpy(cell):
    model = model_of(cell, num_layers=2, residual=True)
    exact, ids = model.in_numpy(), ids_of(3, 8)
    np.testing.assert_allclose(exact.hidden(ids)[0], model.hidden(ids)[0], atol=1e-5)
    found, expected = exact.gate_values(ids), model.gate_values(ids)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


# States


def test_rows_of_a_state_are_taken_repeated_and_joined():
    model = model_of(num_layers=2)
    _, state = model.read(ids_of(3, 4), model.initial_state(3))
    swapped = states.take(state, np.array([2, 0]))
    joined = states.concatenate([swapped, states.take(state, np.array([1]))])
    twice = states.repeat(joined, 2)
    for array, found in zip(states.flatten(state), states.flatten(twice), strict=True):
        np.testing.assert_array_equal(found, np.asarray(array)[[2, 2, 0, 0, 1, 1]])


def test_a_state_is_any_tree():
    state = {"cache": (np.arange(6).reshape(3, 2), [np.arange(3)]), "position": np.arange(3)}
    found = states.take(state, np.array([1]))
    assert found["cache"][0].tolist() == [[2, 3]]
    assert found["cache"][1][0].tolist() == [1]
    again = states.unflatten(state, states.flatten(state))
    assert again["position"] is state["position"]


# Ensembles


def softmax(logits):
    powers = np.exp(logits - np.max(logits, -1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_an_ensemble_is_the_mean_probability_of_its_models():
    parts = [model_of("lstm", seed=1), model_of("gru", seed=2, num_layers=2)]
    both = Ensemble(parts, tnp)
    ids = ids_of(2, 5)
    logits, _ = both.read(ids, both.initial_state(2))
    alone = [model.read(ids, model.initial_state(2))[0] for model in parts]
    expected = np.mean([softmax(np.asarray(x)) for x in alone], 0)
    np.testing.assert_allclose(softmax(np.asarray(logits)), expected, atol=1e-6)
    state = both.initial_state(2)
    for t in range(5):
        stepped, state = both.step(ids[:, t], state)
        np.testing.assert_allclose(stepped, logits[:, t], atol=1e-5)
    assert both.num_parameters == sum(model.num_parameters for model in parts)


def test_an_ensemble_of_identical_models_equals_that_model():
    """Penalties divide logits, so the logits of an ensemble need the scale of a single model."""
    model = model_of()
    ids = ids_of(2, 5)
    twice = Ensemble([model, model], tnp)
    logits, _ = twice.read(ids, twice.initial_state(2))
    expected, _ = model.read(ids, model.initial_state(2))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


# Training


def test_a_carried_state_continues_and_resets():
    model = model_of()
    training_model = TrainingModel(model, carry_batch_size=2)
    ids = ids_of(2, 8)
    whole, _ = model.read(ids, model.initial_state(2))
    first, second = training_model(ids[:, :5]), training_model(ids[:, 5:])
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-5)
    training_model.reset_state()
    np.testing.assert_allclose(training_model(ids[:, :5]), first, atol=1e-6)


def test_dropout_uses_one_mask_per_window():
    """With constant layer outputs, each unit is dropped in the whole window or not at all."""
    model = model_of("simple_rnn", dropout=0.5)
    for name, weight in model.weights.items():
        weight.assign(np.zeros(weight.shape))
        if name == "simple_rnn_1/bias":
            weight.assign(np.ones(weight.shape))
    model.weights["logits/kernel"].assign(np.eye(UNITS, V))
    logits, _ = model.read(ids_of(3, 8), model.initial_state(3), training=True)
    kept = np.asarray(logits)[..., :UNITS]
    assert set(np.unique(kept.round(4))) == {0.0, np.float32(2 * np.tanh(1)).round(4)}
    assert (kept == kept[:, :1]).all()


def test_a_repeated_id_has_one_gradient():
    """Adam once squared the rows of a repeated id one by one: two gradients of 1 gave a second
    moment of 0.2 instead of 0.4, and the global norm was taken over unmerged rows."""
    training_model = TrainingModel(model_of())
    optimizer = keras.optimizers.Adam(0.0, beta_2=0.9)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    training_model.compile(optimizer, loss)
    ids, targets = np.full((2, 6), 4, np.int32), ids_of(2, 6)
    training_model.fit(ids, targets, epochs=1, batch_size=2, verbose=0)
    embeddings = training_model.language_model.weights["embedding/embeddings"]
    [moment] = [
        variable
        for variable in optimizer.variables
        if "velocity" in variable.path and tuple(variable.shape) == tuple(embeddings.shape)
    ]
    with tf.GradientTape() as tape:
        value = loss(targets, training_model(ids))
    gradient = tf.convert_to_tensor(tape.gradient(value, embeddings.value))
    np.testing.assert_allclose(moment, 0.1 * np.square(gradient), rtol=1e-4, atol=1e-12)


def test_the_pure_functions_use_the_given_weights():
    model, other = model_of(seed=1, num_layers=2), model_of(seed=2, num_layers=2)
    assert model.read_function == other.read_function
    ids, state = ids_of(2, 5), model.initial_state(2)
    for name in ("read", "hidden"):
        function = getattr(model, f"{name}_function")
        found, _ = function(other.weight_arrays(), ids, state)
        expected, _ = getattr(other, name)(ids, state)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    both = Ensemble([model, other], tnp)
    found, _ = both.read_function(both.weight_arrays(), ids, both.initial_state(2))
    np.testing.assert_allclose(found, both.read(ids, both.initial_state(2))[0], atol=1e-6)
