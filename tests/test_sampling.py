"""Every transform against a plain NumPy version of its paper, and draws against probabilities."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import sampling
from shakespeare_gen.generation.sampling import TRANSFORMS, Sampling, arrays, drawing
from shakespeare_gen.generation.sampling.drawing import BatchOptions, Chain

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1]], np.float32))
ROW = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12)
NEUTRAL = {"temperature": 1.0}


def branch(condition, if_true, if_false):
    return if_true() if condition else if_false()


class Sampler:
    """The transforms on rows of their own options, in NumPy; `recent` is int32 [B, W]."""

    def __init__(self, rows, recent, vocabulary_size, all_used=False, xp=np, branch=branch):
        samplings = [Sampling.of(**{**NEUTRAL, **row}) for row in rows]
        values = sampling.stacked(samplings)
        used = {k.__name__: all_used or any(s.uses(k) for s in samplings) for k in TRANSFORMS}
        self.chain, self.recent = Chain(tuple(TRANSFORMS), xp, branch), recent
        self.options = BatchOptions(values, used)
        self.memory = {k.__name__: k.start(values, recent, vocabulary_size) for k in TRANSFORMS}

    def changed(self, logits):
        return self.chain.apply(logits, self.options, self.memory, lambda: self.recent)[0]

    def draw(self, logits, uniform):
        forbidden = np.zeros(logits.shape[1], np.float32)
        ids, received = self.chain.draw(
            logits, forbidden, uniform, self.options, self.memory, lambda: self.recent
        )
        self.recent = np.concatenate([self.recent, np.asarray(ids)[:, None]], 1)[:, 1:]
        self.memory = self.chain.update(
            self.memory, ids, self.options, received, lambda: self.recent
        )
        return np.asarray(ids)


def window_of(*rows, size=65):
    """Ids int32 [B, size], with -1 before them."""
    return np.array([[-1] * (size - len(row)) + list(row) for row in rows], np.int32)


def changed(logits, recent=(), **options):
    """Logits [V] after the transforms."""
    recent = window_of(recent)
    logits = np.asarray(logits, np.float32).reshape(1, -1)
    return Sampler([options], recent, logits.shape[1]).changed(logits)[0]


def kept(logits, **options):
    return np.isfinite(changed(logits, **options)).tolist()


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


# Each transform


def test_temperature_0_takes_the_first_most_likely():
    assert kept([1.0, 3.0, 3.0, 2.0], temperature=0.0) == [False, True, False, False]


@pytest.mark.parametrize(("k", "count"), [(1, 1), (2, 2), (4, 4), (9, 4)])
def test_top_k_keeps_k(k, count):
    assert kept(LOGITS, top_k=k) == [i < count for i in range(4)]


def test_top_k_of_equals_keeps_the_first():
    assert kept(np.zeros(4), top_k=2) == [True, True, False, False]


@pytest.mark.parametrize(("p", "count"), [(0.01, 1), (0.5, 1), (0.51, 2), (0.8, 3), (0.95, 4)])
def test_top_p_keeps_the_fewest_that_reach_p(p, count):
    assert kept(LOGITS, top_p=p) == [i < count for i in range(4)]


@pytest.mark.parametrize(("p", "count"), [(0.0001, 4), (0.25, 3), (0.4, 2), (0.51, 1), (1.0, 1)])
def test_min_p_keeps_a_share_of_the_most_likely(p, count):
    assert kept(LOGITS, min_p=p) == [i < count for i in range(4)]


def plain_typical(logits, p):
    """Meister et al. 2022, by sorting."""
    probabilities = softmax(np.asarray(logits, np.float64))
    surprise = -np.log(probabilities)
    order = np.argsort(np.abs(surprise - (probabilities * surprise).sum()), kind="stable")
    size = int(np.searchsorted(np.cumsum(probabilities[order]), p)) + 1
    return set(order[:size].tolist())


@given(ROW, st.floats(0.05, 0.95))
@settings(max_examples=80, deadline=None)
def test_typical_is_the_plain_version(row, p):
    row = np.round(np.array(row, np.float32), 1) + 0.01 * np.arange(len(row), dtype=np.float32)
    found = set(np.flatnonzero(kept(row, typical_p=p)).tolist())
    # A sum that ends within rounding of p may include one more or one less.
    assert any(found == plain_typical(row, p + near) for near in (0, -1e-5, 1e-5))


@given(ROW, st.floats(1e-6, 1))
@settings(max_examples=80, deadline=None)
def test_min_p_is_the_plain_version(row, p):
    probabilities = softmax(np.asarray(np.array(row, np.float32), np.float64))
    expected = [
        (probabilities >= (p + near) * probabilities.max()).tolist()
        for near in (0, -1e-5 * p, 1e-5 * p)
    ]
    assert kept(row, min_p=p) in expected


def filtered(xp, logits, values):
    """The logits after each filter, alone."""
    kinds = (sampling.MostLikely, sampling.Typical)
    return [kind.apply(xp, logits, values, (), None) for kind in kinds]


@functools.cache
def compiled_filters():
    """`filtered` as a program; it is compiled once per shape, not once per test."""
    import tensorflow as tf
    import tensorflow.experimental.numpy as tnp

    return tf.function(lambda *a: filtered(tnp, *a), jit_compile=True, autograph=False)


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("size", [257, 700, 3000])
@pytest.mark.parametrize("has_ties", [False, True])
def test_filters_of_many_ids_are_those_of_few(is_compiled, size, has_ties, monkeypatch):
    """Of more ids than `MAX_PAIRWISE_SIZE`, only the smallest logit that is kept is searched for.

    The rows of a batch differ: one keeps few ids, one most of them, one cannot draw most, and one
    uses no filter.
    """
    rng = np.random.default_rng(size)
    logits = rng.normal(0, 3, (4, size)).astype(np.float32)
    logits[1] /= 10
    logits[2, rng.random(size) < 0.9] = -np.inf
    logits = np.round(logits) if has_ties else logits
    values = {
        "top_k": [5, 0, size // 2, 0],
        "top_p": [1, 0.9, 0.7, 1],
        "typical_p": [0.6, 0.9, 1, 1],
    }
    values = {name: np.array(rows, np.float32)[:, None] for name, rows in values.items()}
    found = compiled_filters()(logits, values) if is_compiled else filtered(np, logits, values)
    monkeypatch.setattr(arrays, "MAX_PAIRWISE_SIZE", 10_000)
    for each, expected in zip(found, filtered(np, logits, values), strict=True):
        np.testing.assert_array_equal(np.isfinite(each), np.isfinite(expected))


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
    st.lists(st.integers(0, 11), min_size=1, max_size=9),
    st.integers(1, 12),
    st.floats(0.5, 3),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
@settings(max_examples=80, deadline=None)
def test_penalties_are_the_plain_version(row, recent, window, repetition, frequency, presence):
    recent = [i % len(row) for i in recent]
    found = changed(
        row,
        recent,
        repetition_penalty=repetition,
        frequency_penalty=frequency,
        presence_penalty=presence,
        repeat_window=window,
    )
    expected = plain_penalties(row, recent[-window:], repetition, frequency, presence)
    expected -= expected.max()  # as temperature does
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 4), st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_no_repeat_ngram_forbids_what_the_window_holds(recent, n, more):
    window = recent[-(n + more) :]
    found = kept(np.zeros(4), recent=recent, no_repeat_ngram=n, repeat_window=n + more)
    grams = {tuple(window[i : i + n]) for i in range(len(window) - n + 1)}
    before = tuple(recent[len(recent) - n + 1 :]) if n > 1 else ()
    allowed = [(*before, i) not in grams or len(recent) < n for i in range(4)]
    assert found == (allowed if any(allowed) else [True] * 4)


def plain_mirostat(logits, uniforms, tau, eta):
    """Basu et al. 2020, version 2, one row, in double precision."""
    ids, mu = [], 2 * tau
    for row, uniform in zip(np.asarray(logits, np.float64), uniforms, strict=True):
        bits = -np.log2(softmax(row))
        keep = (bits <= mu) | (bits <= bits.min())
        cumulative = np.cumsum(softmax(np.where(keep, row, -np.inf)))
        ids.append(int(np.sum(cumulative <= uniform * cumulative[-1])))
        mu -= eta * (bits[ids[-1]] - tau)
    return ids


def test_mirostat_is_the_plain_version_and_reaches_its_target():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (400, 30)).astype(np.float32)
    uniforms = rng.random(400).astype(np.float32)
    tau, eta = 2.0, 0.1
    sampler = Sampler([{"mirostat_tau": tau, "mirostat_eta": eta}], window_of([]), 30)
    ids = [int(sampler.draw(logits[i][None], uniforms[i][None])[0]) for i in range(400)]
    assert ids == plain_mirostat(logits, uniforms, tau, eta)
    bits = [
        -np.log2(softmax(np.asarray(row, np.float64)))[i]
        for row, i in zip(logits, ids, strict=True)
    ]
    assert np.mean(bits[100:]) == pytest.approx(tau, abs=0.15)


# Draws


def test_frequencies_are_the_probabilities():
    """Chi-square with 3 degrees of freedom; 16.27 has a false-alarm rate of 0.001, and the
    numbers are fixed by the seed."""
    n = 20_000
    uniform = np.random.default_rng(1).random(n).astype(np.float32)
    ids = drawing.draw(np, np.repeat(LOGITS, n, 0), uniform)
    expected = n * np.exp(LOGITS[0])
    chi_square = np.sum((np.bincount(ids, minlength=4) - expected) ** 2 / expected)
    assert chi_square < 16.27


@pytest.mark.slow
def test_temperature_2_flattens_exactly():
    n = 20_000
    uniform = ((np.arange(n) + 0.5) / n).astype(np.float32)
    sampler = Sampler([{"temperature": 2.0}] * n, window_of(*[[]] * n), 4)
    ids = sampler.draw(np.repeat(LOGITS, n, 0), uniform)
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
        "repeat_window": st.integers(3, 8),
    },
)
FILTERS = ("top_k", "top_p", "min_p", "typical_p")


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    st.floats(0, 1, exclude_max=True, width=32),
    OPTIONS,
    st.one_of(st.none(), st.floats(0.01, 10)),
    st.sets(st.integers(0, 11), max_size=5),
    st.lists(st.integers(0, 11), min_size=3, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_every_draw_is_an_allowed_id(logits, uniform, options, tau, forbidden, recent):
    """Id 0 is never allowed: it is what comes of a NaN."""
    if tau is not None:
        options = {k: v for k, v in options.items() if k not in FILTERS}
        options["mirostat_tau"] = tau
    row = np.array([[0.0, *logits]], np.float32)
    forbidden = {0} | {i + 1 for i in forbidden if 0 < i < len(logits)}
    row[0, list(forbidden)] = -np.inf
    sampler = Sampler([options], window_of([i % row.shape[1] for i in recent]), row.shape[1])
    for _ in range(3):
        drawn = int(sampler.draw(row, np.array([uniform], np.float32))[0])
        assert 0 <= drawn <= len(logits)
        assert drawn not in forbidden
        assert np.isfinite(sampler.memory["Mirostat"]).all()


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
    """In float32 many were 0 or infinite, then NaN, and then always id 0."""
    rows = np.random.default_rng(0).normal(0, 5, (50, 20)).astype(np.float32)
    rows[:, 0] = -np.inf
    recent = np.random.default_rng(1).integers(1, 20, (50, 65)).astype(np.int32)
    uniform = np.random.default_rng(2).random(50).astype(np.float32)
    sampler = Sampler([options] * 50, recent, 20)
    ids = sampler.draw(rows, uniform)
    assert 0 not in ids
    assert np.isfinite(sampler.memory["Mirostat"]).all()
    if options.keys() <= {"temperature", "top_p"} and min(options.values()) < 1:
        np.testing.assert_array_equal(ids, rows.argmax(1))


@pytest.mark.parametrize(
    ("compiled", "batch_size"),
    [
        (False, 1),
        (False, 9),
        (False, 64),
        (True, 9),
        pytest.param(True, 1, marks=pytest.mark.slow),
        pytest.param(True, 64, marks=pytest.mark.slow),
    ],
)
def test_an_id_without_probability_is_never_drawn(batch_size, compiled):
    """Rounded sums rise and fall where nothing is added: at the end, and between."""
    rng = np.random.default_rng(0)
    draw = compiled_draw() if compiled else lambda *arguments: drawing.draw(np, *arguments)
    for size in (65, 93, 300):
        logits = rng.normal(0, 3, (batch_size, size)).astype(np.float32)
        logits[rng.random(logits.shape) < 0.7] = -np.inf
        logits[:, 1] = 0
        p = np.exp(np.asarray(logits, np.float64))
        cumulative = np.cumsum(p / p.sum(1, keepdims=True), 1)
        for column in range(0, size, 1 if size < 100 else 7):
            near = cumulative[:, column] + rng.integers(-2, 3, batch_size) * 2.0**-24
            uniform = np.clip(near, 0, 1 - 2.0**-24).astype(np.float32)
            ids = np.asarray(draw(logits, uniform))
            assert np.isfinite(logits[np.arange(batch_size), ids]).all()


def compiled_draw():
    import tensorflow as tf
    import tensorflow.experimental.numpy as tnp

    return tf.function(lambda *arguments: drawing.draw(tnp, *arguments), jit_compile=True)


# Rows and memory

MIXED = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.5, "top_k": 3},
    {"top_p": 0.6, "min_p": 0.1},
    {"typical_p": 0.5, "repeat_window": 4},
    {"repetition_penalty": 1.5, "repeat_window": 3},
    {"frequency_penalty": 0.7, "presence_penalty": 0.2, "repeat_window": 8},
    {"no_repeat_ngram": 2, "repeat_window": 5},
    {"no_repeat_ngram": 1, "repeat_window": 2, "top_k": 9},
    {"mirostat_tau": 1.5},
    {"mirostat_tau": 3.0, "mirostat_eta": 0.5, "presence_penalty": 1.0},
]


def recent_of_mixed():
    rng = np.random.default_rng(7)
    return window_of(*[rng.integers(0, 12, n) for n in (0, 1, 2, 3, 5, 8, 9, 9, 4, 9, 9)])


def test_neutral_values_change_nothing_in_a_batch_that_uses_every_transform():
    """A row of neutral values must be exactly what it is when no transform is computed."""
    logits = np.random.default_rng(0).normal(0, 9, (3, 65)).astype(np.float32)
    logits[:, 5] = -np.inf
    recent = window_of([1, 2, 1, 2], [3], [])
    computed = Sampler([{}] * 3, recent, 65, all_used=True).changed(logits)
    np.testing.assert_array_equal(computed, Sampler([{}] * 3, recent, 65).changed(logits))
    np.testing.assert_array_equal(computed, logits - logits.max(1, keepdims=True))


def test_each_row_of_a_batch_is_what_it_is_alone():
    rng = np.random.default_rng(3)
    together = Sampler(MIXED, recent_of_mixed(), 12)
    alone = [Sampler([row], r[None], 12) for row, r in zip(MIXED, recent_of_mixed(), strict=True)]
    for _ in range(40):
        logits = rng.normal(0, 2, (len(MIXED), 12)).astype(np.float32)
        uniform = rng.random(len(MIXED)).astype(np.float32)
        expected = [int(s.draw(logits[[i]], uniform[[i]])[0]) for i, s in enumerate(alone)]
        assert together.draw(logits, uniform).tolist() == expected


def test_memory_that_follows_the_draws_is_what_the_window_gives_anew():
    """Counts and runs change with one id per step; computed from the window they are the same."""
    rng = np.random.default_rng(4)
    sampler = Sampler(MIXED, recent_of_mixed(), 12)
    for _ in range(40):
        uniform = rng.random(len(MIXED)).astype(np.float32)
        logits = rng.normal(0, 2, (len(MIXED), 12)).astype(np.float32)
        sampler.draw(logits, uniform)
        anew = Sampler(MIXED, sampler.recent, 12)
        anew.memory["Mirostat"] = sampler.memory["Mirostat"]
        np.testing.assert_array_equal(sampler.changed(logits), anew.changed(logits))


@pytest.mark.parametrize(
    ("size", "max_compared"),
    [
        (12, 2**16),
        (300, 0),
        pytest.param(12, 0, marks=pytest.mark.slow),
        pytest.param(300, 2**16, marks=pytest.mark.slow),
    ],
)
def test_compiled_rows_are_those_of_numpy(size, max_compared, monkeypatch):
    """One program for all rows; ids are found by comparing or by scattering."""
    import tensorflow as tf
    import tensorflow.experimental.numpy as tnp

    monkeypatch.setattr(arrays, "_MAX_COMPARED", max_compared)
    rng = np.random.default_rng(5)
    plain = Sampler(MIXED, recent_of_mixed(), size)
    compiled = Sampler(MIXED, recent_of_mixed(), size, xp=tnp, branch=tf.cond)
    forbidden = np.zeros(size, np.float32)

    @tf.function(jit_compile=True, autograph=False)
    def program(logits, uniform, options, memory, recent):
        chain = compiled.chain
        ids, received = chain.draw(logits, forbidden, uniform, options, memory, lambda: recent)
        recent = tf.concat([recent[:, 1:], ids[:, None]], 1)
        return ids, chain.update(memory, ids, options, received, lambda: recent), recent

    used = {name: np.array(value) for name, value in compiled.options.used.items()}
    options = BatchOptions(compiled.options.values, used)
    memory, recent = compiled.memory, compiled.recent
    for _ in range(40):
        logits = rng.normal(0, 2, (len(MIXED), size)).astype(np.float32)
        uniform = rng.random(len(MIXED)).astype(np.float32)
        ids, memory, recent = program(logits, uniform, options, memory, recent)
        assert ids.numpy().tolist() == plain.draw(logits, uniform).tolist()
    assert program.experimental_get_tracing_count() == 1


# Options


def test_neutral_options_use_no_transform():
    used = [kind for kind in TRANSFORMS if Sampling.of(**NEUTRAL).uses(kind)]
    assert used == []
    assert Sampling.of(repeat_window=9).repeat_window == 0
    assert Sampling.of(repeat_window=9, presence_penalty=1.0).repeat_window == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": float("nan")}, "temperature: expected a finite number"),
        ({"temperature": float("inf")}, "temperature: expected a finite number"),
        ({"temperature": -0.1}, "temperature: expected at least 0"),
        ({"frequency_penalty": 1e39}, "frequency_penalty: expected at most 1000"),
        ({"mirostat_tau": 1e39}, "mirostat_tau: expected at most 100"),
        ({"top_p": 0.0}, "top_p: expected more than 0"),
        ({"top_p": 1.1}, "top_p: expected at most 1"),
        ({"top_k": -1}, "top_k: expected at least 0"),
        ({"typical_p": 0.0}, "typical_p: expected more than 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: expected more than 0"),
        ({"mirostat_tau": 3.0, "top_k": 5}, "mirostat_tau: expected none of `top_k`"),
        ({"no_repeat_ngram": 99}, "no_repeat_ngram: expected at most `repeat_window=64`"),
        ({"top_z": 1}, "unknown option 'top_z'"),
    ],
)
def test_bad_settings_are_one_line(options, message):
    with pytest.raises(UsageError, match=message):
        Sampling.of(**options)
