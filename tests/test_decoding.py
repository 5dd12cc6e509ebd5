"""Programs: few whatever is asked for, shared by equal models, equal for equal shapes."""

import concurrent.futures
import gc
import os
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shakespeare_gen import models
from shakespeare_gen.data.tokenizers import CharacterTokenizer
from shakespeare_gen.generation import Generator, Request, decoding, programs
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec
from tests.conftest import REPOSITORY

TOKENIZER = CharacterTokenizer("\n abcdefghijklmnopqrstuvwxyz")


def generator_of(seed=0, units=10):
    keras.utils.set_random_seed(seed)
    model = models.build(RecurrentSpec(TOKENIZER.size, RecurrentOptions(units=units)))
    model.weights["logits/kernel"].assign(model.weights["logits/kernel"] * 6)
    return Generator(model, TOKENIZER)


@pytest.fixture(scope="module")
def generator():
    return generator_of()


@given(st.integers(0, 2000))
def test_batches_hold_all_rows_and_little_padding(num_rows):
    batches = list(decoding.batches(range(num_rows)))
    assert [row for batch in batches for row in batch] == list(range(num_rows))
    for batch in batches:
        padded = min(size for size in decoding.ROW_SIZES if size >= len(batch))
        assert 2 * len(batch) > padded


def random_request(rng, num_samples):
    """Options that all differ, of the program with every transform."""
    return Request.of(
        "abc"[: rng.integers(0, 4)],
        num_samples=num_samples,
        length=int(rng.integers(17, 40)),
        seed=int(rng.integers(0, 1000)),
        temperature=rng.uniform(0, 2),
        top_k=rng.integers(1, 30),
        top_p=rng.uniform(0.1, 1),
        typical_p=rng.uniform(0.1, 1),
        repetition_penalty=rng.uniform(0.5, 2),
        presence_penalty=rng.uniform(-1, 1),
        no_repeat_ngram=rng.integers(0, 4),
        repeat_window=rng.integers(4, 65),
    )


def test_no_value_of_an_option_compiles_anything(generator):
    """60 values of `repeat_window` and 310 of `num_samples` once compiled a program each."""
    rng = np.random.default_rng(0)
    sizes = range(1, 5)
    for size in (1, 4):
        generator.generate_batch([random_request(rng, size)])
        generator.generate("a", num_beams=size, length=2)
    before = programs.num_built()
    for size in sizes:
        generator.generate_batch([random_request(rng, 1) for _ in range(size)])
        generator.generate_batch([random_request(rng, size)])
        generator.generate("a", num_beams=size, length=int(size), length_penalty=size / 4)
    assert programs.num_built() == before


def megabytes():
    """Memory of this process; what XLA compiles is never freed."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_number_of_tokens_compiles_anything(generator):
    """XLA compiled anew for each value of a number that a slice began at, unseen by Python."""
    options = {"top_k": 5, "repetition_penalty": 1.2, "num_samples": 3}
    generator.generate("a", length=300, **options)
    before = megabytes()
    for length in range(17, 57):
        generator.generate("a", length=length, **options)
    assert megabytes() < before + 20


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(((0, 3), (2, 3), (3, 3), (1, 2)), id="4"),
        pytest.param(((0, 15), (9, 15), (15, 15), (3, 8)), id="16", marks=pytest.mark.slow),
    ],
)
def test_a_row_is_the_same_to_the_last_bit_whatever_stands_beside_it(generator, places):
    """In batches of one padded size, with one program, other rows do not matter."""
    rng = np.random.default_rng(1)
    others = [random_request(rng, 1) for _ in range(15)]
    mine = random_request(rng, 1)
    found = []
    for place, count in places:
        batch = [*others[:place], mine, *others[place:count]]
        [result] = generator.generate_batch(batch)[place]
        found.append(result)
    for result in found[1:]:
        assert result.text == found[0].text
        np.testing.assert_array_equal(result.log_probabilities, found[0].log_probabilities)


def test_equal_models_share_programs_and_a_program_keeps_no_model():
    first, second = generator_of(0), generator_of(1)
    options = {"length": 40, "seed": 1, "top_k": 5, "num_samples": 3}
    text = first.generate("abc" * 40, **options)[0].text
    first.generate("a", length=3, num_beams=2)
    before = programs.num_built()
    assert second.generate("abc" * 40, **options)[0].text != text
    second.generate("a", length=3, num_beams=2)
    assert programs.num_built() == before
    dropped = weakref.ref(second.model)
    del second
    gc.collect()
    assert dropped() is None


def test_threads_compile_a_program_once():
    generator = generator_of(units=11)
    before = programs.num_built()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(generator.generate, "a", length=40, seed=1) for _ in range(16)]
        texts = {job.result()[0].text for job in jobs}
    assert len(texts) == 1
    assert programs.num_built() == before + 1


MEMORY = """
import sys
import numpy as np
from tests.test_decoding import generator_of, megabytes, random_request

generator, rng, found = generator_of(), np.random.default_rng(0), []
for i in range(90):
    if i % 30 == 0:
        found.append(megabytes())
    generator.generate_batch([random_request(rng, 1) for _ in range(rng.integers(1, 20))])
    generator.generate("ab", num_samples=rng.integers(1, 80), length=rng.integers(1, 30))
    generator.generate("a", num_beams=rng.integers(1, 20), length=rng.integers(1, 5))
    "".join(generator.stream("b" * i, length=int(rng.integers(1, 100)), temperature=i / 100 + 0.1))
print(*map(round, [*found, megabytes()]))
sys.exit(megabytes() > found[1] + 20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_whatever_is_asked_for():
    """310 values of `num_samples` once took 1.2 GB. After 30 rounds everything is compiled."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=REPOSITORY, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, (done.stdout, done.stderr[-2000:])
