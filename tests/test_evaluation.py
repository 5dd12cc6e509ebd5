"""Evaluation: closed forms, brute-force references, and tests that no method looks ahead."""

import itertools
import lzma
import math
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shakespeare_gen import models
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.data.tokenizers.bytes import ByteTokenizer
from shakespeare_gen.data.tokenizers.characters import CharacterTokenizer
from shakespeare_gen.evaluation import (
    breakdown,
    compressors,
    copying,
    dynamic,
    likelihood,
    loops,
    matches,
    mixture,
    neurons,
    ngrams,
    scores,
    style,
    words,
)
from shakespeare_gen.evaluation.rows import ReadingPlan
from shakespeare_gen.evaluation.scores import TextSize
from shakespeare_gen.models.language_model import LanguageModel
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec

V = 11


def model_of(seed=3, **options):
    keras.utils.set_random_seed(seed)
    options = {"units": 12, "embedding_size": 6, **options}
    return models.build(RecurrentSpec(V, RecurrentOptions(**options)))


@pytest.fixture(scope="module")
def model():
    return model_of()


def ids_of(num, seed=0):
    return np.random.default_rng(seed).integers(0, V, num).astype(np.int32)


def text_of(ids):
    return TokenizedText("".join(chr(97 + i) for i in ids), ids)


def stepwise_log_p(model, ids):
    """Log-probabilities [N, V] after each of `ids`, read step by step from an empty state."""
    logits, _ = model.read(np.asarray(ids, np.int32)[None], model.initial_state(1))
    return np.asarray(keras.ops.log_softmax(logits))[0]


# Exact likelihood


def test_a_reading_contains_the_most_likely_tokens(model):
    ids = ids_of(300)
    reading = likelihood.read(model, ids, 2, ReadingPlan(num_streams=3))
    log_p = stepwise_log_p(model, np.concatenate([[2], ids[:-1]]))
    np.testing.assert_allclose(reading.nats, -log_p[np.arange(300), ids], atol=1e-5)
    best = np.argsort(-log_p, axis=1)[:, :5]
    np.testing.assert_array_equal(reading.candidate_ids, best)
    np.testing.assert_allclose(
        reading.candidate_nats, -np.take_along_axis(log_p, best, 1), atol=1e-5
    )


@pytest.mark.parametrize("num_tokens", [1, 2, 255, 400])
@pytest.mark.parametrize("num_streams", [1, 4, 32])
def test_the_loss_does_not_depend_on_the_streams(model, num_tokens, num_streams):
    """Every token counts once, for any number of streams and any length of the text."""
    ids = ids_of(num_tokens)
    log_p = stepwise_log_p(model, np.concatenate([[2], ids[:-1]]))
    expected = -np.mean(log_p[np.arange(num_tokens), ids])
    plan = ReadingPlan(num_streams, context_tokens=64)
    found = likelihood.nats_per_character(model, text_of(ids), 2, plan)
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_uniform_model_has_a_loss_of_log_v():
    model = model_of()
    for weight in model.weights.values():
        weight.assign(np.zeros(weight.shape))
    found = likelihood.nats_per_character(model, text_of(ids_of(777)), 0)
    assert found == pytest.approx(np.log(V), abs=1e-6)


def test_losses_are_reported_per_character_for_any_tokenizer(model):
    """Each token of this text is two characters, so the loss per character is half."""
    ids = ids_of(90)
    pairs = TokenizedText("".join(chr(97 + i) * 2 for i in ids), ids)
    per_token = likelihood.nats_per_character(model, text_of(ids), 2)
    assert likelihood.nats_per_character(model, pairs, 2) == pytest.approx(per_token / 2)


def test_nothing_to_predict_is_an_error(model):
    with pytest.raises(ValueError, match="at least one token"):
        likelihood.read(model, ids_of(0), 0)


def test_models_of_the_same_shape_share_compiled_functions():
    """150 evaluations in one process once took 7 GB: each traced its own functions."""
    first, second = model_of(seed=1), model_of(seed=2)
    ids = ids_of(70)
    losses = [likelihood.read(m, ids, 0).nats.mean() for m in (first, second, first)]
    assert losses[0] == losses[2] != losses[1]
    log_p = stepwise_log_p(second, np.concatenate([[0], ids[:-1]]))
    assert losses[1] == pytest.approx(-np.mean(log_p[np.arange(70), ids]), abs=1e-5)


