"""The engine: one seed one text, rows that don't know of each other, endings that never leak."""

import itertools
import string

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from shakespeare_gen import generation
from shakespeare_gen.data.tokenizers.characters import Vocabulary
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.generation import beam_search, decoding, sampling, stopping
from shakespeare_gen.models import recurrent
from shakespeare_gen.runs import checkpoints

EVERY_FILTER = {
    "top_k": 12,
    "top_p": 0.95,
    "min_p": 0.01,
    "typical_p": 0.95,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "no_repeat_ngram": 5,
}


def network_of(vocabulary, seed=0, **options):
    keras.utils.set_random_seed(seed)
    network = recurrent.build(vocabulary.size, units=12, **options)
    logits = network.get_layer("logits")
    logits.kernel.assign(logits.kernel * 6)  # so that not all characters are equally likely
    return network


@pytest.fixture(scope="module")
def vocabulary(small_text):
    return Vocabulary.from_text(small_text, unknown_id=True)


@pytest.fixture(scope="module")
def generator(vocabulary):
    return generation.Generator([network_of(vocabulary)], vocabulary)


def text_of(generator, prompt="This", **options):
    return generator.generate(prompt, **{"length": 50, "seed": 3, **options})[0].text


# Determinism


@pytest.mark.parametrize("options", [{}, EVERY_FILTER, {"mirostat_tau": 3.0}])
def test_one_seed_gives_one_text_whatever_the_chunks(generator, monkeypatch, options):
    text = text_of(generator, length=300, **options)
    assert "".join(generator.stream("This", length=300, seed=3, **options)) == text
    monkeypatch.setattr(decoding, "FIRST_CHUNK_CHARS", 7)
    monkeypatch.setattr("shakespeare_gen.generation.generator.READ_CHUNK_CHARS", 2)
    assert text_of(generator, length=300, **options) == text
    assert text_of(generator, length=300, seed=4, **options) != text


@pytest.mark.parametrize("options", [{}, EVERY_FILTER, {"temperature": 0.0}, {"mirostat_tau": 3.0}])
def test_a_text_is_the_same_whatever_batch_it_shares(generator, options):
    prompts = ["This", "", "SPEAKER 3:\nThis is"]
    batch = generator.generate(prompts, num_samples=3, length=60, seed=5, **options)
    assert len(batch) == 9
    for i, prompt in enumerate(prompts):
        alone = generator.generate(prompt, num_samples=3, length=60, seed=5, **options)
        assert [r.text for r in batch[3 * i : 3 * i + 3]] == [r.text for r in alone]
        assert generator.generate(prompt, length=60, seed=5, **options)[0].text == alone[0].text


def test_the_first_sample_is_what_one_sample_is(generator):
    one = text_of(generator)
    assert generator.generate("This", num_samples=2, length=50, seed=3)[0].text == one


def test_temperature_zero_follows_the_argmax(generator):
    text = text_of(generator, length=5, temperature=0.0)
    for i in range(5):
        generator.read("This" + text[:i])
        logits = np.asarray(generator.state.logits)[0][:-1]
        assert text[i] == generator.vocabulary.decode([int(np.argmax(logits))])


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn", "min_gru", "min_lstm"])
def test_every_cell_writes_what_it_scores(vocabulary, cell):
    """The compiled steps and the whole sequence agree on every log-probability."""
    network = network_of(vocabulary, cell=cell, num_layers=2, residual=True)
    generator = generation.Generator([network], vocabulary)
    [result] = generator.generate("This", length=80, seed=1)
    scored = generator.score(result.text, start=generator.read("This"))
    np.testing.assert_allclose(result.log_probabilities, scored, atol=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "min_gru"])
def test_a_network_that_is_trained_in_bfloat16_writes(vocabulary, cell):
    """Samples while training: the state comes in bfloat16, the weights in float32."""
    network = network_of(vocabulary, cell=cell, num_layers=2, precision="bfloat16")
    generator = generation.Generator([network], vocabulary)
    [result] = generator.generate("This", length=80, seed=1)
    scored = generator.score(result.text, start=generator.read("This"))
    np.testing.assert_allclose(result.log_probabilities, scored, atol=0.2)


