"""The engine: one seed one text, rows that are independent, endings that never leak."""

import concurrent.futures
import itertools
import string
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow.experimental.numpy as tnp

from shakespeare_gen import models
from shakespeare_gen.data.tokenizers import CharacterOptions, CharacterTokenizer
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.generation import Generator, Request, decoding, reading
from shakespeare_gen.models.cells import CELLS
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec
from shakespeare_gen.runs import checkpoints
from tests.conftest import REPOSITORY
from tests.fake_models import EVERY_FILTER, LETTERS, alphabet


def model_of(tokenizer, seed=0, precision="float32", **options):
    keras.utils.set_random_seed(seed)
    spec = RecurrentSpec(tokenizer.size, RecurrentOptions(units=12, **options))
    model = models.build(spec, precision)
    kernel = model.weights["logits/kernel"]
    kernel.assign(kernel * 6)  # so that characters differ in probability
    return model


@pytest.fixture(scope="module")
def tokenizer(small_text):
    return CharacterTokenizer.from_text(small_text, CharacterOptions(unknown_id=True))


@pytest.fixture(scope="module")
def generator(tokenizer):
    return Generator(model_of(tokenizer), tokenizer)


def text_of(generator, prompt="This", **options):
    return generator.generate(prompt, **{"length": 50, "seed": 3, **options})[0].text


# Determinism


@pytest.mark.parametrize("options", [{}, EVERY_FILTER, {"mirostat_tau": 3.0}])
def test_one_seed_gives_one_text_whatever_the_chunks(generator, monkeypatch, options):
    text = text_of(generator, length=300, **options)
    assert "".join(generator.stream("This", length=300, seed=3, **options)) == text
    monkeypatch.setattr(decoding, "FIRST_CHUNK_TOKENS", 7)
    assert text_of(generator, length=300, **options) == text
    assert text_of(generator, length=300, seed=4, **options) != text


@pytest.mark.parametrize(
    ("options", "n"),
    [
        ({}, 3),
        (EVERY_FILTER, 1),
        pytest.param(EVERY_FILTER, 3, marks=pytest.mark.slow),
        ({"temperature": 0.0}, 3),
        ({"mirostat_tau": 3.0}, 3),
    ],
)
def test_a_text_is_the_same_whatever_batch_it_shares(generator, options, n):
    """In programs for 1, 4 and 16 rows; those of all filters take seconds each to compile."""
    prompts = ["This", "", "SPEAKER 3:\nThis is"]
    batch = generator.generate(prompts, num_samples=n, length=60, seed=5, **options)
    assert len(batch) == 3 * n
    for i, prompt in enumerate(prompts):
        alone = generator.generate(prompt, num_samples=n, length=60, seed=5, **options)
        assert [r.text for r in batch[n * i : n * i + n]] == [r.text for r in alone]
        assert generator.generate(prompt, length=60, seed=5, **options)[0].text == alone[0].text


def test_the_first_sample_is_what_one_sample_is(generator):
    one = text_of(generator)
    assert generator.generate("This", num_samples=2, length=50, seed=3)[0].text == one


def test_temperature_zero_follows_the_argmax(generator):
    text = text_of(generator, length=5, temperature=0.0)
    for i in range(5):
        logits = np.asarray(generator.read("This" + text[:i]).logits)[0][:-1]
        assert text[i] == generator.tokenizer.decode([int(np.argmax(logits))])


@pytest.mark.parametrize(
    "cell",
    [c if c in ("lstm", "min_gru") else pytest.param(c, marks=pytest.mark.slow) for c in CELLS],
)
def test_every_cell_writes_what_it_scores(tokenizer, cell):
    """The compiled steps and the whole sequence agree on every log-probability."""
    model = model_of(tokenizer, cell=cell, num_layers=2, residual=True)
    generator = Generator(model, tokenizer)
    [result] = generator.generate("This", length=80, seed=1)
    scored = generator.score(result.text, start=generator.read("This"))
    np.testing.assert_allclose(result.log_probabilities, scored, atol=1e-4)


