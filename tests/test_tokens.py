"""Bytes and words from end to end: losses per character, and generation of any text."""

import itertools
import math

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.data.tokenizers import ByteTokenizer, WordOptions, WordTokenizer
from shakespeare_gen.evaluation import breakdown, kneser_ney, ngrams, scores
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.evaluation.scores import TextSize
from shakespeare_gen.generation import Generator
from shakespeare_gen.options import Options
from shakespeare_gen.runs import loading
from shakespeare_gen.writing import Session, groups
from tests.fake_models import MarkovChain

RUSSIAN = "РОМЕО:\nПогоди, кто там? Это {}-й день.\n\nROMEO:\nWho is there? Day {}.\n\n"
TEXT = "".join(RUSSIAN.format(i, i % 9) for i in range(120))
TOKENIZERS = {
    "bytes": ByteTokenizer(),
    "words": WordTokenizer.from_text(TEXT, WordOptions(min_word_count=20)),
}
every_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


def reciting(text, tokenizer):
    """A generator that continues each token with the one that follows it first in a text."""
    ids = tokenizer.encode(text)
    logits = np.zeros((tokenizer.size, tokenizer.size), np.float32)
    for before, after in reversed(list(itertools.pairwise(ids))):
        logits[before] = np.where(np.arange(tokenizer.size) == after, 50, 0)
    return Generator(MarkovChain(logits), tokenizer)


# Losses per character.


@every_tokenizer
def test_a_uniform_model_needs_log_v_per_token(tokenizer):
    text = TokenizedText.of("РОМЕО: who?\n", tokenizer, "error", "text")
    model = MarkovChain(np.zeros((tokenizer.size, tokenizer.size)))
    log_p = Generator(model, tokenizer).score(text.text)
    expected = text.num_tokens * math.log(tokenizer.size)
    assert -log_p.sum() == pytest.approx(expected, rel=1e-6)
    score = scores.score(scores.Tally(-log_p), TextSize.of([text]))
    assert score.nats == pytest.approx(expected / 12, rel=1e-6)
    found = score.to_json()
    assert found["characters"] == 12
    assert found["bits_per_byte"] == pytest.approx(expected / math.log(2) / 17, rel=1e-6)


def test_the_loss_of_a_character_is_the_sum_over_its_bytes():
    """Only the first byte of "é" was the most likely one, so "é" was not predicted."""
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode("né")
    candidates = np.array([[ids[0]], [ids[1]], [0]], np.int32)
    reading = Reading(ids, np.array([1, 2, 4], np.float32), candidates, np.zeros((3, 1)))
    pieces = tokenizer.pieces(ids)
    assert breakdown.by_character(reading.nats, pieces).tolist() == [1, 6]
    [row] = breakdown.by_class(reading, pieces)
    assert (row["nats_per_character"], row["top_1_accuracy"]) == (3.5, 0.5)


def test_the_loss_of_a_word_is_spread_over_its_characters():
    pieces = ["To", " be", "", "", "☃"]
    losses = breakdown.by_character(np.array([2, 3, 1, 1, 2.0]), pieces)
    assert losses.tolist() == [1, 1, 1, 1, 1, 4]


@every_tokenizer
def test_the_n_gram_baseline_is_per_character(tokenizer):
    train, held_out = (
        TokenizedText.of(text, tokenizer, "error", "text") for text in (TEXT[:-900], TEXT[-900:])
    )
    found = kneser_ney.baseline(train, held_out, tokenizer)
    max_context = 6 if tokenizer.size > 256 else math.ceil(6 * train.num_bytes / train.num_chars)
    model = ngrams.NGrams(train.ids, tokenizer.size, tokenizer.start_id, max_context)
    nats = model.frozen(held_out.ids)
    assert found.nats == pytest.approx(nats.sum(1).min() / 900, rel=1e-9)
    assert found.order == nats.sum(1).argmin() + 1


# Generation.


@every_tokenizer
@pytest.mark.parametrize("stop", ["то т", "там? Э", "\n\n"])
def test_a_stop_string_may_cross_tokens(tokenizer, stop):
    """For instance in the middle of a word, whose token has several characters."""
    text = TEXT[:60]
    generator = reciting(text, tokenizer)
    [result] = generator.generate("Р", length=80, stop=stop, temperature=0)
    whole = generator.generate("Р", length=80, temperature=0)[0].text
    if stop in whole:
        assert (result.text, result.finish_reason) == (whole[: whole.index(stop)], "stop")
    else:
        assert result.text == whole
    assert "".join(generator.stream("Р", length=80, stop=stop, temperature=0)) == result.text
    [beam] = generator.generate("Р", length=80, stop=stop, num_beams=3)
    assert stop not in beam.text