def test_uniform_logits_give_uniform_frequencies(vocabulary):
    """Chi-square over the characters; the bound has a false-alarm rate of 0.001 and the seed
    is fixed."""
    network = network_of(vocabulary)
    network.get_layer("logits").kernel.assign(network.get_layer("logits").kernel * 0)
    generator = generation.Generator([network], vocabulary)
    results = generator.generate("", num_samples=8, length=2000, seed=0, temperature=1.0)
    ids = vocabulary.encode("".join(r.text for r in results))
    num_kinds = vocabulary.size - 1  # without the unknown id
    expected = len(ids) / num_kinds
    counts = np.bincount(ids, minlength=vocabulary.size)
    chi_square = np.sum((counts - expected) ** 2 / expected * (counts > 0))
    degrees = num_kinds - 1
    # Wilson and Hilferty's approximation of the quantile at 0.999.
    bound = degrees * (1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)) ** 0.5) ** 3
    assert chi_square < bound
    assert np.count_nonzero(counts) == num_kinds


class Alphabet:
    """A fake network: after each letter surely the next one, after z a again."""

    weights: tuple = ()
    size = 26

    def initial_state(self, batch_size):
        return [tf.zeros((batch_size, 1))]

    def step(self, weights, ids, state):
        return 50 * tf.one_hot((ids + 1) % self.size, self.size), [state[0] + 1]

    def read(self, ids, state):
        return 50 * tf.one_hot((ids + 1) % self.size, self.size), [state[0] + ids.shape[1]]


@pytest.mark.parametrize("options", [{}, EVERY_FILTER, {"mirostat_tau": 1.0}, {"num_beams": 3}])
def test_the_alphabet_is_recited(options, monkeypatch):
    vocabulary = Vocabulary(string.ascii_lowercase)
    monkeypatch.setattr("shakespeare_gen.generation.generator.Reader", lambda networks: Alphabet())
    generator = generation.Generator([], vocabulary)
    options = {**options, "repeat_window": 8}  # nothing repeats within it
    [result] = generator.generate("xyz", length=60, **options)
    assert result.text == (string.ascii_lowercase * 3)[:60]
    np.testing.assert_allclose(result.log_probabilities, 0, atol=1e-6)
    assert generator.state.tensors[0].numpy() == [[3]]


# Samples, scores, state


def test_samples_differ_and_the_unknown_id_never_comes(generator):
    results = generator.generate("This", num_samples=4, length=200, seed=0, temperature=5.0)
    assert len({r.text for r in results}) == 4
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(r.text for r in results)


def test_a_score_is_the_sum_of_what_was_likely(generator):
    nats = generator.score("This is", start=generator.read("\n"))
    expected = []
    for i, character in enumerate("This is"):
        generator.read("\n" + "This is"[:i])
        log_p = np.log(np.exp(generator.state.logits) / np.exp(generator.state.logits).sum())
        expected.append(log_p[0, generator.vocabulary.encode(character)[0]])
    np.testing.assert_allclose(nats, expected, atol=1e-5)
    np.testing.assert_allclose(generator.score("This is"), nats, atol=1e-6)
    assert generator.score("").shape == (0,)


def test_next_characters_are_the_likeliest_first(generator):
    found = generator.next_characters("This", k=3)
    probabilities = [p for _, p in found]
    assert probabilities == sorted(probabilities, reverse=True)
    everything = generator.next_characters("This", k=1000)
    assert len(everything) == generator.vocabulary.size
    assert sum(p for _, p in everything) == pytest.approx(1, abs=1e-5)
    assert everything[:3] == found


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
    monkeypatch.setattr("shakespeare_gen.generation.generator.READ_CHUNK_CHARS", 700)
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
    assert len(text) > 3 * decoding.CHUNK_CHARS
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


@given(
    st.text("ab\n", max_size=40),
    st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3),
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
    st.text("ab\n", max_size=6),
)
@settings(deadline=None, max_examples=300)
def test_an_ending_never_leaks_whatever_the_chunks(
    text, stop, size, until_line, until_speaker, prompt
):
    """The expected end is found the slow way: the shortest prefix that ends in an ending."""
    vocabulary = Vocabulary("\nab")
    every = stopping.endings(stop, until_line, until_speaker)
    stopper = stopping.Stopper(every, vocabulary, prompt)
    ids, nats = vocabulary.encode(text), np.arange(len(text), dtype=np.float32)
    pieces = [
        stopper.feed(ids[i : i + size], nats[i : i + size]) for i in range(0, len(text), size)
    ]
    pieces.append(stopper.flush())
    ends = [
        (n, n - len(e.string), e.finish_reason)
        for n in range(len(text) + 1)
        for e in every
        if text[:n].endswith(e.string) and not e.after_text
    ]
    if until_line:
        lines = [n for n in range(1, len(text) + 1) if text[n - 1] == "\n" and text[:n].strip("\n")]
        ends += [(n, n - 1, "stop") for n in lines]
    if until_speaker:  # the prompt's last speech goes on
        speech = prompt[prompt.rfind("\n\n") + 2 :] if "\n\n" in prompt else prompt
        for n in range(1, len(text) + 1):
            whole = (speech + text[:n]).lstrip("\n")
            if whole.endswith("\n\n"):
                ends.append((n, max(n - 2, 0), "stop"))
    _, expected, reason = min(ends, default=(0, len(text), None))
    assert "".join(piece for piece, _, _ in pieces) == text[:expected]
    np.testing.assert_array_equal(np.concatenate([n for _, n, _ in pieces]), nats[:expected])
    assert stopper.finish_reason == reason


