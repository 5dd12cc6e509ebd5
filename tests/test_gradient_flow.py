"""Gradients by distance: against finite differences, and a network whose gradient is known."""

import keras
import numpy as np
import pytest

from shakespeare_gen import models
from shakespeare_gen.errors import UsageError
from shakespeare_gen.evaluation import gradient_flow
from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.models import states
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec

V, UNITS = 5, 3


def model_of(cell, **options):
    keras.utils.set_random_seed(1)
    return models.build(RecurrentSpec(V, RecurrentOptions(cell=cell, units=UNITS, **options)))


def loss(model, ids, state):
    """The loss of the last of `ids`, of one text."""
    for token in ids[:-1]:
        logits, state = model.step(np.array([token]), state)
    return -arrays.log_softmax(np, np.asarray(logits))[0, ids[-1]]


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_the_norms_are_those_of_finite_differences(cell):
    model, ids = model_of(cell), np.array([[1, 4, 0, 2, 3], [0, 0, 1, 3, 2]])
    found = states.flatten(gradient_flow.norms(model, ids))
    exact, epsilon = model.in_numpy(), 1e-2
    for row, distance in ((0, 0), (1, 2), (0, 3)):
        split = 3 - distance  # the tokens before the state
        state = exact.initial_state(1)
        if split:
            _, state = exact.read(ids[row : row + 1, :split])
        for number, part in enumerate(states.flatten(state)):
            slopes = []
            for unit in range(UNITS):
                losses = []
                for change in (epsilon, -epsilon):
                    changed = [np.array(each, np.float64) for each in states.flatten(state)]
                    changed[number][0, unit] += change
                    losses.append(loss(exact, ids[row, split:], states.unflatten(state, changed)))
                slopes.append((losses[0] - losses[1]) / (2 * epsilon))
            assert part.shape == (1, UNITS)
            assert found[number][row, distance] == pytest.approx(np.linalg.norm(slopes), rel=1e-3)


def test_a_network_that_halves_its_state_halves_the_gradient():
    """h(t) = tanh(h(t-1) / 2) near zero."""
    model = model_of("simple_rnn", embedding_size=0)
    for name in ("kernel", "bias"):
        model.weights[f"simple_rnn_1/{name}"].assign(0 * model.weights[f"simple_rnn_1/{name}"])
    model.weights["simple_rnn_1/recurrent_kernel"].assign(np.eye(UNITS) / 2)
    ((norms,),) = gradient_flow.norms(model, np.ones((2, 21), int))
    assert norms.shape == (2, 20)
    np.testing.assert_allclose(norms[:, 1:] / norms[:, :-1], 0.5, rtol=1e-5)


def test_a_model_in_numpy_or_texts_without_a_target_are_reported():
    with pytest.raises(UsageError, match="expected a model in TensorFlow"):
        gradient_flow.norms(model_of("gru").in_numpy(), np.ones((1, 3), int))
    with pytest.raises(UsageError, match=r"at least 2\], received \(1, 1\)"):
        gradient_flow.norms(model_of("gru"), np.ones((1, 1), int))
