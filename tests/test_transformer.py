"""The transformer family: against plain NumPy, stepping, training and whole runs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

import shakespeare_gen
from shakespeare_gen import models, runs
from shakespeare_gen.errors import UsageError
from shakespeare_gen.models import rotary, states
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec
from shakespeare_gen.models.transformer import TransformerOptions, TransformerSpec
from shakespeare_gen.options.groups import OptimizerOptions
from shakespeare_gen.runs import checkpoints
from shakespeare_gen.training import optimizers
from shakespeare_gen.training.model import TrainingModel
from tests import fake_runs

V, CONTEXT = 11, 7
KINDS = [
    {"mlp": mlp, "tied_embeddings": is_tied}
    for mlp in ("swiglu", "gelu")
    for is_tied in (False, True)
]
NETWORK = {"model": "transformer", "num_layers": 2, "num_heads": 2, "width": 16}
RUN = {
    **NETWORK,
    "context_tokens": 16,
    "window_chars": 16,
    "batch_size": 16,
    "learning_rate": 0.01,
    "warmup_steps": 10,
    "sample_chars": 20,
    "seed": 1,
}


def spec_of(**options):
    small = {"num_layers": 3, "num_heads": 2, "width": 16, "context_tokens": CONTEXT}
    return TransformerSpec(V, TransformerOptions(**{**small, **options}))


def arrays_for(spec, seed=0):
    """Weights that are large enough for attention to matter."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(len(shape) == 1, 0.3, shape).astype(np.float32)
        for name, shape in spec.weight_shapes().items()
    }


def model_of(precision="float32", seed=0, **options):
    model = models.build(spec_of(**options), precision)
    for name, array in arrays_for(model.spec, seed).items():
        model.weights[name].assign(array)
    return model


def ids_of(*shape):
    return np.random.default_rng(0).integers(0, V, shape).astype(np.int32)


# An independent implementation, in float64, of one text as a whole.


def norm(x, gain):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * gain


def turned(x):
    """Pairs of elements as complex numbers, rotated by their position: [T, S]."""
    positions, size = np.arange(len(x))[:, None], x.shape[1]
    frequencies = 10_000.0 ** (-np.arange(size // 2) / (size // 2))
    found = (x[:, : size // 2] + 1j * x[:, size // 2 :]) * np.exp(1j * positions * frequencies)
    return np.concatenate([found.real, found.imag], 1)


def attention(x, w, layer, num_heads, context):
    width, size = x.shape[1], x.shape[1] // num_heads
    qkv = x @ w[f"{layer}/qkv_kernel"]
    heads = []
    for head in range(num_heads):
        q, k, v = (qkv[:, part * width + head * size :][:, :size] for part in range(3))
        scores = turned(q) @ turned(k).T / np.sqrt(size)
        ages = np.subtract.outer(np.arange(len(x)), np.arange(len(x)))
        powers = np.where((ages >= 0) & (ages < context), np.exp(scores), 0)
        heads.append(powers / powers.sum(1, keepdims=True) @ v)
    return np.concatenate(heads, 1) @ w[f"{layer}/attention_output_kernel"]


def mlp(x, w, layer, kind):
    hidden = x @ w[f"{layer}/mlp_input_kernel"]
    if kind == "gelu":
        inner = np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)
        hidden = hidden / 2 * (1 + np.tanh(inner))
    else:
        gate, value = np.split(hidden, 2, 1)
        hidden = gate / (1 + np.exp(-gate)) * value
    return hidden @ w[f"{layer}/mlp_output_kernel"]


def plain_logits(spec, weights, ids):
    """ids [T] -> float64 [T, V]."""
    w, o = {name: array.astype(np.float64) for name, array in weights.items()}, spec.options
    x = w["embedding/embeddings"][ids]
    for i in range(1, o.num_layers + 1):
        layer = f"layer_{i}"
        normed = norm(x, w[f"{layer}/attention_scale"])
        x = x + attention(normed, w, layer, o.num_heads, o.context_tokens)
        x = x + mlp(norm(x, w[f"{layer}/mlp_scale"]), w, layer, o.mlp)
    x = norm(x, w["final/scale"])
    return x @ (w["embedding/embeddings"].T if o.tied_embeddings else w["logits/kernel"])


@pytest.mark.parametrize("kind", KINDS)
def test_all_forms_match_plain_numpy_past_the_context(kind):
    model = model_of(**kind)
    weights, ids = arrays_for(model.spec), ids_of(2, 5 * CONTEXT)
    expected = np.stack([plain_logits(model.spec, weights, row) for row in ids])
    logits, _ = model.read(ids)
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    in_numpy, _ = models.from_arrays(model.spec, weights).read(ids)
    np.testing.assert_allclose(in_numpy, expected, atol=2e-5)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]])