@pytest.mark.parametrize("cell", ["lstm", pytest.param("min_gru", marks=pytest.mark.slow)])
def test_a_network_that_is_trained_in_bfloat16_writes(tokenizer, cell):
    """Samples while training: the state comes in bfloat16, the weights in float32."""
    model = model_of(tokenizer, cell=cell, num_layers=2, precision="bfloat16")
    generator = Generator(model, tokenizer)
    [result] = generator.generate("This", length=80, seed=1)
    scored = generator.score(result.text, start=generator.read("This"))
    np.testing.assert_allclose(result.log_probabilities, scored, atol=0.2)


def test_uniform_logits_give_uniform_frequencies(tokenizer):
    """Chi-square over the characters; the bound has a false-alarm rate of 0.001 and the seed
    is fixed."""
    model = model_of(tokenizer)
    model.weights["logits/kernel"].assign(model.weights["logits/kernel"] * 0)
    generator = Generator(model, tokenizer)
    results = generator.generate("", num_samples=8, length=2000, seed=0, temperature=1.0)
    ids = tokenizer.encode("".join(r.text for r in results))
    num_kinds = tokenizer.size - 1  # without the unknown id
    expected = len(ids) / num_kinds
    counts = np.bincount(ids, minlength=tokenizer.size)
    chi_square = np.sum((counts - expected) ** 2 / expected * (counts > 0))
    degrees = num_kinds - 1
    # Wilson and Hilferty's approximation of the quantile at 0.999.
    bound = degrees * (1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)) ** 0.5) ** 3
    assert chi_square < bound
    assert np.count_nonzero(counts) == num_kinds


@pytest.mark.parametrize("options", [{}, EVERY_FILTER, {"mirostat_tau": 1.0}, {"num_beams": 3}])
def test_the_alphabet_is_recited(options):
    """A model that computes in NumPy, through the whole engine."""
    generator = Generator(alphabet(), LETTERS)
    options = {**options, "repeat_window": 8}  # nothing repeats within it
    [result] = generator.generate("xyz", length=60, **options)
    assert result.text == (string.ascii_lowercase * 3)[:60]
    np.testing.assert_allclose(result.log_probabilities, 0, atol=1e-6)
    assert generator.read("xyz").model_state["count"] == [[3]]
    assert generator.read("abcdefghijklm" * 60).model_state["count"] == [[780]]


@pytest.mark.slow
def test_a_model_in_numpy_writes_what_it_writes_in_tensorflow(tokenizer):
    model = model_of(tokenizer, cell="gru", num_layers=2)
    weights = {name: weight.numpy() for name, weight in model.weights.items()}
    compiled, plain = (
        Generator(m, tokenizer) for m in (model, models.from_arrays(model.spec, weights))
    )
    for options in ({}, EVERY_FILTER, {"mirostat_tau": 2.0}, {"num_beams": 4}):
        assert text_of(plain, length=90, **options) == text_of(compiled, length=90, **options)