@pytest.mark.parametrize(
    ("num_tokens", "window"), [(50, 16), (49, 16), (10, 16), (17, 16), (33, 1)]
)
def test_windows_start_from_an_empty_state_and_cover_every_token(model, num_tokens, window):
    ids = ids_of(num_tokens)
    tally = likelihood.read_windows(model, ids, window)
    expected = []
    for start in range(0, num_tokens - 1, window):
        part = ids[start : start + window + 1]
        log_p = stepwise_log_p(model, part[:-1])
        expected += (-log_p[np.arange(len(part) - 1), part[1:]]).tolist()
    np.testing.assert_allclose(tally.nats, expected, atol=1e-5)
    assert set(tally.times) == {1}


def test_a_window_longer_than_memory_is_cut_to_the_text(model):
    """`window_chars=2147483647` once allocated a window of that size and was killed."""
    tally = likelihood.read_windows(model, ids_of(40), 2**31 - 1)
    np.testing.assert_allclose(tally.nats, likelihood.read_windows(model, ids_of(40), 39).nats)


@pytest.mark.parametrize(
    ("stride", "starts"), [(1, range(12)), (5, [0, 5, 10, 11]), (7, [0, 7, 11])]
)
def test_overlapping_windows_are_averaged_and_reach_the_end(model, stride, starts):
    ids, window = ids_of(20), 8
    tally = likelihood.read_windows(model, ids, window, stride)
    losses, hits = [[] for _ in range(19)], [[] for _ in range(19)]
    for start in starts:
        part = ids[start : start + window + 1]
        log_p = stepwise_log_p(model, part[:-1])
        for i, target in enumerate(part[1:]):
            losses[start + i].append(-log_p[i, target])
            hits[start + i].append(log_p[i].argmax() == target)
    np.testing.assert_allclose(tally.nats, [np.mean(one) for one in losses], atol=1e-5)
    np.testing.assert_array_equal(tally.times, [len(one) for one in losses])
    np.testing.assert_allclose(tally.hits[:, 0], [np.mean(one) for one in hits])
    score = scores.score(tally, TextSize(19, 19, 19))
    assert score.nats == pytest.approx(np.mean(np.concatenate(losses)), abs=1e-5)
    assert score.top_1 == pytest.approx(np.mean(np.concatenate(hits)))


@pytest.mark.parametrize(("num_tokens", "stride"), [(1, 0), (20, 9)])
def test_windows_that_do_not_cover_every_token_are_rejected(model, num_tokens, stride):
    with pytest.raises(ValueError, match="at least 2 tokens and a stride of at most 8"):
        likelihood.read_windows(model, ids_of(num_tokens), 8, stride)


def test_a_long_memory_is_read_in_fewer_parts(monkeypatch):
    """The memory of this model exceeds the context by far, which the seam check detects."""
    model = model_of(seed=5)
    model.weights["lstm_1/bias"].assign(np.repeat([0.0, 7.0, 0.0, 0.0], 12))  # the forget gate
    for name, factor in (("lstm_1/kernel", 8.0), ("logits/kernel", 4.0)):
        model.weights[name].assign(model.weights[name] * factor)
    text = text_of(ids_of(6000))
    alone = likelihood.nats_per_character(model, text, 0, ReadingPlan(num_streams=1))
    assert likelihood.nats_per_character(model, text, 0) == pytest.approx(alone, abs=1e-4)
    monkeypatch.setattr(likelihood, "MAX_SEAM_NATS", math.inf)
    assert abs(likelihood.nats_per_character(model, text, 0) - alone) > 3e-4