def test_stepping_and_chunks_equal_the_whole_sequence(kind):
    model = model_of(**kind)
    # After a multiple of the context, the caches of a step and of a read are laid out alike.
    ids, state = ids_of(3, 4 * CONTEXT), model.initial_state(3)
    whole, last = model.read(ids)
    parts, chunked = [], None
    for begin, end in ((0, 2), (2, 13), (13, 28)):
        logits, chunked = model.read(ids[:, begin:end], chunked)
        parts.append(logits)
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=1e-5)
    for t in range(ids.shape[1]):
        logits, state = model.step(ids[:, t], state)
        np.testing.assert_allclose(logits, whole[:, t], atol=1e-5)
    _, in_numpy = model.in_numpy().read(ids)
    for found in (chunked, state, in_numpy):
        for part, expected in zip(states.flatten(found), states.flatten(last), strict=True):
            np.testing.assert_allclose(part, expected, atol=1e-5)


def test_rows_of_a_state_may_have_read_different_numbers_of_tokens():
    model = model_of()
    ids = ids_of(1, 20)
    _, long = model.read(ids[:, :15])
    _, short = model.read(ids[:, 12:15])
    both = states.concatenate([long, short])
    logits, state = model.step(ids[[0, 0], 15], both)
    expected = [model.read(part)[0][:, -1] for part in (ids[:, :16], ids[:, 12:16])]
    np.testing.assert_allclose(logits, np.concatenate(expected), atol=1e-5)
    logits, _ = model.read(ids[[0, 0], 16:], state)
    expected = [model.read(part)[0][:, -4:] for part in (ids, ids[:, 12:])]
    np.testing.assert_allclose(logits, np.concatenate(expected), atol=1e-5)


@pytest.mark.parametrize("position", [2**20, 2 * rotary.NUM_ANGLES - 5])
def test_a_position_in_endless_text_is_as_precise_as_one_at_the_start(position):
    """The second one is where positions wrap around: the logits depend on distances only."""
    model = model_of()
    _, (start, slot, *caches) = model.read(ids_of(1, 3 * CONTEXT))
    # The same keys, rotated as at a later position.
    angle = rotary.rotation(np, np.float32([[position - int(start[0, 0])]]), 8)
    cosine, sine = (part[:, :, None] for part in angle)
    later = [(rotary.rotated(tnp, keys, cosine, sine), values) for keys, values in caches]
    ids, state = ids_of(1, 12), (tf.fill([1, 1], np.float32(position)), slot, *later)
    whole, last = model.read(ids, state)
    expected, _ = model.read(ids, (start, slot, *caches))
    np.testing.assert_allclose(whole, expected, atol=1e-4)
    for t in range(12):
        logits, state = model.step(ids[:, t], state)
        np.testing.assert_allclose(logits, expected[:, t], atol=1e-4)
    assert int(last[0][0, 0]) == int(state[0][0, 0]) < 2 * rotary.NUM_ANGLES