def test_a_model_in_numpy_does_not_import_tensorflow():
    code = (
        "import sys\n"
        "from shakespeare_gen.generation import Generator\n"
        "from tests.fake_models import LETTERS, alphabet\n"
        "generator = Generator(alphabet(), LETTERS)\n"
        "options = {'top_p': 0.9, 'no_repeat_ngram': 3, 'length': 400}\n"
        "assert len(''.join(generator.stream('a', **options))) == 400\n"
        "generator.generate('a', num_beams=2, length=5)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr


# Samples, scores, state


def test_samples_differ_and_the_unknown_id_never_comes(generator):
    results = generator.generate("This", num_samples=4, length=200, seed=0, temperature=5.0)
    assert len({r.text for r in results}) == 4
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(r.text for r in results)


def test_a_score_is_the_sum_of_what_was_likely(generator):
    nats = generator.score("This is", start=generator.read("\n"))
    expected = []
    for i, character in enumerate("This is"):
        logits = np.asarray(generator.read("\n" + "This is"[:i]).logits)
        log_p = np.log(np.exp(logits) / np.exp(logits).sum())
        expected.append(log_p[0, generator.tokenizer.encode(character)[0]])
    np.testing.assert_allclose(nats, expected, atol=1e-5)
    np.testing.assert_allclose(generator.score("This is"), nats, atol=1e-6)
    assert generator.score("").shape == (0,)


def test_next_tokens_are_sorted_by_probability(generator):
    found = generator.next_tokens("This", k=3)
    probabilities = [p for _, p in found]
    assert probabilities == sorted(probabilities, reverse=True)
    everything = generator.next_tokens("This", k=1000)
    assert len(everything) == generator.tokenizer.size
    assert sum(p for _, p in everything) == pytest.approx(1, abs=1e-5)
    assert everything[:3] == found


@pytest.mark.parametrize("options", [{}, EVERY_FILTER, {"mirostat_tau": 4.0}])
def test_next_probabilities_are_those_of_the_draw(generator, options):
    """Within 5 standard deviations of the binomial distribution."""
    expected = generator.next_probabilities("This is", **options)
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    drawn = generator.generate("This is", length=1, num_samples=1000, **options)
    ids = generator.tokenizer.encode("".join(result.text for result in drawn))
    found = np.bincount(ids, minlength=len(expected)) / 1000
    assert (found > 0).sum() > 1
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / 1000)).all()


def test_next_probabilities_without_a_transform_are_those_of_the_model(generator):
    found = generator.next_probabilities("This", temperature=1)
    state = generator.read("This")
    expected = np.exp(state.log_probabilities)
    expected[list(generator.tokenizer.forbidden_ids)] = 0
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-6)
    after = generator.next_probabilities("is", start=state, temperature=0)
    assert after.argmax() == generator.next_probabilities("Thisis", temperature=1).argmax()
    assert after.max() == 1


def test_activations_and_gates_are_those_of_the_last_state(tokenizer):
    generator = Generator(model_of(tokenizer, num_layers=2).in_numpy(), tokenizer)
    activations, gates = generator.activations("This is"), generator.gates("This is")
    assert activations.shape == (7, 24)
    (h_1, c_1), (h_2, _) = generator.read("This is").model_state
    np.testing.assert_allclose(activations[-1], np.concatenate([h_1[0], h_2[0]]), atol=1e-6)
    np.testing.assert_allclose(gates["lstm_1/output"][-1] * np.tanh(c_1[0]), h_1[0], atol=1e-5)
    assert set(gates) == {
        f"lstm_{i}/{gate}" for i in (1, 2) for gate in ("input", "forget", "output")
    }
    with pytest.raises(UsageError, match="expected at least one token"):
        generator.activations("")


def test_a_state_can_be_kept_forked_and_gone_back_to(generator):
    state = generator.read("This is")
    whole = text_of(generator, "This is line", **EVERY_FILTER)
    assert (
        generator.generate(" line", start=state, length=50, seed=3, **EVERY_FILTER)[0].text == whole
    )
    forks = [generator.generate(start=state, length=20, seed=s)[0].text for s in (1, 2, 1)]
    assert forks[0] == forks[2] != forks[1]
    assert forks[0] == text_of(generator, "This is", length=20, seed=1)


def test_a_long_prompt_is_read_in_chunks_to_the_same_end(generator, small_text, monkeypatch):
    whole = np.asarray(generator.read(small_text[:700]).logits)
    monkeypatch.setattr(reading, "NUMPY_WORK", 0)  # compiled, in chunks
    np.testing.assert_allclose(generator.read(small_text[:700]).logits, whole, atol=1e-5)


