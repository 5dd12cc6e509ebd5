"""Beam search against the definition, over a Markov chain."""

import itertools

import numpy as np
import pytest

from shakespeare_gen.generation import Generator, beam_search
from tests.fake_models import FakeTokenizer, MarkovChain

START = np.log([0.5, 0.3, 0.2])
CHAIN = np.log(np.array([[0.34, 0.33, 0.33], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]]))


def never_ends(ids):
    return str(ids), None


def ends_at_0(ids):
    return (str(ids[:-1]), "stop") if ids[-1] == 0 else (str(ids), None)


def chain_search(width, length, penalty=1.0, describe=never_ends, start=START, chain=CHAIN):
    def step(ids, state, parents):
        return (chain[ids], chain[ids]), state

    return beam_search.search(
        step, (start[None], start[None]), [], width, length, describe, penalty
    )


def chain_nats(text, start=START, chain=CHAIN):
    return [start[text[0]], *(chain[a, b] for a, b in itertools.pairwise(text))]


@pytest.mark.parametrize("penalty", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("describe", [never_ends, ends_at_0])
def test_beams_wide_enough_find_the_best_of_all_texts(penalty, describe):
    """Every text of a chain of three letters, including those that end early."""
    length, every = 5, set()
    for text in itertools.product(range(3), repeat=length):
        ends = [n for n in range(1, length + 1) if describe(text[:n])[1]]
        every.add(text[: min(ends, default=length)])
    expected = sorted(every, key=lambda t: sum(chain_nats(t)) / len(t) ** penalty, reverse=True)
    found = chain_search(3**length, length, penalty, describe)
    assert len(found) == len(every)
    for beam, text in zip(found, expected, strict=True):
        score = sum(chain_nats(text)) / len(text) ** penalty
        assert beam.score(penalty) == pytest.approx(score)
        assert beam.finish_reason == describe(beam.ids)[1]


def plain_beams(width, length, penalty):
    """The definition, with lists; texts end at 0."""
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

    def describe(ids):
        return (str(ids[:-1]), "stop") if ids[-1] < 2 else (str(ids), None)

    best = chain_search(2, 10, 1.0, describe, start, chain)[0]
    assert best.ids == (2,) * 10


@pytest.mark.parametrize("num_ended", [0, 1, 40, 97])
def test_the_most_likely_go_on_however_many_end(num_ended):
    """Of 100 continuations, with ties, the most likely `num_ended` end; the next 3 go on."""
    log_p = np.round(np.random.default_rng(0).normal(-9, 3, (1, 100)), 0)
    order = np.argsort(-log_p[0], kind="stable")
    ended = set(order[:num_ended].tolist())
    read = []

    def describe(ids):
        return str(ids), "stop" if len(ids) == 1 and ids[0] in ended else None

    def step(ids, state, parents):
        read.append((ids.tolist(), parents.tolist()))
        return (np.zeros((len(ids), 100)), np.zeros((len(ids), 100))), state

    # A length penalty of 10 favors long texts: the search goes on, whatever has ended.
    beam_search.search(step, (log_p, log_p), None, 3, 2, describe, 10.0)
    assert read == [(order[num_ended : num_ended + 3].tolist(), [0, 0, 0])]


def test_one_text_of_two_tokenizations_is_one_result():
    """ "ab" is one token or two; the likelier way counts."""
    tokenizer = FakeTokenizer(("a", "b", "ab", "<end>"), end="<end>")
    nothing = -50.0
    chain = np.full((4, 4), nothing)
    chain[0, [1, 2]] = np.log([0.4, 0.6])  # after "a", the prompt: "b" or "ab"
    chain[1, [0, 3]] = np.log([0.9, 0.1])
    chain[2, 3] = 0.0
    generator = Generator(MarkovChain(chain), tokenizer)
    results = generator.generate("a", length=4, num_beams=4, num_samples=4, length_penalty=0.0)
    texts = [result.text for result in results]
    assert len(set(texts)) == len(texts)
    assert (results[0].text, results[0].finish_reason) == ("ab", "end")
    assert results[0].pieces == ("ab",)
    np.testing.assert_allclose(results[0].log_probabilities, [np.log(0.6)], atol=1e-5)


def test_a_stop_string_inside_a_token_cuts_the_token():
    tokenizer = FakeTokenizer(("a", "xy"))
    chain = np.log([[1e-9, 1 - 1e-9], [1 - 1e-9, 1e-9]])
    [result] = Generator(MarkovChain(chain), tokenizer).generate(
        "a", length=4, num_beams=2, stop=["ya"]
    )
    assert (result.text, result.finish_reason, result.pieces) == ("x", "stop", ("x",))
    assert result.log_probabilities.shape == (1,)
