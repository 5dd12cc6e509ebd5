"""What a model is worth: closed forms, brute-force versions, and nobody who looks ahead."""

import lzma
import math

import keras
import numpy as np
import pytest

from shakespeare_gen.evaluation import (
    breakdown,
    compressors,
    copying,
    dynamic,
    likelihood,
    mixture,
    neurons,
    ngrams,
    scores,
    style,
)
from shakespeare_gen.models import recurrent

V = 11


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    return recurrent.build(V, units=12, embedding_size=6)


def ids_of(num, seed=0):
    return np.random.default_rng(seed).integers(0, V, num).astype(np.int32)


def stepwise_log_p(network, ids):
    """Log-probabilities [N, V] after each of `ids`, read as one text from nothing."""
    inputs = keras.ops.convert_to_tensor(np.asarray(ids)[None], "int32")
    logits, *_ = network([inputs, *recurrent.initial_state(network, 1)])
    return np.asarray(keras.ops.log_softmax(logits))[0]


# Exact likelihood


def test_a_reading_names_the_likeliest_characters(network):
    ids = ids_of(300)
    reading = likelihood.read(network, ids, start_id=2, num_streams=3)
    log_p = stepwise_log_p(network, np.concatenate([[2], ids[:-1]]))
    np.testing.assert_allclose(reading.nats, -log_p[np.arange(300), ids], atol=1e-5)
    best = np.argsort(-log_p, axis=1)[:, :5]
    np.testing.assert_array_equal(reading.candidate_ids, best)
    np.testing.assert_allclose(
        reading.candidate_nats, -np.take_along_axis(log_p, best, 1), atol=1e-5
    )


@pytest.mark.parametrize(("num_chars", "window"), [(50, 16), (49, 16), (10, 16), (17, 16), (33, 1)])
def test_windows_start_from_nothing_and_miss_no_character(network, num_chars, window):
    ids = ids_of(num_chars)
    tally = likelihood.read_windows(network, ids, window, batch_size=2)
    expected = []
    for start in range(0, num_chars - 1, window):
        part = ids[start : start + window + 1]
        log_p = stepwise_log_p(network, part[:-1])
        expected += (-log_p[np.arange(len(part) - 1), part[1:]]).tolist()
    np.testing.assert_allclose(tally.nats, expected, atol=1e-5)
    assert set(tally.times) == {1}


@pytest.mark.parametrize(
    ("stride", "starts"), [(1, range(12)), (5, [0, 5, 10, 11]), (7, [0, 7, 11])]
)
def test_windows_that_overlap_are_averaged_and_reach_the_end(network, stride, starts):
    ids, window = ids_of(20), 8
    tally = likelihood.read_windows(network, ids, window, stride=stride, batch_size=5)
    losses, hits = [[] for _ in range(19)], [[] for _ in range(19)]
    for start in starts:
        part = ids[start : start + window + 1]
        log_p = stepwise_log_p(network, part[:-1])
        for i, target in enumerate(part[1:]):
            losses[start + i].append(-log_p[i, target])
            hits[start + i].append(log_p[i].argmax() == target)
    np.testing.assert_allclose(tally.nats, [np.mean(one) for one in losses], atol=1e-5)
    np.testing.assert_array_equal(tally.times, [len(one) for one in losses])
    np.testing.assert_allclose(tally.hits[:, 0], [np.mean(one) for one in hits])
    score = scores.score(tally, "x" * 19)
    assert score.nats == pytest.approx(np.mean(np.concatenate(losses)), abs=1e-5)
    assert score.top_1 == pytest.approx(np.mean(np.concatenate(hits)))


@pytest.mark.parametrize(("num_chars", "stride"), [(1, 0), (20, 9)])
def test_windows_that_leave_characters_out_are_refused(network, num_chars, stride):
    with pytest.raises(ValueError, match="at least 2 characters and a stride of at most 8"):
        likelihood.read_windows(network, ids_of(num_chars), 8, stride)


def test_a_long_memory_is_read_in_fewer_parts(monkeypatch):
    """Its state needs far more than the context: where parts meet this shows."""
    keras.utils.set_random_seed(5)
    network = recurrent.build(V, units=12, embedding_size=6)
    cell = recurrent.recurrent_layers(network)[0].cell
    forget_gate = np.repeat([0.0, 7.0, 0.0, 0.0], 12)
    cell.bias.assign(forget_gate)
    cell.kernel.assign(cell.kernel * 8.0)
    network.get_layer("logits").kernel.assign(network.get_layer("logits").kernel * 4.0)
    ids = ids_of(6000)
    alone = likelihood.nats_per_character(network, ids, num_streams=1)
    assert likelihood.nats_per_character(network, ids) == pytest.approx(alone, abs=1e-4)
    monkeypatch.setattr(likelihood, "MAX_SEAM_NATS", math.inf)
    assert abs(likelihood.nats_per_character(network, ids) - alone) > 3e-4


