"""Every sampler against a slow and plain NumPy version of the paper, and against probabilities."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import sampling
from shakespeare_gen.options import groups

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1]], np.float32))
ROW = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12)


def kept(keep):
    return np.asarray(keep)[0].tolist()


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def sample(logits, uniform, recent=None, surprise=None, **options):
    active = sampling.active(**{"temperature": 1.0, **options})
    return sampling.sample(logits, np.asarray(uniform, np.float32), active, recent, surprise)


def test_greedy_takes_the_likeliest():
    assert sample(LOGITS, [0.99], temperature=0.0)[0].numpy() == [0]


@pytest.mark.parametrize(("k", "count"), [(1, 1), (2, 2), (4, 4), (9, 4)])
def test_top_k_keeps_k(k, count):
    assert kept(sampling.keep_top_k(LOGITS, k)) == [i < count for i in range(4)]


def test_top_k_of_equals_keeps_the_first():
    assert kept(sampling.keep_top_k(np.zeros((1, 4), np.float32), 2)) == [True, True, False, False]


@pytest.mark.parametrize(("p", "count"), [(0.01, 1), (0.5, 1), (0.51, 2), (0.8, 3), (0.95, 4)])
def test_top_p_keeps_the_fewest_that_reach_p(p, count):
    assert kept(sampling.keep_top_p(LOGITS, p)) == [i < count for i in range(4)]


@pytest.mark.parametrize(("p", "count"), [(0.0001, 4), (0.25, 3), (0.4, 2), (0.51, 1), (1.0, 1)])
def test_min_p_keeps_a_share_of_the_likeliest(p, count):
    assert kept(sampling.keep_min_p(LOGITS, p)) == [i < count for i in range(4)]


def plain_typical(logits, p):
    """Meister et al. 2022, by sorting."""
    probabilities = softmax(np.float64(logits))
    surprise = -np.log(probabilities)
    order = np.argsort(np.abs(surprise - (probabilities * surprise).sum()), kind="stable")
    size = int(np.searchsorted(np.cumsum(probabilities[order]), p)) + 1
    return set(order[:size].tolist())


@given(ROW, st.floats(0.05, 0.95))
@settings(max_examples=80, deadline=None)
def test_typical_is_the_plain_version(row, p):
    row = np.round(np.array(row, np.float32), 1) + 0.01 * np.arange(len(row), dtype=np.float32)
    found = set(np.flatnonzero(kept(sampling.keep_typical(row[None], p))).tolist())
    # A sum that ends within rounding of p may take one more or one less.
    assert any(found == plain_typical(row, p + near) for near in (0, -1e-5, 1e-5))


@given(ROW, st.floats(1e-6, 1))
@settings(max_examples=80, deadline=None)
def test_min_p_is_the_plain_version(row, p):
    probabilities = softmax(np.float64(np.array(row, np.float32)))
    found = kept(sampling.keep_min_p(np.array([row], np.float32), p))
    expected = [
        (probabilities >= (p + near) * probabilities.max()).tolist()
        for near in (0, -1e-5 * p, 1e-5 * p)
    ]
    assert found in expected


@pytest.mark.parametrize("size", [3, 65, 700])
def test_filters_are_the_same_by_pairs_and_by_sorting(size, monkeypatch):
    logits = np.random.default_rng(size).normal(0, 3, (4, size)).astype(np.float32)
    filters = {sampling.keep_top_k: 5, sampling.keep_top_p: 0.7, sampling.keep_typical: 0.6}
    for keep, value in filters.items():
        monkeypatch.setattr(sampling, "_MAX_PAIRWISE_SIZE", 10_000)
        by_pairs = np.asarray(keep(logits, value))
        monkeypatch.setattr(sampling, "_MAX_PAIRWISE_SIZE", 0)
        np.testing.assert_array_equal(np.asarray(keep(logits, value)), by_pairs)


def plain_penalties(row, recent, repetition, frequency, presence):
    row = np.array(row, np.float64)
    for i in range(len(row)):
        count = list(recent).count(i)
        if count:
            row[i] = row[i] / repetition if row[i] > 0 else row[i] * repetition
        row[i] -= frequency * count + presence * bool(count)
    return row


@given(
    ROW,
    st.lists(st.integers(-1, 11), min_size=1, max_size=9),
    st.floats(0.5, 3),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
@settings(max_examples=80, deadline=None)
def test_penalties_are_the_plain_version(row, recent, repetition, frequency, presence):
    options = {
        "repetition_penalty": repetition,
        "frequency_penalty": frequency,
        "presence_penalty": presence,
    }
    found = sampling.penalise(
        np.array([row], np.float32), np.array([recent], np.int32), sampling.active(**options)
    )
    expected = plain_penalties(row, recent, repetition, frequency, presence)
    np.testing.assert_allclose(np.asarray(found)[0], expected, rtol=1e-4, atol=1e-4)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_no_repeat_ngram_forbids_what_the_window_holds(recent, n):
    window = ([-1] * 4 + recent)[-max(n, len(recent)) :]
    found = sampling.forbid_repeats(np.zeros((1, 4), np.float32), np.array([window], np.int32), n)
    grams = {tuple(recent[i : i + n]) for i in range(len(recent) - n + 1)}
    before = tuple(recent[len(recent) - n + 1 :]) if n > 1 else ()
    allowed = [(*before, i) not in grams or len(recent) < n for i in range(4)]
    expected = allowed if any(allowed) else [True] * 4
    assert np.isfinite(np.asarray(found)[0]).tolist() == expected


def plain_mirostat(logits, uniforms, tau, eta):
    """Basu et al. 2020, version 2, one row, in double precision."""
    ids, mu = [], 2 * tau
    for row, uniform in zip(np.float64(logits), uniforms, strict=True):
        bits = -np.log2(softmax(row))
        keep = (bits <= mu) | (bits <= bits.min())
        cumulative = np.cumsum(softmax(np.where(keep, row, -np.inf)))
        ids.append(int(np.sum(cumulative <= uniform * cumulative[-1])))
        mu -= eta * (bits[ids[-1]] - tau)
    return ids, mu


def test_mirostat_is_the_plain_version_and_keeps_its_surprise():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (400, 30)).astype(np.float32)
    uniforms = rng.random(400).astype(np.float32)
    tau, eta = 2.0, 0.1
    options = sampling.active(temperature=1.0, mirostat_tau=tau, mirostat_eta=eta)
    surprise, ids, bits = np.full(1, 2 * tau, np.float32), [], []
    for row, uniform in zip(logits, uniforms, strict=True):
        drawn, surprise = sampling.sample(row[None], uniform[None], options, None, surprise)
        ids.append(int(drawn[0]))
        bits.append(-np.log2(softmax(np.float64(row)))[ids[-1]])
    expected, mu = plain_mirostat(logits, uniforms, tau, eta)
    assert ids == expected
    assert float(surprise[0]) == pytest.approx(mu, abs=1e-3)
    assert np.mean(bits[100:]) == pytest.approx(tau, abs=0.15)


def test_frequencies_are_the_probabilities():
    """Chi-square with 3 degrees of freedom; 16.27 has a false-alarm rate of 0.001, and the
    numbers are fixed by the seed."""
    n = 20_000
    uniform = np.random.default_rng(1).random(n).astype(np.float32)
    ids = sample(np.repeat(LOGITS, n, 0), uniform)[0].numpy()
    expected = n * np.exp(LOGITS[0])
    chi_square = np.sum((np.bincount(ids, minlength=4) - expected) ** 2 / expected)
    assert chi_square < 16.27


def test_temperature_two_flattens_exactly():
    n = 20_000
    uniform = ((np.arange(n) + 0.5) / n).astype(np.float32)
    ids = sample(np.repeat(LOGITS, n, 0), uniform, temperature=2.0)[0].numpy()
    p = np.sqrt(np.exp(LOGITS[0]))
    np.testing.assert_allclose(np.bincount(ids) / n, p / p.sum(), atol=2e-4)


OPTIONS = st.fixed_dictionaries(
    {"temperature": st.one_of(st.just(0.0), st.floats(1e-6, 100))},
    optional={
        "top_k": st.integers(0, 15),
        "top_p": st.floats(0.001, 1),
        "min_p": st.floats(0, 1),
        "typical_p": st.floats(0.001, 1),
        "repetition_penalty": st.floats(0.1, 10),
        "frequency_penalty": st.floats(-50, 50),
        "presence_penalty": st.floats(-50, 50),
        "no_repeat_ngram": st.integers(0, 3),
    },
)


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    st.floats(0, 1, exclude_max=True, width=32),
    OPTIONS,
    st.one_of(st.none(), st.floats(0.01, 10)),
    st.sets(st.integers(0, 11), max_size=5),
    st.lists(st.integers(-1, 11), min_size=3, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_every_draw_is_an_allowed_id(logits, uniform, options, tau, forbidden, recent):
    """Id 0 is never allowed: it is what comes of a NaN."""
    if tau is not None:
        for name in ("top_k", "top_p", "min_p", "typical_p"):
            options.pop(name, None)
        options |= {"mirostat_tau": tau, "mirostat_eta": 0.1}
    row = np.array([[0.0, *logits]], np.float32)
    forbidden = {0} | {i + 1 for i in forbidden if 0 < i < len(logits)}
    row[0, list(forbidden)] = -np.inf
    window = np.array([recent], np.int32)
    drawn, surprise = sample(row, [uniform], window, np.full(1, 4.0, np.float32), **options)
    assert 0 <= int(drawn[0]) <= len(logits)
    assert int(drawn[0]) not in forbidden
    assert np.isfinite(surprise).all()


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1e-46},
        {"temperature": 1e300},
        {"top_p": 1e-46},
        {"typical_p": 1e-46},
        {"min_p": 1e-46},
        {"repetition_penalty": 1e-46},
        {"repetition_penalty": 1000.0},
        {"frequency_penalty": 1000.0, "presence_penalty": -1000.0},
        {"mirostat_tau": 100.0, "mirostat_eta": 1.0},
        {"temperature": 1e-46, "frequency_penalty": -1000.0, "top_p": 1e-46},
    ],
)
def test_the_most_extreme_settings_leave_a_candidate(options):
    """In float32 many were 0 or infinite, then NaN, and then id 0 for ever."""
    groups.SamplingOptions(**options)
    rows = np.random.default_rng(0).normal(0, 5, (50, 20)).astype(np.float32)
    rows[:, 0] = -np.inf
    recent = np.random.default_rng(1).integers(1, 20, (50, 8)).astype(np.int32)
    uniform = np.random.default_rng(2).random(50).astype(np.float32)
    surprise = np.full(50, 200.0, np.float32)
    ids, surprise = sample(rows, uniform, recent, surprise, **options)
    assert 0 not in np.asarray(ids)
    assert np.isfinite(surprise).all()
    if options.keys() <= {"temperature", "top_p"} and min(options.values()) < 1:
        np.testing.assert_array_equal(ids, rows.argmax(1))


@pytest.mark.parametrize("batch_size", [1, 9, 64])
@pytest.mark.parametrize("compiled", [False, True])
def test_an_id_without_probability_is_never_drawn(batch_size, compiled):
    """Sums that are rounded rise and fall where nothing is added: at the end, and between."""
    rng = np.random.default_rng(0)
    draw = tf.function(sampling.draw, jit_compile=compiled)
    for size in (65, 93):
        logits = rng.normal(0, 3, (batch_size, size)).astype(np.float32)
        logits[rng.random(logits.shape) < 0.7] = -np.inf
        logits[:, 1] = 0
        p = np.exp(np.float64(logits))
        cumulative = np.cumsum(p / p.sum(1, keepdims=True), 1)
        for column in range(size):
            near = cumulative[:, column] + rng.integers(-2, 3, batch_size) * 2.0**-24
            uniform = np.clip(near, 0, 1 - 2.0**-24).astype(np.float32)
            ids = draw(logits, uniform).numpy()
            assert np.isfinite(logits[np.arange(batch_size), ids]).all()


def test_what_does_nothing_is_off():
    neutral = dataclass_defaults()
    assert sampling.active(**neutral) == {"temperature": 0.8}
    assert sampling.active(**{**neutral, "temperature": 0.0}) == {}


def dataclass_defaults():
    import dataclasses

    return dataclasses.asdict(groups.SamplingOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": float("nan")}, "--temperature: expected a finite number"),
        ({"temperature": float("inf")}, "--temperature: expected a finite number"),
        ({"temperature": -0.1}, "--temperature: expected at least 0"),
        ({"frequency_penalty": 1e39}, "--frequency_penalty: expected at most 1000"),
        ({"mirostat_tau": 1e39}, "--mirostat_tau: expected at most 100"),
        ({"top_p": 0.0}, "--top_p: expected more than 0"),
        ({"top_p": 1.1}, "--top_p: expected at most 1"),
        ({"top_k": -1}, "--top_k: expected at least 0"),
        ({"typical_p": 0.0}, "--typical_p: expected more than 0"),
        ({"repetition_penalty": 0.0}, "--repetition_penalty: expected more than 0"),
        ({"mirostat_tau": 3.0, "top_k": 5}, "--mirostat_tau: expected no --top_k"),
        ({"no_repeat_ngram": 99}, "--no_repeat_ngram: expected at most --repeat_window=64"),
    ],
)
def test_bad_settings_are_one_line(options, message):
    with pytest.raises(UsageError, match=message):
        groups.SamplingOptions(**options)
