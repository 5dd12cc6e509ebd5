"""The n-gram family: its probabilities, both engines, its runs and their files."""

import collections
import shutil

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import models
from shakespeare_gen.errors import UserError
from shakespeare_gen.evaluation.ngrams import NGrams
from shakespeare_gen.models import ngram, ngram_model, states
from shakespeare_gen.models.ngram import NGramOptions, NGramSpec
from shakespeare_gen.report import comparison
from shakespeare_gen.runs import RunFolder, checkpoints, open_run, tensors
from tests.fake_runs import only_checkpoint, reseal

V, START = 6, 5
PLAIN = {"ngram_smoothing": "kneser_ney", "ngram_min_count": 1}


def skewed(num, seed):
    return (np.random.default_rng(seed).integers(0, V, num) ** 2 // V).astype(np.int32)


TRAIN, TEXT = skewed(800, 1), skewed(60, 2)


def spec_of(order=4, **options):
    return NGramSpec(V, NGramOptions(ngram_order=order, **options))


def model_of(spec, train=TRAIN):
    return models.from_arrays(spec, ngram.count(spec, train, START).weights)


def log_p(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def slow_probability(train, options, context, target):
    """A direct implementation of the definition, with dictionaries."""
    order = options.ngram_order
    padded = [START] * order + train
    grams = {
        k: collections.Counter(tuple(padded[i - k + 1 : i + 1]) for i in range(order, len(padded)))
        for k in range(1, order + 1)
    }
    p = 1 / V
    for k in range(1, min(order, len(context) + 1) + 1):
        counts = dict(grams[k])
        if k < order:
            counts = collections.Counter(gram[1:] for gram in grams[k + 1])
        own = tuple(context[len(context) - k + 1 :])
        here = {gram: c for gram, c in counts.items() if gram[:-1] == own}
        if not here:
            break
        kept = {g: c for g, c in here.items() if k < 3 or grams[k][g] >= options.ngram_min_count}
        total = sum(here.values())
        after = {g: c - slow_discount(counts, c, options) for g, c in kept.items()}
        p = after.get((*own, target), 0) / total + (1 - sum(after.values()) / total) * p
    return p


def slow_discount(counts, count, options):
    n = [0, *(sum(c == i for c in counts.values()) for i in (1, 2, 3, 4))]
    y = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
    if options.ngram_smoothing == "kneser_ney" or not all(n[1:]):
        return y
    i = min(count, 3)
    return min(max(i - (i + 1) * y * n[i + 1] / n[i], 0.01), i - 0.01)


@pytest.mark.parametrize("smoothing", ["kneser_ney", "modified_kneser_ney"])
@pytest.mark.parametrize("min_count", [1, 3])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_match_the_definition(order, min_count, smoothing):
    spec = spec_of(order, ngram_min_count=min_count, ngram_smoothing=smoothing)
    logits, _ = (model := model_of(spec)).read(TEXT[None], model.initial_state(1))
    for t in range(0, 60, 3):
        context = TEXT[: t + 1].tolist()
        expected = [slow_probability(TRAIN.tolist(), spec.options, context, c) for c in range(V)]
        np.testing.assert_allclose(np.exp(logits[0, t]), expected, rtol=1e-5)


@pytest.mark.parametrize("order", [1, 3, 9])
def test_probabilities_sum_to_one(order):
    model = model_of(spec_of(order))
    logits, _ = model.read(TEXT[None], model.initial_state(1))
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("order", [1, 4])
@pytest.mark.parametrize("max_row_numbers", [0, 60, 2**22])
def test_both_engines_and_both_ways_of_reading_agree(order, max_row_numbers, monkeypatch):
    """With all, some and no contexts as rows; whole, in parts, and token by token."""
    whole, _ = (model := model_of(spec_of(order))).read(TEXT.reshape(2, 30), model.initial_state(2))
    monkeypatch.setattr(ngram_model, "MAX_ROW_NUMBERS", max_row_numbers)
    plain = model_of(spec_of(order))
    compiled = models.loaded(plain.spec, plain.weights)
    for each in (plain, compiled):
        found, state = each.read(TEXT.reshape(2, 30)[:, :11], each.initial_state(2))
        rows = [np.asarray(found[:, t]) for t in range(11)]
        for t in range(11, 30):
            logits, state = each.step(TEXT.reshape(2, 30)[:, t], state)
            rows.append(np.asarray(logits))
        np.testing.assert_allclose(np.stack(rows, 1), whole, atol=1e-5)
        assert [a.shape for a in states.flatten(state)] == each.spec.state_shapes(2)


def test_the_loss_equals_that_of_the_baseline():
    """Beyond the first tokens: the baseline pads the text with more than one start token."""
    model = model_of(spec_of(4, **PLAIN))
    ids = np.concatenate([[START], TEXT])[None]
    logits, _ = model.read(ids, model.initial_state(1))
    found = -log_p(logits)[0, np.arange(60), TEXT]
    expected = NGrams(TRAIN, V, START, max_context_tokens=3).frozen(TEXT)[3]
    np.testing.assert_allclose(found[3:], expected[3:], rtol=1e-5)


def test_the_training_loss_is_that_of_the_training_text():
    for options in (PLAIN, {"ngram_min_count": 2}):
        counted = ngram.count(spec := spec_of(4, **options), TRAIN, START)
        model = models.from_arrays(spec, counted.weights)
        ids = np.concatenate([[START] * 3, TRAIN])[None]
        logits, _ = model.read(ids, model.initial_state(1))
        found = -log_p(logits)[0, np.arange(2, 802), TRAIN].mean()
        assert counted.nats == pytest.approx(found, rel=1e-5)


def test_a_model_that_has_read_nothing_is_uniform():
    spec = spec_of(3)
    model = models.build(spec)
    logits, _ = model.read(TEXT[None], model.initial_state(1))
    np.testing.assert_allclose(logits, np.log(1 / V), atol=1e-5)
    assert spec.find_damage(model.weights) is None


def test_a_text_with_too_many_n_grams_is_refused():
    with pytest.raises(UserError, match=r"ngram_max_size: expected at most 9 .*`ngram_order`"):
        ngram.count(spec_of(4, ngram_max_size=9), TRAIN, START)


# Runs


@pytest.fixture(scope="module")
def run(small_text, tmp_path_factory):
    """A finished run, trained with options that have no effect."""
    return shakespeare_gen.train_model(
        text=small_text,
        model="ngram",
        ngram_order=6,
        run_dir=tmp_path_factory.mktemp("runs") / "ngram",
        epochs=7,
        sample_chars=30,
        tensorboard=False,
    )


def test_a_run_is_complete(run):
    [row] = run.metrics()
    assert 0 < row["loss"] < row["validation_loss"] < 1
    assert [len(text) for _, text in run.folder.samples()] == [30]
    card = run.folder.card()
    assert card["status"] == "finished"
    assert card["losses"]["validation"] == pytest.approx(row["validation_loss"])
    weights = checkpoints.read(run).weights
    assert card["num_parameters"] == sum(array.size for array in weights.values())
    assert run.folder.loss_curve_path.exists()


def test_a_finished_run_has_nothing_to_resume(run, small_text, caplog):
    with caplog.at_level("INFO", logger="absl"):
        again = shakespeare_gen.train_model(text=small_text, run_dir=run.path, resume=True)
    assert "Nothing to train" in caplog.text
    assert again.metrics() == run.metrics()


def test_a_text_shorter_than_a_window_can_be_counted(tmp_path, caplog):
    with caplog.at_level("INFO", logger="absl"):
        run = shakespeare_gen.train_model(
            text="abcabd" * 6,
            model="ngram",
            run_dir=tmp_path / "run",
            validation_fraction=0,
            auto_size=True,
            epochs=3,
            sample_chars=1,
        )
    assert "model=ngram counts the text once: no effect of auto_size, epochs" in caplog.text
    assert "updates" not in caplog.text
    assert "validation_loss" not in run.metrics()[0]
    [result] = shakespeare_gen.load_generator(run).generate("ab", length=9, temperature=0.0)
    assert result.text.startswith(("c", "d"))


def test_both_engines_write_the_same_text(run):
    texts = [
        shakespeare_gen.load_generator(run, engine=engine)
        .generate("SPEAKER 1:\n", length=60, seed=3, num_samples=2)[1]
        .text
        for engine in ("numpy", "tensorflow")
    ]
    assert texts[0] == texts[1]
    assert "line" in texts[0]


@pytest.mark.slow
def test_a_run_is_evaluated_without_units_and_does_not_adapt(run, small_text):
    figures = shakespeare_gen.evaluate_run(
        run.path, text=small_text, sample_chars=160, protocol="windows", window_chars=20
    )
    frozen = figures["scores"][0]["splits"]["validation"]["nats_per_character"]
    assert frozen == pytest.approx(run.metrics()[0]["validation_loss"], abs=1e-5)
    assert figures["neurons"] == []
    assert (run.folder.evaluation_dir / "evaluation.html").exists()
    with pytest.raises(UserError, match="adapt: expected a model with gradients"):
        shakespeare_gen.evaluate_run(run.path, text=small_text, adapt=True)


@pytest.mark.slow
def test_n_grams_are_averaged_and_compared_with_a_network(run, small_text, tmp_path):
    network = shakespeare_gen.train_model(
        text=small_text,
        run_dir=tmp_path / "lstm",
        units=16,
        embedding_size=8,
        window_chars=20,
        epochs=2,
        learning_rate=0.02,
        sample_every_epochs=0,
    )
    paths = [network.path, run.path]
    each = [shakespeare_gen.load_generator(path) for path in paths]
    means = np.mean([np.exp(g.read("SPEAKER ").log_probabilities) for g in each], 0)
    for engine in ("numpy", "tensorflow"):
        both = shakespeare_gen.load_generator(paths, engine=engine)
        np.testing.assert_allclose(
            np.exp(both.read("SPEAKER ").log_probabilities), means, rtol=1e-4, atol=1e-7
        )
        assert len(both.generate("SPEAKER ", length=300, seed=1)[0].text) == 300
    figures = shakespeare_gen.evaluate_run(paths, text=small_text, sample_chars=0)
    loss = figures["scores"][0]["splits"]["validation"]["nats_per_character"]
    assert loss < network.metrics()[-1]["validation_loss"]
    with pytest.raises(UserError, match="adapt: expected a model with gradients"):
        shakespeare_gen.evaluate_run(paths, text=small_text, adapt=True)
    compared = [group.figures() for group in comparison.compare([network, run])]
    assert compared[1]["parameters"] == run.folder.card()["num_parameters"]
    assert compared[1]["tokens seen"] == run.spec.corpus.train_chars


# Files that are not what training wrote


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    text = "the cat sat on the mat. " * 8
    options = {"ngram_order": 3, "ngram_max_size": 1000, "sample_every_epochs": 0}
    run = shakespeare_gen.train_model(
        text=text,
        model="ngram",
        run_dir=tmp_path_factory.mktemp("runs") / "small",
        validation_fraction=0,
        **options,
    )
    return run.path


@pytest.fixture
def folder(small_run, tmp_path):
    return RunFolder(shutil.copytree(small_run, tmp_path / "run"))


def change(folder, name, value):
    """Changes a table, and the hash of its file, as an attacker would."""
    weights = dict(checkpoints.read(open_run(folder.path)).weights)
    weights[name] = value(weights[name].copy())
    (only_checkpoint(folder) / "weights.safetensors").write_bytes(tensors.encode(weights))
    reseal(only_checkpoint(folder))


def put(place, number):
    def value(array):
        array[place] = number
        return array

    return value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("contexts/keys", lambda keys: keys[::-1], "ascending keys"),
        ("contexts/keys", put(0, -1), "within the table"),
        ("contexts/keys", put(-1, 2**62), "within the table"),
        ("contexts/keys", lambda keys: keys[:-1], "equal length"),
        ("contexts/begins", put(3, 2**31 - 1), "ascending begins"),
        ("contexts/begins", put(0, -5), "ascending begins"),
        ("contexts/begins", put(-1, 7), "ascending begins"),
        ("ngrams/ids", put(4, 10**6), "ids below"),
        ("ngrams/ids", put(4, -1), "ids below"),
        ("ngrams/ids", lambda ids: ids[::-1], "ascending ids"),
        ("ngrams/probabilities", put(0, 3.0), "sum to one"),
        ("ngrams/probabilities", put(0, -1.0), "sum to one"),
        ("ngrams/probabilities", put(0, np.nan), "finite"),
        ("contexts/backoffs", put(0, 0.0), "sum to one"),
        ("ngrams/ids", lambda ids: np.zeros(1001, np.int32), r"found \{'dtype'"),
        ("ngrams/ids", lambda ids: ids[:0], r"range\(1, 1001\)"),
        ("ngrams/ids", lambda ids: ids.astype(np.int64), "'dtype': 'I32'"),
        ("ngrams/ids", lambda ids: ids[:, None], r"range\(1, 1001\)"),
    ],
)
def test_damaged_tables_are_refused(folder, name, value, message):
    change(folder, name, value)
    with pytest.raises(UserError, match=message) as error:
        shakespeare_gen.load_generator(folder.path)
    assert "\n" not in str(error.value)


def test_tables_larger_than_the_options_allow_are_not_read(folder):
    """The manifest names the file's real size; reading it would fill the memory."""
    change(folder, "contexts/keys", lambda keys: np.arange(10**6))
    with pytest.raises(UserError, match="found none"):
        shakespeare_gen.load_generator(folder.path)


def test_contexts_longer_than_the_order_are_refused():
    spec = NGramSpec(V, NGramOptions(ngram_order=3))
    weights = ngram.count(NGramSpec(V, NGramOptions(ngram_order=4)), TRAIN, START).weights
    assert spec.find_damage(weights) == "expected contexts of at most 2 tokens"