def test_a_stream_has_whole_characters():
    tokenizer = ByteTokenizer()
    generator = reciting("☃ю", tokenizer)
    for length in range(1, 5):
        pieces = list(generator.stream("", length=length, temperature=0))
        assert "\ufffd" not in "".join(pieces)
    [result] = generator.generate("☃", length=1, temperature=0)
    assert (result.text, result.finish_reason, len(result.log_probabilities)) == ("", "length", 0)
    [beam] = generator.generate("☃", length=1, num_beams=2)
    assert (beam.text, beam.finish_reason) == ("", "length")
    assert generator.next_tokens("☃", k=1)[0][0] == r"\xd1"


@every_tokenizer
def test_a_prompt_may_end_within_a_word(tokenizer):
    """The rest of the word can be spelled: its letters have a probability."""
    generator = reciting(TEXT, tokenizer)
    state = generator.read("ROM")
    assert np.isfinite(generator.score("EO:", start=state)).all()
    assert generator.generate(start=state, length=3)[0].text


@every_tokenizer
def test_no_probability_is_lost_to_tokens_that_are_forbidden(tokenizer):
    """Only bytes that no text contains are never generated."""
    every = "".join(
        map(chr, [*range(0x800), *range(0x800, 0xD800, 97), *range(0xE000, 0x110000, 997)])
    )
    used = {*tokenizer.encode(every).tolist(), *range(256, tokenizer.size)}
    assert used.isdisjoint(tokenizer.forbidden_ids)


# From training to a session.


@pytest.mark.slow
@pytest.mark.parametrize("tokens", TOKENIZERS)
def test_a_run_trains_resumes_evaluates_and_generates(tokens, tmp_path):
    options = {
        "tokens": tokens,
        "units": 32,
        "embedding_size": 16,
        "window_chars": 16,
        "batch_size": 8,
        "learning_rate": 0.003,
        "warmup_steps": 5,
        "schedule": "constant",
        "sample_chars": 20,
    }
    options |= {"min_word_count": 20} if tokens == "words" else {}
    run_dir = tmp_path / "run"
    shakespeare_gen.train_model(text=TEXT, run_dir=run_dir, epochs=1, **options)
    run = shakespeare_gen.train_model(text=TEXT, run_dir=run_dir, resume=True, epochs=2)
    whole = shakespeare_gen.train_model(text=TEXT, run_dir=tmp_path / "whole", epochs=2, **options)
    losses = losses_of(run)
    assert losses == losses_of(whole)
    assert losses[1] < losses[0] < math.log(run.spec.tokenizer.size)
    figures = shakespeare_gen.evaluate_run(
        run_dir, text=TEXT, sample_chars=160, adapt=True, mix=True
    )
    frozen = figures["scores"][0]["splits"]["validation"]
    assert frozen["nats_per_character"] == pytest.approx(losses[1], abs=1e-4)
    assert figures["texts"]["validation"]["left_out_or_replaced"] == 0
    check_generation(run_dir, tmp_path / "whole")


def losses_of(run):
    return [row["validation_loss"] for row in run.metrics() if "validation_loss" in row]


def check_generation(*run_dirs):
    """Both engines agree, an ensemble works, and a text in another script can be read."""
    texts = []
    for engine in ("numpy", "tensorflow"):
        generator = loading.load_generator(run_dirs[0], engine=engine)
        asked = {"length": 120, "seed": 3, "top_k": 20, "top_p": 0.95, "no_repeat_ngram": 8}
        [result] = generator.generate("РОМ", **asked)
        assert "".join(result.pieces) == result.text
        assert "".join(generator.stream("РОМ", **asked)) == result.text
        texts.append(result.text)
    assert texts[0] == texts[1]
    generator = loading.load_generator(list(run_dirs))
    assert np.isfinite(generator.score("日本語 ☃ और मैं")).all()
    session = Session(generator, Options.parse(groups(), {"length": 20, "until_line": True}))
    session.add_line("日本語: wh")
    assert "".join(session.generate()) == session.passages[-1].text
    score = session.score()
    assert score.num_characters == len(session.text)