class Trigger(LanguageModel):
    """Predicts id 1 after id 5 if id 0 has ever been read; is uniform otherwise."""

    vocabulary_size = V
    weights: dict = {}  # noqa: RUF012
    step_function = staticmethod(None)

    def initial_state(self, batch_size):
        return tf.zeros([batch_size], tf.int32)

    def read(self, ids, state=None, training=False):
        state = self.initial_state(len(ids)) if state is None else state
        has_read_0 = state[:, None] + tf.cumsum(tf.cast(ids == 0, tf.int32), 1)
        is_sure = tf.cast((has_read_0 > 0) & (ids == 5), tf.float32)
        return 9.0 * is_sure[..., None] * tf.one_hot(1, V), has_read_0[:, -1]

    def step_weights(self):
        return ()


def test_one_stream_is_exact_for_a_model_that_remembers_beyond_its_context():
    """The seam check covers only one chunk after each seam, so it misses this model, which is the
    documented limit of `likelihood`."""
    ids = np.full(64 * 400, 2, np.int32)
    ids[0], ids[200::400], ids[201::400] = 0, 5, 1
    text, sure = text_of(ids), -math.log(math.exp(9) / (math.exp(9) + V - 1))
    expected = ((len(ids) - 64) * math.log(V) + 64 * sure) / len(ids)
    found = likelihood.nats_per_character(Trigger(), text, 2, ReadingPlan(num_streams=1))
    assert found == pytest.approx(expected, abs=1e-5)
    assert likelihood.nats_per_character(Trigger(), text, 2) > found + 0.005


def test_loss_by_position_counts_from_the_reset(model):
    ids = ids_of(40)
    found = likelihood.nats_by_position(model, ids, num_positions=16, num_windows=1000)
    every = [
        -stepwise_log_p(model, ids[s : s + 16])[np.arange(16), ids[s + 1 : s + 17]]
        for s in range(40 - 16)
    ]
    np.testing.assert_allclose(found, np.mean(every, 0), atol=1e-5)


# Scores


def test_a_uniform_model_scores_exactly_log2_v():
    size = TextSize(1234, 1234, 1234)
    found = scores.score(scores.Tally(np.full(1234, math.log(V))), size).to_json()
    assert found["bits_per_character"] == pytest.approx(math.log2(V), rel=1e-14)
    assert found["bits_per_byte"] == pytest.approx(math.log2(V), rel=1e-14)
    assert found["perplexity"] == pytest.approx(V, rel=1e-13)
    assert found["top_1_accuracy"] is None


def test_an_unbounded_loss_has_no_perplexity():
    tally = scores.Tally(np.array([800.0]))
    assert scores.score(tally, TextSize(1, 1, 1)).to_json()["perplexity"] is None


def test_bits_per_byte_and_per_character_use_the_size_of_the_text():
    """50 tokens of 2 bits each, 100 characters of 3 bytes each."""
    tally = scores.Tally(np.full(50, 2 * math.log(2)))
    found = scores.score(tally, TextSize.of([TokenizedText("€" * 100, np.arange(50))])).to_json()
    assert found["bits_per_character"] == pytest.approx(1)
    assert found["bits_per_byte"] == pytest.approx(1 / 3)
    assert (found["characters"], found["tokens"]) == (100, 50)


def test_accuracy_counts_the_first_and_the_first_five_candidates():
    candidates = np.array([[1, 2, 3, 4, 5], [2, 1, 3, 4, 5], [2, 3, 4, 5, 6], [1, 0, 2, 3, 4]])
    reading = likelihood.Reading(np.ones(4, np.int32), np.ones(4), candidates, candidates * 0.0)
    found = scores.score(reading.tally(), TextSize(4, 4, 4))
    assert (found.top_1, found.top_5) == (0.5, 0.75)


def test_the_standard_error_is_that_of_independent_blocks():
    """For normal losses it is known; the mean over 300 texts is within a tenth of it."""
    rng = np.random.default_rng(5)
    found = [scores.standard_error(scores.Tally(rng.normal(2, 1, 20_500))) for _ in range(300)]
    assert np.mean(found) == pytest.approx(1 / math.sqrt(20_500), rel=0.1)
    assert scores.standard_error(scores.Tally(np.ones(900))) is None


# Dynamic evaluation: a token is scored before the model adapts to it


def adapter_of(model, kind=dynamic.Adapter):
    return kind(model, ids_of(500, seed=9), segment_tokens=8, num_segments=20)