def test_a_document_ends_the_text(small_text):
    """A network that writes nothing but the end of a document."""
    vocabulary = Vocabulary.from_text(small_text + "\x03")
    network = network_of(vocabulary)
    end = vocabulary.encode("\x03")[0]
    network.get_layer("logits").bias.assign(1e9 * np.eye(vocabulary.size)[end])
    [result] = generation.Generator([network], vocabulary).generate("This")
    assert (result.text, result.finish_reason) == ("", "end")


def test_until_line_and_until_speaker_end_a_line_and_a_speech(generator):
    text = text_of(generator, length=2000, seed=8)
    line = text.lstrip("\n").split("\n")[0]
    [result] = generator.generate("This", length=2000, seed=8, until_line=True)
    assert result.text.strip("\n") == line
    [speech] = generator.generate("This", length=2000, seed=8, until_speaker=True)
    assert text.startswith(speech.text)
    assert "\n\n" not in speech.text.strip("\n")


def test_until_speaker_ends_the_prompt_s_speech(vocabulary):
    """A network that writes line ends alone: the blank line after the prompt is the end."""
    network = network_of(vocabulary)
    end = vocabulary.encode("\n")[0]
    network.get_layer("logits").bias.assign(1e9 * np.eye(vocabulary.size)[end])
    generator = generation.Generator([network], vocabulary)

    def written(prompt):
        [result] = generator.generate(prompt, length=5, until_speaker=True)
        [beam] = generator.generate(prompt, length=5, until_speaker=True, num_beams=2)
        assert beam.text == result.text
        return result.text, result.finish_reason

    assert written("SPEAKER 3:\nThis is") == ("", "stop")
    assert written("SPEAKER 3:\n") == ("", "stop")
    assert written("This is.\n\n") == ("\n" * 5, "length")


# Several networks


def test_the_same_network_twice_is_that_network(vocabulary):
    """Penalties divide logits: a mean of several must have the scale of one."""
    network = network_of(vocabulary)
    once, twice = (generation.Generator([network] * n, vocabulary) for n in (1, 2))
    for options in ({"temperature": 0.0}, {"temperature": 0.7}):
        options["repetition_penalty"] = 1.3
        assert text_of(twice, length=80, **options) == text_of(once, length=80, **options)


def test_an_ensemble_averages_probabilities(vocabulary):
    networks = [network_of(vocabulary, seed, num_layers=seed + 1) for seed in (0, 1)]
    alone = [generation.Generator([n], vocabulary).next_characters("This", 99) for n in networks]
    both = dict(generation.Generator(networks, vocabulary).next_characters("This", 99))
    for character, probability in both.items():
        mean = np.mean([dict(found)[character] for found in alone])
        assert probability == pytest.approx(mean, abs=1e-5)
    generator = generation.Generator(networks, vocabulary)
    [result] = generator.generate("This", length=40, seed=1)
    scored = generator.score(result.text, start=generator.read("This"))
    np.testing.assert_allclose(result.log_probabilities, scored, atol=1e-4)


# Beams


START = np.log([0.5, 0.3, 0.2])
CHAIN = np.log(np.array([[0.34, 0.33, 0.33], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]]))


def chain_search(width, length, penalty=1.0, find_end=lambda ids: None, start=START, chain=CHAIN):
    """Beam search over a Markov chain."""

    def step(ids, state, parents):
        return (chain[ids], chain[ids]), state

    return beam_search.search(
        step, (start[None], start[None]), [], width, length, find_end, penalty
    )


def chain_nats(text, start=START, chain=CHAIN):
    return [start[text[0]], *(chain[a, b] for a, b in itertools.pairwise(text))]


def ends_at_0(ids):
    return (len(ids) - 1, "stop") if ids[-1] == 0 else None