@pytest.mark.slow
def test_a_prompt_of_a_megabyte_is_read_in_constant_memory(generator, small_text):
    import resource

    text = (small_text * 400)[:1_000_000]
    generator.read(text[:50_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator.read(text)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 100  # mebibytes; all logits together would be 180


def test_an_endless_text_goes_on_in_chunks(generator):
    pieces = itertools.islice(generator.stream("This", length=-1, seed=3), 5)
    text = "".join(pieces)
    assert len(text) > 3 * decoding.CHUNK_TOKENS
    assert text.startswith(text_of(generator))


def test_an_empty_prompt_reads_a_line_end(generator):
    assert text_of(generator, prompt="") == text_of(generator, prompt="\n")


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 300])
def test_a_text_is_as_long_as_was_asked(generator, length):
    [result] = generator.generate("This", length=length, seed=3)
    assert (len(result.text), len(result.log_probabilities)) == (length, length)
    assert result.finish_reason == "length"


# Endings


def test_stop_ends_before_the_stop_string(generator):
    text = text_of(generator, length=200)
    stop = text[60:64]
    [result] = generator.generate("This", length=200, seed=3, stop=[stop, "never here"])
    assert result.text == text[: text.index(stop)]
    assert result.finish_reason == "stop"
    assert len(result.log_probabilities) == len(result.text)


def test_a_document_ends_the_text(small_text):
    """A network that writes nothing but the end of a document."""
    tokenizer = CharacterTokenizer.from_text(small_text + "\x03", CharacterOptions())
    model = model_of(tokenizer)
    end = tokenizer.encode("\x03")[0]
    model.weights["logits/bias"].assign(1e9 * np.eye(tokenizer.size)[end])
    [result] = Generator(model, tokenizer).generate("This")
    assert (result.text, result.finish_reason) == ("", "end")


def test_until_line_and_until_speaker_end_a_line_and_a_speech(generator):
    text = text_of(generator, length=2000, seed=8)
    line = text.lstrip("\n").split("\n")[0]
    [result] = generator.generate("This", length=2000, seed=8, until_line=True)
    assert result.text.strip("\n") == line
    [speech] = generator.generate("This", length=2000, seed=8, until_speaker=True)
    assert text.startswith(speech.text)
    assert "\n\n" not in speech.text.strip("\n")


def test_until_speaker_ends_the_prompt_s_speech(tokenizer):
    """A network that writes line ends alone: the blank line after the prompt is the end."""
    model = model_of(tokenizer)
    end = tokenizer.encode("\n")[0]
    model.weights["logits/bias"].assign(1e9 * np.eye(tokenizer.size)[end])
    generator = Generator(model, tokenizer)

    def written(prompt):
        [result] = generator.generate(prompt, length=5, until_speaker=True)
        [beam] = generator.generate(prompt, length=5, until_speaker=True, num_beams=2)
        assert beam.text == result.text
        return result.text, result.finish_reason

    assert written("SPEAKER 3:\nThis is") == ("", "stop")
    assert written("SPEAKER 3:\n") == ("", "stop")
    assert written("This is.\n\n") == ("\n" * 5, "length")


# Several networks


def test_an_ensemble_writes_what_it_scores(tokenizer):
    parts = [model_of(tokenizer, seed, num_layers=seed + 1) for seed in (0, 1)]
    alone = [dict(Generator(part, tokenizer).next_tokens("This", 99)) for part in parts]
    generator = Generator(Ensemble(parts, tnp), tokenizer)
    for piece, probability in generator.next_tokens("This", 99):
        assert probability == pytest.approx(np.mean([found[piece] for found in alone]), abs=1e-5)
    [result] = generator.generate("This", length=40, seed=1)
    scored = generator.score(result.text, start=generator.read("This"))
    np.testing.assert_allclose(result.log_probabilities, scored, atol=1e-4)


@pytest.mark.slow
def test_the_same_model_twice_writes_what_it_writes_alone(tokenizer):
    """Penalties divide logits: a mean of several models must have the scale of one."""
    model = model_of(tokenizer)
    once, twice = (Generator(m, tokenizer) for m in (model, Ensemble([model, model], tnp)))
    for options in ({"temperature": 0.0}, {"temperature": 0.7}):
        options["repetition_penalty"] = 1.3
        assert text_of(twice, length=80, **options) == text_of(once, length=80, **options)