@pytest.fixture(scope="module")
def adapter(model):
    return adapter_of(model)


@pytest.mark.parametrize(("rule", "rate"), [("rms", 0.01), ("sgd", 0.5)])
def test_an_adapting_model_scores_a_token_before_it_learns_from_it(adapter, rule, rate):
    """A change of the tokens after position 43 must not affect earlier losses."""
    first, second = ids_of(83), ids_of(83)
    second[43:] = ids_of(40, seed=7)
    one, other = (adapter.read(ids, 0, rule, rate, 0.01).nats for ids in (first, second))
    assert (one[:43] == other[:43]).all()
    assert (one[43:] != other[43:]).any()


class Oracle(dynamic.Adapter):
    """Learns from a segment before scoring it."""

    def make_step(self):
        step = super().make_step()

        def learn_first(weights, *arguments):
            *_, learned = step(weights, *arguments)
            return step(learned, *arguments)

        return learn_first


def test_an_oracle_would_be_detected(model, adapter):
    """No valid model predicts random ids with a loss below log V; one that learns from a segment
    before scoring it does."""
    dice = ids_of(1200)
    honest = adapter.read(dice, 0, "sgd", 2.0, 0.05).nats.mean()
    oracle = adapter_of(model, Oracle).read(dice, 0, "sgd", 2.0, 0.05).nats.mean()
    assert honest > math.log(V) > oracle + 0.1


def test_a_step_size_of_zero_is_the_frozen_model_and_the_model_does_not_change(model, adapter):
    ids = ids_of(101)
    frozen = likelihood.read(model, ids, 4)
    np.testing.assert_allclose(adapter.read(ids, 4, "rms", 1e-12, 0.0).nats, frozen.nats, atol=1e-4)
    adapter.read(ids, 4, "sgd", 1.0, 0.0)
    np.testing.assert_array_equal(likelihood.read(model, ids, 4).nats, frozen.nats)


@pytest.mark.parametrize(("rule", "rate", "decay"), [("sgd", 0.2, 0.3), ("rms", 0.02, 0.3)])
def test_the_update_rules_match_the_paper(model, adapter, rule, rate, decay):
    """One step of each rule, computed directly, from weights other than the trained ones."""
    segment = np.concatenate([[0], ids_of(8)]).astype(np.int32)[None]
    trained = {name: np.asarray(w) for name, w in model.weight_arrays().items()}
    weights = {name: tf.constant(w + 0.1) for name, w in trained.items()}

    def gradients_of(at, part):
        with tf.GradientTape() as tape:
            tape.watch(at)
            logits, _ = model.read_function(at, part[:, :-1], model.initial_state(1))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(part[:, 1:], logits)
            loss = tf.reduce_mean(losses)
        found = tape.gradient(loss, at)
        return {name: np.asarray(tf.convert_to_tensor(g)) for name, g in found.items()}

    roots = {name: np.ones_like(w) for name, w in trained.items()}
    if rule == "rms":
        train, at = ids_of(500, seed=9), {name: tf.constant(w) for name, w in trained.items()}
        starts = np.linspace(0, 500 - 9, 20).astype(int)
        every = [gradients_of(at, train[s : s + 9][None]) for s in starts]
        roots = {n: np.sqrt(np.mean([np.square(g[n]) for g in every], 0)) for n in trained}
        mean = np.concatenate([r.ravel() for r in roots.values()]).mean()
        roots = {name: root + 0.1 * mean + 1e-12 for name, root in roots.items()}
    mean = np.concatenate([r.ravel() for r in roots.values()]).mean()
    rates, decays = adapter.step_sizes(rule, rate, decay)
    trained_tensors = {name: tf.constant(w) for name, w in trained.items()}
    *_, updated = adapter.make_step()(
        weights, trained_tensors, rates, decays, segment, model.initial_state(1), np.float32(1)
    )
    gradients = gradients_of(weights, segment)
    for name, root in roots.items():
        pull = np.minimum(decay * root / mean, 1)
        expected = (trained[name] + 0.1) - rate * gradients[name] / root + pull * -0.1
        np.testing.assert_allclose(np.asarray(updated[name]), expected, atol=1e-4, rtol=1e-4)