@pytest.mark.parametrize("penalty", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("find_end", [lambda ids: None, ends_at_0])
def test_beams_wide_enough_find_the_best_of_all_texts(penalty, find_end):
    """Every text of a chain of three letters, those that end early among them."""
    length, every = 5, set()
    for text in itertools.product(range(3), repeat=length):
        ends = [n for n in range(1, length + 1) if find_end(text[:n])]
        every.add(text[: min(ends, default=length)])
    expected = sorted(every, key=lambda t: sum(chain_nats(t)) / len(t) ** penalty, reverse=True)
    found = chain_search(3**length, length, penalty, find_end)
    assert len(found) == len(every)
    for beam, text in zip(found, expected, strict=True):
        score = sum(chain_nats(text)) / len(text) ** penalty
        assert beam.score(penalty) == pytest.approx(score)
        assert beam.finish_reason == ("stop" if find_end(beam.ids) else "length")


def plain_beams(width, length, penalty):
    """With texts that end at 0: the definition, with lists."""
    alive, ended = [()], []
    for _ in range(length):
        every = [(*text, i) for text in alive for i in range(3)]
        every.sort(key=lambda t: sum(chain_nats(t)), reverse=True)
        going = [t for t in every if t[-1] != 0][:width]
        worst = sum(chain_nats(going[-1]))
        ended += [t for t in every if t[-1] == 0 and sum(chain_nats(t)) > worst]
        alive = going
    every = sorted(
        ended + alive, key=lambda t: sum(chain_nats(t)) / len(t) ** penalty, reverse=True
    )
    return every[:width]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_narrow_beams_are_the_plain_version(width, penalty):
    found = chain_search(width, 7, penalty, ends_at_0)
    assert [beam.ids for beam in found] == plain_beams(width, 7, penalty)


def test_texts_that_end_at_once_do_not_crowd_out_the_best():
    """Two likely ends once filled both beams, and a text ten times as good was never seen."""
    start = np.log([0.4, 0.35, 0.25])
    chain = np.log([[1 / 3] * 3, [1 / 3] * 3, [1e-9, 1e-9, 1 - 2e-9]])

    def ends(ids):
        return (len(ids) - 1, "stop") if ids[-1] < 2 else None

    best = chain_search(2, 10, 1.0, ends, start, chain)[0]
    assert best.ids == (2,) * 10


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
    with pytest.raises(UsageError, match="--num_samples: expected at most --num_beams=2"):
        generator.generate("This", num_samples=3, num_beams=2)
    with pytest.raises(UsageError, match="--length: expected at least 0"):
        generator.generate("This", length=-1, num_beams=2)


# A trained run


def test_a_model_learns_abab_to_a_tenth_of_a_bit(abab_run):
    best = min(row["validation_loss_bits_per_character"] for row in abab_run.metrics())
    assert best < 0.1
    generator = generator_of(abab_run)
    assert generator.generate("ab", length=40, temperature=0.0)[0].text == "ab" * 20


def generator_of(run):
    network = checkpoints.load_network(run, checkpoints.read(run))
    return generation.Generator([network], run.read_vocabulary())


def test_an_unknown_prompt_character_is_refused_by_name(abab_run):
    with pytest.raises(UserError, match="'X' at 2"):
        generator_of(abab_run).generate("abX", length=4)


def test_an_unknown_sampling_option_is_an_error(generator):
    with pytest.raises(TypeError, match="top_z"):
        generator.generate("This", top_z=1)
    assert set(sampling.NEUTRAL) >= set(EVERY_FILTER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "--num_samples: expected at least 1"),
        ({"num_beams": 0}, "--num_beams: expected at least 1"),
        ({"length": 3.5}, "--length: expected a value of type int"),
        ({"length": -5}, "--length: expected at least -1"),
        ({"length": -1}, "--length: expected at least 0, received -1"),
        ({"length_penalty": float("nan")}, "--length_penalty: expected a finite number"),
        ({"length_penalty": 2000.0}, "--length_penalty: expected at most 10"),
        ({"seed": -1}, "--seed: expected at least 0"),
        ({"unknown": "foo"}, "--unknown: expected one of error, skip, nearest"),
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
    with pytest.raises(UsageError, match="--num_samples: expected 1"):
        next(generator.stream("This", num_samples=2))
    with pytest.raises(UsageError, match="k: expected at least 1, received -1"):
        generator.next_characters("This", k=-1)


def test_a_score_leaves_the_state_alone(generator):
    state = generator.read("This")
    generator.score("is")
    assert generator.state is state