# Rows, threads, weights


@pytest.mark.slow
def test_every_option_may_differ_from_row_to_row(generator):
    """Each request of a batch gives the text that it gives alone."""
    requests = [
        Request.of("This", length=60, seed=1),
        Request.of("", length=20, seed=2, temperature=0.0),
        Request.of("SPEAKER 3:\n", length=80, seed=3, top_k=3, repetition_penalty=1.5),
        Request.of("This is", length=40, seed=4, typical_p=0.5, num_samples=2),
        Request.of("This", length=50, seed=5, no_repeat_ngram=3, repeat_window=100, stop=("li",)),
        Request.of("This", length=30, seed=6, mirostat_tau=2.0),
        Request.of("This", length=12, num_beams=3, num_samples=2),
    ]
    found = generator.generate_batch(requests)
    for request, results in zip(requests, found, strict=True):
        [alone] = generator.generate_batch([request])
        assert [r.text for r in results] == [r.text for r in alone]
        assert [r.finish_reason for r in results] == [r.finish_reason for r in alone]


def test_more_texts_than_a_batch_holds(generator):
    results = generator.generate("This", num_samples=decoding.ROW_SIZES[-1] + 3, length=3, seed=1)
    assert len(results) == decoding.ROW_SIZES[-1] + 3
    assert len({result.text for result in results}) > 50
    few = generator.generate("This", num_samples=3, length=3, seed=1)
    assert [result.text for result in results[:3]] == [result.text for result in few]


def test_threads_share_a_generator(generator):
    """The last prompt was once kept in the generator."""
    jobs = [
        {"prompts": prompt, "seed": seed, "length": 50, **options}
        for prompt in ("This", "SPEAKER 3:\n")
        for seed in (1, 2)
        for options in ({}, EVERY_FILTER)
    ]
    expected = [generator.generate(**job)[0].text for job in jobs]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            found = list(pool.map(lambda job: generator.generate(**job)[0].text, jobs))
            assert found == expected


def test_a_weight_that_changes_counts_in_the_next_call(tokenizer):
    """Samples while training: stepping once used a snapshot of the weights."""
    model = model_of(tokenizer)
    generator = Generator(model, tokenizer)
    generator.generate("This", length=40)
    only = tokenizer.encode("x" if "x" in tokenizer.characters else "s")[0]
    model.weights["logits/bias"].assign(1e9 * np.eye(tokenizer.size)[only])
    [result] = generator.generate("This", length=40)
    assert set(result.text) == {tokenizer.decode([only])}


# Beams


def test_texts_that_differ_in_their_ending_alone_are_one(generator):
    stop = list(" ',\n.!?")
    found = generator.generate("This", num_beams=6, num_samples=6, length=5, stop=stop)
    assert len({result.text for result in found}) == len(found)


def test_penalties_count_for_beams(generator):
    [plain] = generator.generate("This", num_beams=3, length=40)
    [result] = generator.generate("This", num_beams=3, length=40, no_repeat_ngram=2)
    pairs = [a + b for a, b in itertools.pairwise("This" + result.text)]
    assert len(set(pairs)) == len(pairs)
    assert result.text != plain.text
    scored = generator.score(result.text, start=generator.read("This"))
    np.testing.assert_allclose(result.log_probabilities, scored, atol=1e-4)
    [lowered] = generator.generate("This", num_beams=3, length=40, presence_penalty=9.0)
    assert lowered.text != plain.text