def test_a_token_that_is_not_in_the_training_text_does_not_cause_a_huge_step(model):
    """Its embedding has no gradients on the training text: a step of 1e-3 once became 1e5."""
    train = np.where(ids_of(500, seed=9) == 7, 3, ids_of(500, seed=9))
    adapter = dynamic.Adapter(model, train, segment_tokens=8)
    ids = np.where(ids_of(400) < 4, 7, ids_of(400))
    loss = adapter.read(ids, 0, "rms", 1e-3, 1e-2).nats.mean()
    assert loss < likelihood.read(model, ids, 0).nats.mean() < loss + 2


# N-grams and mixtures


def slow_kneser_ney(train, start_id, order, context, target):
    """A direct implementation of the definition: p of `target` after `context` at `order`."""
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
def test_n_grams_match_the_definition(order):
    train, text = skewed(400, 1), skewed(60, 2)
    found = np.exp(-ngrams.NGrams(train, V, 5, max_context_tokens=4).frozen(text)[order])
    padded = [5] * 8 + text.tolist()
    expected = [
        slow_kneser_ney(train.tolist(), 5, order, padded[t : t + 8], text[t]) for t in range(60)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_probabilities_of_n_grams_sum_to_one_frozen_and_adapting():
    counted = ngrams.NGrams(skewed(400, 1), V, 5, max_context_tokens=4)
    text = skewed(90, 2)
    for length in (0, 1, 30, 89):
        every = [np.concatenate([text[:length], [c]]) for c in range(V)]
        frozen = [np.exp(-counted.frozen(one)[:, -1]) for one in every]
        np.testing.assert_allclose(np.sum(frozen, 0), 1, rtol=1e-9)
        adapted = [np.exp(-counted.adapting(one, 3)[-1]) for one in every]
        assert sum(adapted) == pytest.approx(1, rel=1e-9)


def test_adapting_n_grams_start_as_the_frozen_ones_and_improve():
    counted = ngrams.NGrams(skewed(400, 1), V, 5, max_context_tokens=4)
    text = np.tile(ids_of(30, seed=4), 6)
    frozen, adapted = counted.frozen(text)[3], counted.adapting(text, 3)
    assert adapted[0] == pytest.approx(frozen[0], rel=1e-12)
    assert adapted[60:].mean() < frozen[60:].mean() / 2


def test_adapting_n_grams_never_see_a_character_before_scoring_it():
    counted = ngrams.NGrams(skewed(400, 1), V, 5, max_context_tokens=4)
    first, second = skewed(80, 2), skewed(80, 2)
    second[40:] = skewed(40, 3)
    one, other = (counted.adapting(ids, 3) for ids in (first, second))
    assert (one[:40] == other[:40]).all()


def test_growing_counts_are_those_of_the_text_before():
    text = skewed(300, 2)
    counted = ngrams.NGrams(text[:-1], V, 0, max_context_tokens=4)
    contexts = itertools.islice(ngrams.adapting(None, text, 4), len(text) - 1, None)
    found = next(contexts)  # before the last token is counted
    for context, order, (places, _) in zip(found, counted.orders, counted.find(text), strict=True):
        counts = order.occurrences if order is counted.orders[-1] else order.preceding
        own = order.ngrams // V == places[-1]
        expected = dict(zip((order.ngrams[own] % V).tolist(), counts[own].tolist(), strict=True))
        assert context.counts == expected
        assert context.total == sum(expected.values())


# The first half of the tokens are letters; two of them are one letter in both cases.
LETTERS = np.array([97, 97, *range(98, 98 + V)][: V // 2] + [0] * (V - V // 2))


def words_before(history):
    """The word so far before each token, and the two words before that one, plainly."""
    found, so_far, before = [], (), [(), ()]
    for token in history:
        found.append((so_far, *reversed(before)))
        letter = int(LETTERS[token])
        if letter:
            so_far += (letter,)
        elif so_far:
            before, so_far = [before[1], so_far], ()
    return found


@given(history=st.lists(st.integers(0, V - 1), min_size=2, max_size=80), share=st.floats(0, 1))
def test_contexts_of_words_are_those_of_a_plain_search(history, share):
    first = int(share * len(history))
    expected = words_before(history)
    previous = [-1, *history[:-1]]
    ids = np.array(history)
    alone = words.adapting(ids[:0], ids, LETTERS)
    seen = [{}, {}, {}, {}]
    for i, contexts in enumerate(alone):
        for k, context in enumerate(contexts):
            key = (previous[i], *expected[i][:k])
            assert seen[k].setdefault(key, context) is context
    for contexts in seen:
        assert len({id(context) for context in contexts.values()}) == len(contexts)
    # Counts of a training text are those that reading it leaves.
    after = words.adapting(ids[:first], ids[first:], LETTERS)
    grown = itertools.islice(words.adapting(ids[:0], ids, LETTERS), first, None)
    for found, contexts in zip(after, grown, strict=True):
        assert found == contexts


def test_letters_are_tokens_of_one_letter_in_any_case():
    """A label of several characters, as a byte or a word has, once ended in a TypeError."""
    tokenizer = CharacterTokenizer("\n 'ABaz")
    assert words.letters(tokenizer).tolist() == [0, 0, 39, 97, 98, 97, 122]
    of_bytes = words.letters(ByteTokenizer())
    assert of_bytes[ord("a")] == of_bytes[ord("A")] == 97
    assert of_bytes[200] == 0


def mixed_nats(text, model_seed=0):
    """The loss of a mixture whose model predicts at random, in segments of 7 tokens."""
    train = skewed(400, 1)
    logits = np.random.default_rng(model_seed).normal(size=(len(text), V))
    rows = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    segments = (rows[begin : begin + 7] for begin in range(0, len(text), 7))
    return mixture.mixed_nats(text, segments, train, ngrams.NGrams(train, V, 5, 4), LETTERS)


def test_the_probabilities_of_a_mixture_sum_to_one():
    text = skewed(90, 2)
    for length in (0, 1, 30, 89):
        every = [np.concatenate([text[:length], [c]]) for c in range(V)]
        assert sum(np.exp(-mixed_nats(one)[-1]) for one in every) == pytest.approx(1, rel=1e-9)


def test_a_mixture_never_sees_a_token_before_scoring_it():
    first, second = skewed(80, 2), skewed(80, 2)
    second[40:] = skewed(40, 3)
    one, other = mixed_nats(first), mixed_nats(second)
    assert (one[:40] == other[:40]).all()
    assert (one[40:] != other[40:]).any()


def test_a_mixture_learns_to_follow_its_best_member():
    good, bad = np.log([0.9, 0.05, 0.05]), np.log([0.05, 0.05, 0.9])
    members = np.stack([good, bad])
    mixer = mixture.Mixer(np.array([0.5, 0.5]), (1, 2))
    first = mixer.log_probabilities(members, (0, 1))
    np.testing.assert_allclose(np.exp(first), np.exp(first)[[2, 1, 0]])
    for _ in range(3000):
        mixed = mixer.log_probabilities(members, (0, 1))
        mixer.learn(members, (0, 1), mixed, 0)
    assert np.exp(mixer.log_probabilities(members, (0, 1)))[0] > 0.85
    # The weights of a context that did not occur are half of the mixture.
    assert 0.6 < np.exp(mixer.log_probabilities(members, (0, 0)))[0] < 0.85


def test_a_text_that_repeats_is_predicted_by_its_matches():
    text = np.tile(ids_of(40, seed=4), 8)
    rows = list(matches.Matches(skewed(400, 1), text, V))
    found = np.array([row[token] for (row, _), token in zip(rows, text, strict=True)])
    assert np.exp(found[:40]).mean() < 0.3
    assert np.exp(found[200:]).min() > 0.9
    for row, _ in rows[::50]:
        assert np.exp(row).sum() == pytest.approx(1)
    buckets = [bucket for _, bucket in rows]
    assert buckets[0] == 0
    assert buckets[-1] == matches.NUM_BUCKETS - 1


@given(st.lists(st.integers(0, 2), min_size=6, max_size=60), st.integers(0, 30))
def test_matches_are_those_of_a_plain_search(tokens, split):
    """The last occurrence of the five tokens before; as long as it goes on, the match is kept."""
    history = np.array(tokens, np.int32)
    split = min(split, len(tokens) - 1)
    found = list(matches.Matches(history[:split], history[split:], V))
    kept = None
    for place, (row, bucket) in enumerate(found, split):
        kept = kept + 1 if kept and tokens[kept] == tokens[place - 1] else None
        if kept is None:
            ends = range(matches.MIN_TOKENS, place)
            same = [e for e in ends if tokens[e - 5 : e] == tokens[place - 5 : place]]
            kept = same[-1] if same and place >= 5 else None
        assert (bucket > 0) == (kept is not None)
        if kept is not None:
            others = np.delete(row, tokens[kept])
            assert np.allclose(others, others[0])


def test_losses_of_compressors_follow_from_compressed_sizes():
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
def test_the_copy_check_equals_brute_force(seed):
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


def test_a_copied_passage_is_found_at_its_position():
    train = "".join(np.random.default_rng(0).choice(list("abcdefgh "), 1000))
    passage = train[123:201]
    matches = copying.find("It began:[" + passage + "]. It ended.", train)
    length, place, position = matches.longest()
    assert (length, place, position) == (78, 10, 123)
    assert matches.covered_share(50) == pytest.approx(78 / (10 + 78 + 12))
    assert matches.covered_share(79) == 0


@pytest.mark.parametrize(("text", "train"), [("", "abc"), ("abc", ""), ("", "")])
def test_empty_texts_have_no_matches(text, train):
    matches = copying.find(text, train)
    assert matches.longest() == (0, 0, 0)
    assert matches.novel_share(8) is None
    assert matches.covered_share(5) == 0


@pytest.mark.parametrize("num_chars", [0, 25, 40, 49])
def test_a_text_too_short_for_n_grams_has_no_novel_share(num_chars):
    matches = copying.find("new" * 17 + "!", "old text")
    short = copying.Matches(matches.lengths[:num_chars], matches.positions[:num_chars])
    assert short.novel_share(50) is None
    assert copying.find("x" * 50, "y").novel_share(50) == 1


def test_loops_and_invented_names_are_detected():
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


# Distribution of the loss


def reading_of(text, nats):
    ids = np.array([ord(c) % V for c in text], np.int32)
    candidates = np.stack([ids, (ids + 1) % V], 1)
    return likelihood.Reading(
        ids, np.asarray(nats, float), candidates, np.log([[4 / 3, 4]] * len(ids))
    )


def test_a_loop_is_found_with_its_phrase():
    figures = loops.measure(["All is well.", "He said: and the king, and the king, and the king,"])
    assert figures["phrase"] == " and the king,"
    assert figures["before"] == "He said:"
    assert figures["loop"] == " and the king," * 3
    assert (figures["longest_loop_chars"], figures["repeats"]) == (42, 3)
    assert figures["share_in_loops"] == pytest.approx(42 / 62)


@pytest.mark.parametrize(
    "text", ["", "x", "No, no, no!", "and the king, and the king, all the men"]
)
def test_a_short_repetition_is_no_loop(text):
    figures = loops.measure([text])
    assert (figures["share_in_loops"], figures["longest_loop_chars"]) == (0, 0)
    assert figures["phrase"] == figures["loop"] == ""


def test_loops_match_a_brute_force_search():
    rng = np.random.default_rng(0)
    for _ in range(20):
        text = "".join(rng.choice(["a", "b", "ab", "aab" * 12, "b" * 31], 30))
        expected = np.zeros(len(text), bool)
        for begin in range(len(text)):
            for phrase_chars in range(1, len(text) // 3 + 1):
                end = begin + max(3 * phrase_chars, loops.MIN_LOOP_CHARS)
                part = text[begin:end]
                if end <= len(text) and part[phrase_chars:] == part[:-phrase_chars]:
                    expected[begin:end] = True
        np.testing.assert_array_equal(loops.find(text).is_inside, expected)


def test_the_losses_of_the_classes_sum_to_the_whole_loss():
    text = "Ab 1.\n"
    rows = breakdown.by_class(reading_of(text, [1, 2, 3, 4, 5, 6]), list(text))
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
    text = "".join(lines)
    found = breakdown.by_line(reading_of(text, nats), list(text), num_lines=2)
    assert [row["line"] for row in found["hardest"]] == [3, 1]
    assert [row["line"] for row in found["easiest"]] == [4, 2]


def test_a_line_that_occurs_often_is_listed_once():
    """The easiest lines were once the same line, eight times."""
    text = "  the same line of the song\n" * 9 + "and another line of the song\n"
    found = breakdown.by_line(reading_of(text, np.ones(len(text))), list(text))["easiest"]
    assert [(row["line"], row["begin"]) for row in found] == [(1, 2), (10, text.index("and"))]


def test_long_lines_are_cut_and_a_loss_of_zero_has_no_shares():
    text = "a" * 5000
    found = breakdown.by_line(reading_of(text, np.zeros(5000)), list(text))
    assert len(found["hardest"][0]["text"]) == 200
    [row] = breakdown.by_class(reading_of(text, np.zeros(5000)), list(text))
    assert row["share_of_loss"] == 0


def test_calibration_compares_probability_with_frequency():
    """The first candidate has probability 3/4 and always occurs, the second 1/4 and never."""
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
    first = neurons.rank(outputs, list(text))[0]
    assert (first["property"], first["unit"]) == ("position in the line", 17)
    assert first["correlation"] == pytest.approx(-1, abs=1e-5)
    names = {row["property"] for row in neurons.rank(outputs, list(text))}
    assert "inside quotation marks" not in names  # there are none in this text


def test_the_excerpt_of_a_unit_is_where_it_tracks_its_property():
    """It was once the excerpt where the property varies most, whatever the unit did there."""
    text = "a short line\n" * 200
    outputs = np.zeros((len(text), 1), np.float32)
    begin = 5 * neurons.EXCERPT_TOKENS
    place = slice(begin, begin + neurons.EXCERPT_TOKENS)
    outputs[place, 0] = neurons.PROPERTIES["position in the line"](text)[place]
    [row] = [
        r for r in neurons.rank(outputs, list(text)) if r["property"] == "position in the line"
    ]
    assert row["begin"] == begin


def test_activations_are_the_outputs_after_each_token(model):
    ids = ids_of(70)
    found = neurons.activations(model, ids, 0)
    expected, _ = model.hidden(ids[None], model.initial_state(1))
    np.testing.assert_allclose(found, np.asarray(expected)[0], atol=1e-5)


def test_a_model_without_activations_has_none_in_any_part():
    """Once, the mean over no activations was reported with a warning, and the text read again."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert neurons.activations(Trigger(), ids_of(700), 0).shape == (700, 0)


def test_a_property_is_evaluated_at_the_end_of_each_token():
    """Tokens of zero to three characters."""
    text = ("A short line.\nAnd one that is a good deal longer.\n" * 30)[:1200]
    rng, pieces, begin = np.random.default_rng(0), [], 0
    while begin < len(text):
        size = int(rng.integers(0, 4))
        pieces.append(text[begin : begin + size])
        begin += size
    ends = np.maximum(np.cumsum([len(piece) for piece in pieces]) - 1, 0)
    outputs = rng.normal(size=(len(pieces), 20)).astype(np.float32)
    outputs[:, 9] = neurons.PROPERTIES["position in the line"](text)[ends] / 60
    first = neurons.rank(outputs, pieces)[0]
    assert (first["property"], first["unit"]) == ("position in the line", 9)
    assert neurons.rank(outputs[:, :0], pieces) == []  # a model without units


def test_the_loss_of_a_token_is_spread_over_its_characters():
    pieces, nats = ["ab", "", "c", "", "", "def", "", ""], [2.0, 1, 3, 1, 1, 6, 9, 9]
    found = breakdown.by_character(np.array(nats), pieces)
    np.testing.assert_allclose(found, [1, 1, 4, 8 / 3, 8 / 3, 8 / 3])
    assert breakdown.by_character(np.array([1.0, 2.0]), ["", ""]).shape == (0,)
