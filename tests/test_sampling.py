import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shakespeare_gen import sampling

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1]], np.float32))


def support(logits):
    return np.isfinite(np.asarray(logits)[0]).tolist()


def test_greedy_takes_the_likeliest():
    assert sampling.sample(LOGITS, np.array([0.99], np.float32), temperature=0.0).numpy() == [0]


@pytest.mark.parametrize(("k", "kept"), [(1, 1), (2, 2), (4, 4), (9, 4)])
def test_top_k_keeps_k(k, kept):
    assert support(sampling.keep_top_k(LOGITS, k)) == [i < kept for i in range(4)]


@pytest.mark.parametrize(("p", "kept"), [(0.01, 1), (0.5, 1), (0.51, 2), (0.8, 3), (0.95, 4)])
def test_top_p_keeps_the_fewest_that_reach_p(p, kept):
    assert support(sampling.keep_top_p(LOGITS, p)) == [i < kept for i in range(4)]


def test_frequencies_are_the_probabilities():
    """Chi-square with 3 degrees of freedom; 16.27 has a false-alarm rate of 0.001, and the
    numbers are fixed by the seed."""
    n = 20_000
    uniform = np.random.default_rng(1).random(n).astype(np.float32)
    ids = sampling.sample(np.repeat(LOGITS, n, 0), uniform).numpy()
    expected = n * np.exp(LOGITS[0])
    chi_square = np.sum((np.bincount(ids, minlength=4) - expected) ** 2 / expected)
    assert chi_square < 16.27


def test_temperature_two_flattens_exactly():
    n = 20_000
    uniform = ((np.arange(n) + 0.5) / n).astype(np.float32)
    ids = sampling.sample(np.repeat(LOGITS, n, 0), uniform, temperature=2.0).numpy()
    p = np.sqrt(np.exp(LOGITS[0]))
    np.testing.assert_allclose(np.bincount(ids) / n, p / p.sum(), atol=2e-4)


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    st.floats(0, 1, exclude_max=True, width=32),
    st.floats(1e-6, 100),
    st.integers(0, 15),
    st.floats(0.001, 1),
    st.sets(st.integers(0, 11), max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_every_draw_is_an_allowed_id(logits, uniform, temperature, top_k, top_p, forbidden):
    row = np.array([logits], np.float32)
    forbidden = {i for i in forbidden if i < len(logits)}
    if len(forbidden) == len(logits):
        forbidden.pop()
    row[0, list(forbidden)] = -np.inf
    drawn = sampling.sample(row, np.array([uniform], np.float32), temperature, top_k, top_p)
    assert 0 <= int(drawn[0]) < len(logits)
    assert int(drawn[0]) not in forbidden


def test_the_largest_uniform_number_still_gives_an_id():
    largest = np.array([1 - 2**-23], np.float32)
    row = np.full((1, 65), -1.0, np.float32)
    row[0, -5:] = -np.inf
    assert int(sampling.sample(row, largest)[0]) < 60