def test_beams_are_likelier_than_greedy_and_stop(generator):
    def nats(**options):
        return generator.generate("This", length=12, temperature=0.0, **options)[0]

    beams = generator.generate("This", length=12, num_beams=8, num_samples=3)
    scores = [r.log_probabilities.sum() for r in beams]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] >= nats().log_probabilities.sum() - 1e-4
    scored = generator.score(beams[0].text, start=generator.read("This"))
    np.testing.assert_allclose(beams[0].log_probabilities, scored, atol=1e-4)
    stop = beams[0].text[5:7]
    ended = generator.generate("This", length=12, num_beams=8, stop=[stop])[0]
    assert stop not in ended.text
    with pytest.raises(UsageError, match="num_samples: expected at most `num_beams=2`"):
        generator.generate("This", num_samples=3, num_beams=2)
    with pytest.raises(UsageError, match="length: expected at least 0"):
        generator.generate("This", length=-1, num_beams=2)


# A trained run


def test_a_model_learns_abab_to_a_tenth_of_a_bit(abab_run):
    best = min(row["validation_loss_bits_per_character"] for row in abab_run.metrics())
    assert best < 0.1
    generator = generator_of(abab_run)
    assert generator.generate("ab", length=40, temperature=0.0)[0].text == "ab" * 20


def generator_of(run):
    model = checkpoints.load_model(run, checkpoints.read(run))
    return Generator(model, run.spec.tokenizer)


def test_an_unknown_prompt_character_is_refused_by_name(abab_run):
    with pytest.raises(UserError, match="'X' at 2"):
        generator_of(abab_run).generate("abX", length=4)


def test_an_unknown_option_is_refused_by_name(generator):
    with pytest.raises(UsageError, match="unknown option 'top_z'"):
        generator.generate("This", top_z=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples: expected at least 1"),
        ({"num_beams": 0}, "num_beams: expected at least 1"),
        ({"length": 3.5}, "length: expected a value of type int"),
        ({"length": -5}, "length: expected at least -1"),
        ({"length": -1}, "length: expected at least 0, received -1"),
        ({"length_penalty": float("nan")}, "length_penalty: expected a finite number"),
        ({"length_penalty": 2000.0}, "length_penalty: expected at most 10"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"unknown": "foo"}, "unknown: expected one of error, skip, nearest"),
    ],
)
def test_the_functions_keep_the_bounds_of_the_flags(generator, options, message):
    with pytest.raises(UsageError, match=message):
        generator.generate("This", **options)


def test_numbers_of_numpy_and_a_single_stop_string_are_taken(generator):
    text = text_of(generator, temperature=0.5, top_k=5)
    assert text_of(generator, temperature=np.float64(0.5), top_k=np.int64(5)) == text
    stop = text[10:13]
    assert text_of(generator, temperature=0.5, top_k=5, stop=stop) == text[: text.index(stop)]


def test_a_stream_is_one_text(generator):
    with pytest.raises(UsageError, match="num_samples: expected 1"):
        next(generator.stream("This", num_samples=2))
    with pytest.raises(UsageError, match="k: expected at least 1, received -1"):
        generator.next_tokens("This", k=-1)


def test_the_prompts_of_a_batch_share_one_copy_of_the_weights(tokenizer, monkeypatch):
    """Each prompt once laid out all weights again."""
    model = model_of(tokenizer)
    copies = []
    in_numpy = type(model).in_numpy
    monkeypatch.setattr(type(model), "in_numpy", lambda self: copies.append(1) or in_numpy(self))
    Generator(model, tokenizer).generate(["This", "is", "line"], length=2)
    assert len(copies) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.generate(5), "prompts: expected a string or a sequence of strings, received"),
        (lambda g: g.generate(b"ab"), "prompts: expected a string or a sequence of strings"),
        (lambda g: g.generate(["a", None]), "prompt: expected a string, received NoneType"),
        (lambda g: g.read(b"ab"), "prompt: expected a string, received bytes"),
        (lambda g: next(g.stream(3)), "prompt: expected a string, received int"),
        (lambda g: g.generate(start="a"), "start: expected a State, the result of `read`"),
    ],
)
def test_values_of_a_wrong_type_are_rejected_on_one_line(call, message):
    """They once raised TypeError or AttributeError from within."""
    generator = Generator(alphabet(), LETTERS)
    with pytest.raises(UsageError, match=f"^{message}"):
        call(generator)
