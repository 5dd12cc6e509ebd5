import keras
import numpy as np
import pytest

from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.models import ensemble, recurrent
from shakespeare_gen.options import groups

CELLS = groups.CELLS


def network_of(cell="lstm", **options):
    keras.utils.set_random_seed(3)
    return recurrent.build(11, cell=cell, units=7, embedding_size=5, **options)


def ids_of(*shape):
    ids = np.random.default_rng(0).integers(0, 11, shape)
    return keras.ops.convert_to_tensor(ids, "int32")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "residual": True, "dropout": 0.5}])
def test_one_step_at_a_time_is_the_whole_sequence(cell, options):
    network = network_of(cell, **options)
    ids = ids_of(4, 9)
    state = recurrent.initial_state(network, 4)
    whole, *last = network([ids, *state], training=False)
    reader = ensemble.Reader([network])
    for t in range(ids.shape[1]):
        logits, state = reader.step(reader.weights, ids[:, t], state)
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
    for part, expected in zip(state, last, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-5)


def test_an_lstm_agrees_with_plain_numpy():
    network = network_of()
    weights = {name: np.asarray(w) for name, w in recurrent.weights_of(network).items()}
    ids = ids_of(2, 6)
    logits, *_ = network([ids, *recurrent.initial_state(network, 2)])

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    h, c = np.zeros((2, 7)), np.zeros((2, 7))
    for t in range(6):
        x = weights["embedding/embeddings"][np.asarray(ids)[:, t]]
        gates = x @ weights["lstm_1/kernel"] + h @ weights["lstm_1/recurrent_kernel"]
        i, f, g, o = np.split(gates + weights["lstm_1/bias"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        expected = h @ weights["logits/kernel"] + weights["logits/bias"]
        np.testing.assert_allclose(logits[:, t], expected, atol=1e-5)


def test_weight_names_do_not_change_between_models_of_one_process():
    assert list(recurrent.weights_of(network_of())) == list(recurrent.weights_of(network_of()))


def test_carried_state_continues_and_resets():
    network = network_of()
    training_model = recurrent.TrainingModel(network, carry_batch_size=2)
    ids = ids_of(2, 8)
    whole, *_ = network([ids, *recurrent.initial_state(network, 2)])
    first, second = training_model(ids[:, :5]), training_model(ids[:, 5:])
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-5)
    training_model.reset_state()
    np.testing.assert_allclose(training_model(ids[:, :5]), first, atol=1e-6)


def test_dropout_takes_one_mask_a_window():
    network = network_of(dropout=0.5)
    layer = network.get_layer("dropout_1")
    dropped = np.asarray(layer(np.ones((3, 8, 7), np.float32), training=True))
    assert {0.0, 2.0} == set(np.unique(dropped))
    assert (dropped == dropped[:, :1]).all()


@pytest.mark.parametrize("num_chars", [1, 2, 255, 400])
@pytest.mark.parametrize("num_streams", [1, 4, 32])
def test_the_loss_does_not_depend_on_the_streams(num_chars, num_streams):
    """Every character counts once, in any number of streams, however short the text."""
    network = network_of()
    ids = np.asarray(ids_of(num_chars))
    inputs = keras.ops.convert_to_tensor(np.concatenate([[2], ids[:-1]])[None], "int32")
    logits, *_ = network([inputs, *recurrent.initial_state(network, 1)])
    log_p = np.asarray(keras.ops.log_softmax(logits))[0]
    expected = -np.mean(log_p[np.arange(num_chars), ids])
    found = likelihood.nats_per_character(
        network, ids, 2, num_streams=num_streams, context_chars=64
    )
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_uniform_model_scores_log_v():
    network = network_of()
    for weight in recurrent.weights_of(network).values():
        weight.assign(np.zeros(weight.shape))
    found = likelihood.nats_per_character(network, np.asarray(ids_of(777)))
    assert found == pytest.approx(np.log(11), abs=1e-6)


def test_nothing_to_predict_is_an_error():
    with pytest.raises(ValueError, match="at least one character"):
        likelihood.nats_per_character(network_of(), ids_of(0))
