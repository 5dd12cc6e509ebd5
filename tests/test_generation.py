import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shakespeare_gen import checkpoints, generation
from shakespeare_gen.errors import UserError
from shakespeare_gen.generation import Stopper
from shakespeare_gen.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def generator(small_text):
    import keras

    from shakespeare_gen import model

    keras.utils.set_random_seed(0)
    vocabulary = Vocabulary.from_text(small_text, unknown_id=True)
    return generation.Generator(model.build(vocabulary.size, units=12), vocabulary)


def text_of(generator, prompt="This", **options):
    return generator.generate(prompt, **{"length": 50, "seed": 3, **options})[0].text


def test_one_seed_gives_one_text_whatever_the_chunks(generator, monkeypatch):
    text = text_of(generator)
    monkeypatch.setattr(generation, "STREAM_CHUNK_CHARS", 7)
    monkeypatch.setattr(generation, "READ_CHUNK_CHARS", 2)
    assert text_of(generator) == text
    assert text_of(generator, seed=4) != text


def test_a_long_prompt_is_read_in_chunks_to_the_same_end(generator, small_text, monkeypatch):
    generator.read(small_text[:700])
    whole = np.asarray(generator.logits)
    monkeypatch.setattr(generation, "READ_CHUNK_CHARS", 700)
    generator.read(small_text[:700])
    np.testing.assert_allclose(generator.logits, whole, atol=1e-5)


def test_temperature_zero_follows_the_argmax(generator):
    text = text_of(generator, length=5, temperature=0.0)
    for i in range(5):
        generator.read("This" + text[:i])
        logits = np.asarray(generator.logits)[0][:-1]
        assert text[i] == generator.vocabulary.decode([int(np.argmax(logits))])


def test_samples_differ_and_the_unknown_id_never_comes(generator):
    results = generator.generate("This", num_samples=4, length=200, seed=0, temperature=5.0)
    assert len({r.text for r in results}) == 4
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(r.text for r in results)
    assert all(len(r.text) == 200 and r.finish_reason == "length" for r in results)


def test_stop_ends_before_the_stop_string(generator):
    text = text_of(generator, length=200)
    stop = text[60:63]
    result = generator.generate("This", length=200, seed=3, stop=[stop, "never here"])[0]
    assert result.text == text[: text.index(stop)]
    assert result.finish_reason == "stop"


def test_an_empty_prompt_reads_a_line_end(generator):
    assert text_of(generator, prompt="") == text_of(generator, prompt="\n")


@given(
    st.text("abc", max_size=40),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    st.integers(1, 7),
)
def test_a_stop_string_never_leaks_whatever_the_chunks(text, stop, size):
    """The expected end is found the slow way: the shortest prefix that ends in a stop string."""
    stopper = Stopper(stop)
    pieces = [stopper.feed(text[i : i + size]) for i in range(0, len(text), size)]
    found = "".join(pieces) + stopper.flush()
    ends = [(n, n - len(s)) for n in range(len(text) + 1) for s in stop if text[:n].endswith(s)]
    assert found == (text[: min(ends)[1]] if ends else text)
    assert stopper.stopped == bool(ends)


def test_a_model_learns_abab_to_a_tenth_of_a_bit(abab_run):
    best = min(row["validation_loss_bits_per_character"] for row in abab_run.metrics())
    assert best < 0.1
    network = checkpoints.load_network(abab_run, checkpoints.read(abab_run))
    generator = generation.Generator(network, abab_run.read_vocabulary())
    assert generator.generate("ab", length=40, temperature=0.0)[0].text == "ab" * 20


def test_an_unknown_prompt_character_is_refused_by_name(abab_run):
    network = checkpoints.load_network(abab_run, checkpoints.read(abab_run))
    generator = generation.Generator(network, abab_run.read_vocabulary())
    with pytest.raises(UserError, match="'X' at 2"):
        generator.generate("abX", length=4)
