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


def test_a_prompt_may_end_within_a_word():
    """The letters of "ROM" are never followed by "EO" in the tokens of a training text."""
    generator = reciting("\nROMEO, is there?", TOKENIZERS["words"])
    for known in range(5):
        [result] = generator.generate("ROMEO"[:known], length=4, temperature=0)
        assert result.text == "ROMEO"[known:] + ", is there"
        assert "".join(result.pieces) == result.text
        assert len(result.pieces) == len(result.log_probabilities) == 4
        assert "".join(generator.stream("ROMEO"[:known], length=4, temperature=0)) == result.text
        [beam] = generator.generate("ROMEO"[:known], length=4, num_beams=2)
        assert (beam.text, "".join(beam.pieces)) == (result.text, result.text)


@every_tokenizer
def test_the_rest_of_any_word_has_a_probability(tokenizer):
    generator = reciting(TEXT, tokenizer)
    assert np.isfinite(generator.score("EO:", start=generator.read("ROM"))).all()


WORDS = WordTokenizer(False, (" lord", " love", " to", "lo"))


def log_p_of(**probabilities):
    """Logits [V] of tokens by text, where _ is a space."""
    logits = np.full(WORDS.size, -50, np.float32)
    for text, p in probabilities.items():
        [token] = WORDS.encode(text.replace("_", " "))
        logits[token] = math.log(p)
    return logits


def test_an_unfinished_word_continues_as_a_token_or_letter_by_letter():
    """After "To", " lord" has 0.3, " love" 0.1, and the letters of " lo" together 0.2 of 0.6."""
    logits = np.tile(log_p_of(x=1), (WORDS.size, 1))
    logits[ord("o")] = log_p_of(_lord=0.3, _love=0.1, _to=0.2, **{"_": 0.4, "n": 1e-9})
    logits[ord(" ")] = log_p_of(l=1)
    logits[ord("l")] = log_p_of(o=0.5, x=0.5)
    generator = Generator(MarkovChain(logits), WORDS)
    assert WORDS.unfinished("To lo") == " lo"
    assert WORDS.unfinished("To to") == WORDS.unfinished("To\n") == WORDS.unfinished("") == ""
    found = generator.generate("To lo", length=1, num_samples=4000, temperature=1, seed=5)
    # After the letters, the last one is "o" again: it goes on with one of four tokens.
    share = {text: sum(r.text == text for r in found) / 4000 for text in ("rd", "ve", " lord")}
    # Standard errors are below 0.008.
    assert share["rd"] == pytest.approx(0.3 / 0.6, abs=0.04)
    assert share["ve"] == pytest.approx(0.1 / 0.6, abs=0.04)
    assert share[" lord"] == pytest.approx(0.2 / 0.6 * 0.3, abs=0.04)


def test_scores_after_an_unfinished_word_are_the_frequencies_of_what_is_written():
    """As above; and " to" is a token that " together" begins with."""
    logits = np.tile(log_p_of(x=1), (WORDS.size, 1))
    logits[ord("o")] = log_p_of(_lord=0.3, _love=0.1, _to=0.2, **{"_": 0.4})
    logits[ord(" ")] = log_p_of(l=1)
    logits[ord("l")] = log_p_of(o=0.5, x=0.5)
    generator = Generator(MarkovChain(logits), WORDS)
    state = generator.read("To lo")
    found = dict(generator.next_tokens("To lo", 6))
    expected = {
        "rd": 0.5,
        "ve": 1 / 6,
        " ": 0.4 / 3,
        " lord": 0.1,
        " to": 0.2 / 3,
        " love": 0.1 / 3,
    }
    assert found == pytest.approx(expected, abs=1e-5)
    assert list(found) == sorted(found, key=found.get, reverse=True)
    assert list(generator.next_tokens("To lo", 2)) == list(found.items())[:2]
    score = generator.score
    assert np.exp(score("rd", start=state)) == pytest.approx([0.5], abs=1e-5)
    assert np.exp(score(" lord", start=state)) == pytest.approx([0.1], abs=1e-5)
    assert np.exp(score("ve lord", start=state)[0]) == pytest.approx(1 / 6, abs=1e-5)
    assert len(score("", start=state)) == 0
    # " to" may be the word or the beginning of " together".
    words = WordTokenizer(False, (" to", " together"))
    logits = np.full((words.size, words.size), -50, np.float32)
    logits[ord("n"), [256, 257, ord("x")]] = np.log([0.2, 0.2, 0.6])
    logits[256, [ord("!"), ord("o")]] = np.log([0.9, 0.1])
    generator = Generator(MarkovChain(logits), words)
    state = generator.read("n to")
    assert dict(generator.next_tokens("n to", 3)) == pytest.approx(
        {"gether": 0.5, "!": 0.45, "o": 0.05}, abs=1e-5
    )
    for text, probability in (("gether", 0.5), ("!", 0.45), ("o", 0.05)):
        assert np.exp(generator.score(text, start=state)) == pytest.approx([probability], abs=1e-5)


def test_a_state_after_an_unfinished_word_can_be_continued_and_read_on():
    generator = reciting("\nROMEO, is there?", TOKENIZERS["words"])
    state = generator.read("ROM")
    assert generator.generate(start=state, length=1, temperature=0)[0].text == "EO"
    on = generator.read("!", start=state)
    assert on.recent.tolist() == [list(b"ROM!")]
    assert on.unfinished is None
    session = Session(generator, Options.parse(groups(), {"length": 2, "temperature": 0.0}))
    session.add("ROM")
    assert "".join(session.generate()) == "EO,"


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
        result, *others = generator.generate("РОМ", num_samples=6, **asked)
        assert "".join(result.pieces) == result.text
        assert len({other.text for other in others}) > 1
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