def test_loss_by_position_counts_from_the_reset(network):
    ids = ids_of(40)
    found = likelihood.nats_by_position(network, ids, num_positions=16, num_windows=1000)
    every = [
        -stepwise_log_p(network, ids[s : s + 16])[np.arange(16), ids[s + 1 : s + 17]]
        for s in range(40 - 16)
    ]
    np.testing.assert_allclose(found, np.mean(every, 0), atol=1e-5)


# Scores


def test_a_uniform_model_scores_log2_v_to_the_last_digit():
    found = scores.score(scores.Tally(np.full(1234, math.log(V))), "a" * 1234).to_json()
    assert found["bits_per_character"] == pytest.approx(math.log2(V), rel=1e-14)
    assert found["bits_per_byte"] == pytest.approx(math.log2(V), rel=1e-14)
    assert found["perplexity"] == pytest.approx(V, rel=1e-13)
    assert found["top_1_accuracy"] is None


def test_a_loss_without_bounds_has_no_perplexity():
    assert scores.score(scores.Tally(np.array([800.0])), "a").to_json()["perplexity"] is None


def test_bits_per_byte_count_the_bytes_of_the_text():
    tally = scores.Tally(np.full(100, math.log(2)))
    assert scores.score(tally, "€" * 100).to_json()["bits_per_byte"] == pytest.approx(1 / 3)


def test_accuracy_counts_the_first_and_the_first_five_candidates():
    candidates = np.array([[1, 2, 3, 4, 5], [2, 1, 3, 4, 5], [2, 3, 4, 5, 6], [1, 0, 2, 3, 4]])
    reading = likelihood.Reading(np.ones(4, np.int32), np.ones(4), candidates, candidates * 0.0)
    found = scores.score(reading.tally(), "abcd")
    assert (found.top_1, found.top_5) == (0.5, 0.75)


def test_the_standard_error_is_that_of_independent_blocks():
    """Of normal losses it is known; over 300 texts its mean lies within a tenth."""
    rng = np.random.default_rng(5)
    found = [scores.standard_error(scores.Tally(rng.normal(2, 1, 20_500))) for _ in range(300)]
    assert np.mean(found) == pytest.approx(1 / math.sqrt(20_500), rel=0.1)
    assert scores.standard_error(scores.Tally(np.ones(900))) is None


# Adapting: what is not read yet is not known


@pytest.fixture(scope="module")
def adapter(network):
    return dynamic.Adapter(network, ids_of(500, seed=9), segment_chars=8, num_segments=20)


@pytest.mark.parametrize(("rule", "rate"), [("rms", 0.01), ("sgd", 0.5)])
def test_an_adapting_model_never_sees_a_character_before_scoring_it(adapter, rule, rate):
    """The characters after place 43 are others: nothing up to there may change."""
    first, second = ids_of(83), ids_of(83)
    second[43:] = ids_of(40, seed=7)
    one, other = (adapter.read(ids, 0, rule, rate, 0.01).nats for ids in (first, second))
    assert (one[:43] == other[:43]).all()
    assert (one[43:] != other[43:]).any()


class Oracle(dynamic.Adapter):
    """Learns from a segment before it is scored."""

    def _step_eagerly(self, *arguments):
        super()._step_eagerly(*arguments)
        return super()._step_eagerly(*arguments)


def test_an_oracle_would_be_found_out(network, adapter):
    """Nobody predicts dice below log V, but one who learned a segment before scoring it."""
    dice = ids_of(1200)
    honest = adapter.read(dice, 0, "sgd", 2.0, 0.05).nats.mean()
    oracle = Oracle(network, ids_of(500, seed=9), segment_chars=8, num_segments=20)
    assert honest > math.log(V) > oracle.read(dice, 0, "sgd", 2.0, 0.05).nats.mean() + 0.1


def test_a_step_of_size_zero_is_the_frozen_model_and_the_weights_come_back(network, adapter):
    ids = ids_of(101)
    frozen = likelihood.read(network, ids, 4)
    np.testing.assert_allclose(adapter.read(ids, 4, "rms", 1e-12, 0.0).nats, frozen.nats, atol=1e-4)
    adapter.read(ids, 4, "sgd", 1.0, 0.0)
    np.testing.assert_array_equal(likelihood.read(network, ids, 4).nats, frozen.nats)


