"""Batches that change: a row is what it is alone, whatever joins and leaves beside it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from shakespeare_gen import models
from shakespeare_gen.data.tokenizers import CharacterTokenizer
from shakespeare_gen.generation import Generator, Request, texts
from shakespeare_gen.generation.decoding import Decoder
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec

TOKENIZER = CharacterTokenizer("\n abcdefghijklmnopqrstuvwxyz")
OPTIONS = (
    {},
    {"top_k": 5},
    {"mirostat_tau": 2.0},
    {"no_repeat_ngram": 3, "repeat_window": 200},
    {"frequency_penalty": 0.5, "presence_penalty": 0.2},
    {"temperature": 0.0},
    {"repetition_penalty": 1.3, "repeat_window": 5},
    {"typical_p": 0.8},
)
LENGTHS = (90, 33, 64, 120, 17, 48, 75, 100)


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(0)
    model = models.build(RecurrentSpec(TOKENIZER.size, RecurrentOptions(units=10)))
    model.weights["logits/kernel"].assign(model.weights["logits/kernel"] * 6)
    return Generator(model, TOKENIZER)


@pytest.fixture(scope="module")
def plain(compiled):
    weights = {name: weight.numpy() for name, weight in compiled.model.weights.items()}
    return Generator(models.from_arrays(compiled.model.spec, weights), TOKENIZER)


def begin(generator, number, **options):
    """A text to draw."""
    prompt = "abc abd"[: number + 1]
    request = Request.of(prompt, length=LENGTHS[number], seed=number, **options)
    return texts.begin(request, generator.read(prompt), TOKENIZER)[0]


def draw_all(decoders, every, num_tokens):
    """Draws texts that join one after the other, with the decoders in turn."""
    found = [""] * len(every)
    batch, places, waiting = decoders[0].new_batch(), [], list(range(len(every)))
    step = 0
    while places or waiting:
        decoder = decoders[step * len(decoders) // 12 % len(decoders)]
        decoder.adopt(batch)
        kept = [i for i, number in enumerate(places) if every[number].stopper.num_left]
        joining = [waiting.pop(0)] if waiting and len(kept) < 4 else []
        batch.change(kept, [texts.row(every[number], decoder) for number in joining])
        places = [*(places[i] for i in kept), *joining]
        if places:
            ids, nats = decoder.draw(batch, num_tokens)
            for number, *drawn in zip(places, ids, nats, strict=True):
                found[number] += every[number].stopper.feed(*drawn).text
        step += 1
    return found


@pytest.mark.parametrize("num_tokens", [1, 16])
def test_a_row_does_not_depend_on_who_joins_and_leaves(plain, num_tokens):
    every = [begin(plain, i, **options) for i, options in enumerate(OPTIONS)]
    decoder = Decoder(plain.model, ())
    alone = [
        plain.generate("abc abd"[: i + 1], length=LENGTHS[i], seed=i, **options)[0].text
        for i, options in enumerate(OPTIONS)
    ]
    assert draw_all([decoder], every, num_tokens) == alone


@pytest.mark.slow
def test_compiled_rows_join_and_leave_too(compiled, plain):
    """In compiled rows, and in a batch that moves between NumPy and compiled programs."""
    fast, slow = Decoder(compiled.model, (), (1, 4)), Decoder(plain.model, ())
    alone = [
        plain.generate("abc abd"[: i + 1], length=LENGTHS[i], seed=i, **options)[0].text
        for i, options in enumerate(OPTIONS)
    ]
    for decoders in ([fast], [slow, fast], [fast, slow]):
        every = [begin(compiled, i, **options) for i, options in enumerate(OPTIONS)]
        assert draw_all(decoders, every, 16) == alone


def test_a_bias_forbids_and_forces(plain):
    [x] = TOKENIZER.encode("x").tolist()
    decoder = Decoder(plain.model, TOKENIZER.encode("a").tolist())
    assert decoder.bias([(x, 2.0)])[x] == 2
    assert decoder.bias()[TOKENIZER.encode("a")[0]] == -np.inf
    request = Request.of("abc", length=9, seed=0)
    for value, expected in ((100.0, True), (-100.0, False)):
        biased = Request("abc", request.generation, request.sampling, logit_bias=((x, value),))
        [[result]] = plain.generate_batch([biased])
        assert (result.text == "x" * 9) == expected
        assert ("x" in result.text) == expected


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "min_lstm"])
def test_products_in_bfloat16_are_close_to_those_in_float32(cell):
    """A bfloat16 has 8 significant bits; the error of a sum is that of a few of its products."""
    keras.utils.set_random_seed(0)
    options = RecurrentOptions(units=64, num_layers=2, cell=cell)
    model = models.build(RecurrentSpec(TOKENIZER.size, options))
    for whole in (model, Ensemble([model, model], tnp)):
        exact, narrow = [], []
        for form, found in ((whole, exact), (whole.in_bfloat16(), narrow)):
            step = tf.function(form.step_function, jit_compile=True, autograph=False)
            weights, state = form.step_weights(), form.initial_state(8)
            for number in range(30):
                logits, state = step(weights, tf.range(number % 3, number % 3 + 8), state)
                found.append(logits.numpy())
        scale = np.abs(exact).max()
        assert 1e-5 * scale < np.abs(np.subtract(exact, narrow)).max() < 0.02 * scale


@pytest.mark.slow
def test_with_bfloat16_a_text_alone_is_that_of_float32(compiled):
    decoder = Decoder(compiled.model, (), (1, 8), "bfloat16")
    [alone] = draw_all([decoder], [begin(compiled, 0)], 16)
    assert alone == compiled.generate("a", length=LENGTHS[0], seed=0)[0].text
    together = draw_all([decoder], [begin(compiled, i) for i in range(4)], 16)
    assert [len(text) for text in together] == list(LENGTHS[:4])