def test_bfloat16_is_close_and_keeps_a_float32_state():
    model, exact = model_of("bfloat16"), model_of()
    ids = ids_of(3, 2 * CONTEXT)
    logits, state = model.read(ids)
    expected, _ = exact.read(ids)
    assert 0 < np.std(logits - expected) < 0.06 * np.std(expected)
    assert {array.dtype.name for array in states.flatten(state)} == {"float32"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_spec_matches_the_built_weights_and_states(kind):
    model = models.build(spec_of(**kind, dropout=0.5))
    built = {name: tuple(weight.shape) for name, weight in model.weights.items()}
    assert model.spec.weight_shapes() == built
    assert model.spec.num_parameters == model.num_parameters == model.layer.count_params()
    arrays = states.flatten(model.initial_state(2))
    assert model.spec.state_shapes(2) == [tuple(array.shape) for array in arrays]


def test_a_head_needs_an_even_width():
    with pytest.raises(UsageError, match="width: expected a multiple of 2 \\* `num_heads=4`"):
        TransformerOptions(width=20)


def test_weights_are_initialized_as_in_gpt_2():
    keras.utils.set_random_seed(0)
    model = models.build(spec_of(width=128, num_layers=8))
    for name, weight in model.weights.items():
        expected = 0.02 / (4 if name.endswith("output_kernel") else 1)
        if name.endswith("scale"):
            np.testing.assert_array_equal(weight, 1)
        else:
            assert np.std(weight) == pytest.approx(expected, rel=0.1), name


def test_gains_do_not_decay():
    model = TrainingModel(models.build(spec_of()))
    options = OptimizerOptions(learning_rate=0.1, weight_decay=0.5, schedule="constant")
    optimizer = optimizers.make_optimizer(options, 10, 10)
    optimizer.build(model.trainable_variables)
    before = {n: np.array(w) for n, w in model.language_model.weights.items()}
    zeros = [tf.zeros(weight.shape) for weight in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for name, weight in model.language_model.weights.items():
        has_decayed = np.abs(weight).sum() < np.abs(before[name]).sum()
        assert has_decayed == (not name.endswith("scale")), name


def test_dropout_has_other_masks_in_each_place_and_call():
    keras.utils.set_random_seed(0)
    model = model_of(dropout=0.5)
    ids = ids_of(2, 8)
    first, second = (model.read(ids, training=True)[0] for _ in range(2))
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_array_equal(model.read(ids)[0], model_of().read(ids)[0])
    drop = model.layer.dropout()
    masks = [np.asarray(drop(tf.ones([1000]))) for _ in range(2)]
    assert set(np.unique(masks)) == {0, 2}
    assert 0.4 < (masks[0] == masks[1]).mean() < 0.6


def test_the_pure_functions_use_the_given_weights():
    model, other = model_of(seed=1), model_of(seed=2)
    assert model.read_function == other.read_function
    assert model.step_function == other.step_function
    ids = ids_of(2, 5)
    for name in ("read", "hidden"):
        found, _ = getattr(model, f"{name}_function")(other.weight_arrays(), ids)
        expected, _ = getattr(other, name)(ids)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_ensemble_with_an_lstm_is_the_mean_probability():
    lstm = models.build(RecurrentSpec(V, RecurrentOptions(units=7)))
    parts = [model_of(), lstm]
    both = Ensemble(parts, tnp)
    ids, state = ids_of(2, 12), both.initial_state(2)
    logits, _ = both.read(ids)
    alone = [tf.nn.softmax(model.read(ids)[0]) for model in parts]
    np.testing.assert_allclose(tf.nn.softmax(logits), sum(alone) / 2, atol=1e-6)
    for t in range(12):
        stepped, state = both.step(ids[:, t], state)
        np.testing.assert_allclose(stepped, logits[:, t], atol=1e-5)


def test_a_carried_state_continues_and_resets():
    model = model_of()
    training_model = TrainingModel(model, carry_batch_size=2)
    ids = ids_of(2, 3 * CONTEXT)
    whole, _ = model.read(ids)
    first, second = training_model(ids[:, :5]), training_model(ids[:, 5:])
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-5)
    training_model.reset_state()
    np.testing.assert_allclose(training_model(ids[:, :5]), first, atol=1e-6)


# Runs


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A folder with random weights."""
    path = tmp_path_factory.mktemp("transformer") / "run"
    fake_runs.write_run(path, (1,), text="abcdefgh" * 20, **NETWORK, context_tokens=8)
    return path


@pytest.mark.slow
def test_both_engines_agree(run_dir):
    plain, compiled = (
        shakespeare_gen.load_generator(run_dir, engine=e) for e in ("numpy", "tensorflow")
    )
    prompt = "abcdefgh" * 6
    logits = [np.asarray(g.read(prompt).logits) for g in (plain, compiled)]
    np.testing.assert_allclose(*logits, atol=1e-4)
    for options in ({"temperature": 0.0}, {"seed": 1}, {"num_beams": 3}):
        texts = [g.generate("ab", length=100, **options)[0].text for g in (plain, compiled)]
        assert texts[0] == texts[1]
    rows = compiled.generate("ab", length=60, num_samples=3, seed=2)
    assert [row.text for row in rows] == [
        row.text for row in plain.generate("ab", length=60, num_samples=3, seed=2)
    ]


def test_a_run_stores_only_the_options_of_its_family(run_dir):
    stored = json.loads((run_dir / "config.json").read_text("utf-8"))["options"]
    assert {"num_layers", "dropout", "width", "num_heads", "context_tokens"} <= stored.keys()
    assert not {"units", "cell", "embedding_size"} & stored.keys()
    assert runs.open_run(run_dir).spec.options[TransformerOptions].num_layers == 2


def test_automatic_sizes_are_those_of_recurrent_networks(small_text):
    with pytest.raises(UsageError, match="auto_size: expected to be used with `model=recurrent`"):
        shakespeare_gen.train_model(text=small_text, auto_size=True, **NETWORK)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"precision": "float32"}, {"precision": "bfloat16", "mlp": "gelu"}]
)
def test_it_learns_abab(abab_path, tmp_path, options):
    run = shakespeare_gen.train_model(
        corpus=str(abab_path), run_dir=tmp_path / "run", epochs=6, **RUN, **options
    )
    assert run.metrics()[-1]["validation_loss"] < 0.01
    [result] = shakespeare_gen.load_generator(run.path).generate("a", length=100, temperature=0.3)
    assert result.text.startswith("ba" * 40)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"carry_state": True}])
def test_two_and_two_epochs_equal_four_bit_for_bit(small_text, tmp_path, options):
    values = {"text": small_text, **RUN, **options, "dropout": 0.2}
    whole = shakespeare_gen.train_model(run_dir=tmp_path / "whole", epochs=4, **values)
    values["schedule"] = "constant"
    whole = shakespeare_gen.train_model(run_dir=tmp_path / "four", epochs=4, **values)
    shakespeare_gen.train_model(run_dir=tmp_path / "parts", epochs=2, **values)
    parts = shakespeare_gen.train_model(
        run_dir=tmp_path / "parts", resume=True, epochs=4, text=small_text
    )
    found, expected = (checkpoints.read(run, "last").weights for run in (parts, whole))
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight, err_msg=name)
    assert parts.folder.samples_path.read_text() == whole.folder.samples_path.read_text()


@pytest.mark.slow
def test_a_run_is_evaluated_like_one_of_an_lstm(small_text, tmp_path):
    run = shakespeare_gen.train_model(text=small_text, run_dir=tmp_path / "run", epochs=2, **RUN)
    lstm = shakespeare_gen.train_model(
        text=small_text, run_dir=tmp_path / "lstm", epochs=1, units=8, sample_chars=20
    )
    options = {"sample_chars": 160, "text": small_text}
    figures = shakespeare_gen.evaluate_run(
        run.path, adapt=True, mix=True, protocol="windows", window_chars=16, **options
    )
    frozen = figures["scores"][0]["splits"]["validation"]
    expected = run.metrics()[-1]["validation_loss"]
    assert frozen["nats_per_character"] == pytest.approx(expected, abs=1e-4)
    assert (run.path / "evaluation" / "index.html").exists() or any(
        (run.path / "evaluation").glob("*.html")
    )
    both = shakespeare_gen.evaluate_run([run.path, lstm.path], **options)
    assert both["scores"]