def test_the_rules_are_those_of_the_paper(network, adapter):
    """One step of each rule by hand."""
    segment = np.concatenate([[0], ids_of(8)])[None]
    *_, gradients = adapter._judge(segment, recurrent.initial_state(network, 1))
    roots = [np.asarray(r) for r in adapter._gradient_roots()]
    mean = np.concatenate([r.ravel() for r in roots]).mean()
    trained = [np.asarray(w) for w in network.trainable_variables]
    for rule, rate, decay in (("sgd", 0.2, 0.3), ("rms", 0.02, 0.3)):
        rates, decays = adapter._constants(rule, rate, decay)
        for weight, shift in zip(network.trainable_variables, trained, strict=True):
            weight.assign(shift + 0.1)  # away from the trained ones, so that they pull
        before = [np.asarray(w) for w in network.trainable_variables]
        *_, moved_gradients = adapter._judge(segment, recurrent.initial_state(network, 1))
        adapter._step(segment, recurrent.initial_state(network, 1), rates, decays, np.float32(1))
        for i, weight in enumerate(network.trainable_variables):
            gradient, root = np.asarray(moved_gradients[i]), roots[i]
            if rule == "sgd":
                expected = before[i] - rate * gradient + decay * (trained[i] - before[i])
            else:
                pull = np.minimum(decay * root / mean, 1)
                expected = before[i] - rate * gradient / root + pull * (trained[i] - before[i])
            np.testing.assert_allclose(np.asarray(weight), expected, atol=1e-4, rtol=1e-4)
        adapter._restore()
    assert len(gradients) == len(roots)


def test_what_the_training_text_lacks_does_not_leap(network):
    """The embedding of a character without gradients there: a step of 1e-3 once was one of 1e5."""
    train = np.where(ids_of(500, seed=9) == 7, 3, ids_of(500, seed=9))
    adapter = dynamic.Adapter(network, train, segment_chars=8)
    text = np.where(ids_of(400) < 4, 7, ids_of(400))
    loss = adapter.read(text, 0, "rms", 1e-3, 1e-2).nats.mean()
    assert loss < likelihood.nats_per_character(network, text) < loss + 2


# N-grams and mixtures


def slow_kneser_ney(train, start_id, order, context, target):
    """The definition, counted by hand: p of `target` after `context` at `order`."""
    padded = [start_id] * 8 + train
    grams = {}
    for k in range(order + 2):
        grams[k] = [tuple(padded[i - k : i + 1]) for i in range(8, len(padded))]

    def counts(k):
        if k == order:
            seen = {}
            for gram in grams[k]:
                seen[gram] = seen.get(gram, 0) + 1
            return seen
        seen = {}
        for gram in set(grams[k + 1]):
            seen[gram[1:]] = seen.get(gram[1:], 0) + 1
        return seen

    p = 1 / V
    for k in range(order + 1):
        seen = counts(k)
        once = sum(c == 1 for c in seen.values())
        twice = sum(c == 2 for c in seen.values())
        d = once / (once + 2 * twice) if once and twice else 0.5
        own = tuple(context[len(context) - k :])
        here = {gram[-1]: c for gram, c in seen.items() if gram[:-1] == own}
        total = sum(here.values())
        if total:
            p = (max(here.get(target, 0) - d, 0) + d * len(here) * p) / total
    return p


def skewed(num, seed):
    return (np.random.default_rng(seed).integers(0, V, num) ** 2 // V).astype(np.int32)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_n_grams_are_the_definition(order):
    train, text = skewed(400, 1), skewed(60, 2)
    found = np.exp(-ngrams.NGrams(train, V, 5, max_context_chars=4).frozen(text)[order])
    padded = [5] * 8 + text.tolist()
    expected = [
        slow_kneser_ney(train.tolist(), 5, order, padded[t : t + 8], text[t]) for t in range(60)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_probabilities_of_n_grams_sum_to_one_frozen_and_adapting():
    counted = ngrams.NGrams(skewed(400, 1), V, 5, max_context_chars=4)
    text = skewed(90, 2)
    for length in (0, 1, 30, 89):
        every = [np.concatenate([text[:length], [c]]) for c in range(V)]
        frozen = [np.exp(-counted.frozen(one)[:, -1]) for one in every]
        np.testing.assert_allclose(np.sum(frozen, 0), 1, rtol=1e-9)
        adapted = [np.exp(-counted.adapting(one, 3)[0][-1]) for one in every]
        assert sum(adapted) == pytest.approx(1, rel=1e-9)


def test_adapting_n_grams_begin_as_the_frozen_ones_and_learn():
    counted = ngrams.NGrams(skewed(400, 1), V, 5, max_context_chars=4)
    text = np.tile(ids_of(30, seed=4), 6)
    frozen, (adapted, known) = counted.frozen(text)[3], counted.adapting(text, 3)
    assert adapted[0] == pytest.approx(frozen[0], rel=1e-12)
    assert adapted[60:].mean() < frozen[60:].mean() / 2
    assert set(known[60:]) == {3}


def test_adapting_n_grams_never_see_a_character_before_scoring_it():
    counted = ngrams.NGrams(skewed(400, 1), V, 5, max_context_chars=4)
    first, second = skewed(80, 2), skewed(80, 2)
    second[40:] = skewed(40, 3)
    one, other = (counted.adapting(ids, 3)[0] for ids in (first, second))
    assert (one[:40] == other[:40]).all()


def test_a_mixture_sums_to_one_and_follows_the_better_model():
    """Over two characters: what the models leave for the other one, the mixture leaves too."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, (2, 500))
    contexts = rng.integers(0, 3, 500)
    for t in (0, 1, 250, 499):
        one, other = p[:, : t + 1], p[:, : t + 1].copy()
        other[:, t] = 1 - other[:, t]
        mixed = [
            np.exp(-mixture.mixed_nats(-np.log(q), contexts[: t + 1])[t]) for q in (one, other)
        ]
        assert sum(mixed) == pytest.approx(1, rel=1e-9)
    good, bad = np.full(2000, 0.9), np.full(2000, 0.1)
    found = mixture.mixed_nats(-np.log([good, bad]), np.zeros(2000, int))
    assert np.exp(-found[0]) == pytest.approx(0.5)
    assert np.exp(-found[-1]) > 0.85
    assert sum(mixture.softmax([3.0, -800.0, 2.0])) == pytest.approx(1)


def test_compressors_cost_what_their_sizes_say():
    train, text = "so it goes, " * 50, "and so it went, " * 20
    [found] = compressors.nats_per_character("lzma", train, [text])

    def size(data):
        return len(lzma.compress(data.encode(), preset=9 | lzma.PRESET_EXTREME))

    assert found == pytest.approx((size(train + text) - size(train)) * 8 * math.log(2) / len(text))
    for name in compressors.COMPRESSORS:
        [known] = compressors.nats_per_character(name, train + text, [text])
        assert 0 < known < 1.5


# Copies, loops, drift


def brute_force(text, training_text):
    lengths = []
    for i in range(len(text)):
        n = 0
        while i + n < len(text) and text[i : i + n + 1] in training_text:
            n += 1
        lengths.append(n)
    return lengths


@pytest.mark.parametrize("seed", range(6))
def test_the_copy_check_is_brute_force(seed):
    rng = np.random.default_rng(seed)
    alphabet = ["ab", "abc", "ab\0", "aé€\U0001f600", "a", "abcdefghijk"][seed]
    train = "".join(rng.choice(list(alphabet), 300))
    text = "".join(rng.choice(list(alphabet), 80)) + train[40:75] + "new!"
    matches = copying.find(text, train)
    assert matches.lengths.tolist() == brute_force(text, train)
    for i, (n, place) in enumerate(zip(matches.lengths, matches.positions, strict=True)):
        assert text[i : i + n] == train[place : place + n]
    for n in (1, 2, 5, 30):
        grams = [text[i : i + n] for i in range(len(text) - n + 1)]
        assert matches.novel_share(n) == pytest.approx(np.mean([g not in train for g in grams]))


def test_a_copied_passage_is_found_where_it_stands():
    train = "".join(np.random.default_rng(0).choice(list("abcdefgh "), 1000))
    passage = train[123:201]
    matches = copying.find("It began:[" + passage + "]. It ended.", train)
    length, place, position = matches.longest()
    assert (length, place, position) == (78, 10, 123)
    assert matches.covered_share(50) == pytest.approx(78 / (10 + 78 + 12))
    assert matches.covered_share(79) == 0


@pytest.mark.parametrize(("text", "train"), [("", "abc"), ("abc", ""), ("", "")])
def test_texts_of_nothing_copy_nothing(text, train):
    matches = copying.find(text, train)
    assert matches.longest() == (0, 0, 0)
    assert matches.novel_share(8) is None
    assert matches.covered_share(5) == 0


@pytest.mark.parametrize("num_chars", [0, 25, 40, 49])
def test_a_text_too_short_for_n_grams_has_none_that_are_new(num_chars):
    matches = copying.find("new" * 17 + "!", "old text")
    short = copying.Matches(matches.lengths[:num_chars], matches.positions[:num_chars])
    assert short.novel_share(50) is None
    assert copying.find("x" * 50, "y").novel_share(50) == 1


def test_loops_and_invented_names_show():
    train = "".join(f"NAME {'ABC'[i % 3]}:\nSome words of number {i}.\n\n" for i in range(30))
    measure = style.Style(train).measure
    looping = measure("NAME A:\nSome words.\n" * 20)
    assert looping["repeated_lines"] == pytest.approx(38 / 40)
    assert looping["distinct_12_grams"] < 0.06
    assert looping["known_words"] == 1
    assert looping["known_speakers"] == 1
    assert looping["speech_lines"] == 1
    invented = measure("NAME X:\nSome wurds.\nNAME A:\nSome wurds.\n")
    assert invented["known_speakers"] == 0.5
    assert invented["known_words"] == pytest.approx(5 / 8)
    prose = style.Style("No play at all. " * 40).measure("Nor this one.")
    assert "known_speakers" not in prose
    assert measure("")["repeated_lines"] is None


# Where the loss is


def reading_of(text, nats):
    ids = np.array([ord(c) % V for c in text], np.int32)
    candidates = np.stack([ids, (ids + 1) % V], 1)
    return likelihood.Reading(
        ids, np.asarray(nats, float), candidates, np.log([[4 / 3, 4]] * len(ids))
    )


def test_classes_share_out_the_whole_loss():
    text = "Ab 1.\n"
    rows = breakdown.by_class(reading_of(text, [1, 2, 3, 4, 5, 6]), text)
    assert {row["class"]: row["nats_per_character"] for row in rows} == {
        "capital letter": 1,
        "lower-case letter": 2,
        "space": 3,
        "digit": 4,
        "punctuation": 5,
        "line end": 6,
    }
    assert sum(row["share_of_loss"] for row in rows) == pytest.approx(1)
    assert sum(row["share_of_characters"] for row in rows) == pytest.approx(1)


def test_lines_are_ranked_by_their_mean_loss():
    lines = [f"line number {i}, twenty characters\n" for i in range(5)]
    nats = np.concatenate(
        [np.full(len(line), i) for line, i in zip(lines, [3, 1, 4, 0, 2], strict=True)]
    )
    found = breakdown.by_line(reading_of("".join(lines), nats), "".join(lines), num_lines=2)
    assert [row["line"] for row in found["hardest"]] == [3, 1]
    assert [row["line"] for row in found["easiest"]] == [4, 2]


def test_long_lines_are_cut_and_a_certain_model_has_no_loss_to_share():
    text = "a" * 5000
    found = breakdown.by_line(reading_of(text, np.zeros(5000)), text)
    assert len(found["hardest"][0]["text"]) == 200
    [row] = breakdown.by_class(reading_of(text, np.zeros(5000)), text)
    assert row["share_of_loss"] == 0


def test_calibration_compares_probability_with_frequency():
    """The first candidate is given 3/4 and always comes, the second 1/4 and never does."""
    rows = breakdown.calibration(reading_of("abcd" * 10, np.ones(40)))
    assert [(round(r["probability"], 6), r["frequency"], r["count"]) for r in rows] == [
        (0.25, 0.0, 40),
        (0.75, 1.0, 40),
    ]
    assert breakdown.calibration_error(rows) == pytest.approx(0.25)


# Units


def test_a_unit_that_tracks_the_line_is_ranked_first():
    text = ("A short line.\nAnd one that is a good deal longer.\n" * 30)[:1200]
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(len(text), 40)).astype(np.float32)
    outputs[:, 17] = -neurons.PROPERTIES["position in the line"](text) / 60
    first = neurons.rank(outputs, text)[0]
    assert (first["property"], first["unit"]) == ("position in the line", 17)
    assert first["correlation"] == pytest.approx(-1, abs=1e-5)
    names = {row["property"] for row in neurons.rank(outputs, text)}
    assert "inside quotation marks" not in names  # there are none in this text


def test_activations_are_the_outputs_after_each_character(network):
    ids = ids_of(70)
    found = neurons.activations(network, ids, 0)
    layer = recurrent.recurrent_layers(network)[0]
    probe = keras.Model(network.inputs, layer.output[0])
    inputs = keras.ops.convert_to_tensor(ids[None], "int32")
    expected = probe([inputs, *recurrent.initial_state(network, 1)])[0]
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)
