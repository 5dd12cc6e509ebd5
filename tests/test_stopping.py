"""Endings: complete first, never leaked, whatever the chunks and the tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shakespeare_gen.generation import stopping
from tests.fake_models import FakeTokenizer, HexTokenizer

SINGLE = FakeTokenizer(("\n", "a", "b"))
PAIRS = FakeTokenizer(("\n", "a", "b", "ab", "ba", "aa", "b\n", "\na"))
TOKENIZERS = {"characters": SINGLE, "pairs": PAIRS, "halves of characters": HexTokenizer()}
STRINGS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


def fed(stopper, ids, size):
    """Pieces and log-probabilities 0, 1, 2... of ids fed in chunks."""
    nats = np.arange(len(ids), dtype=np.float32)
    parts = [stopper.feed(ids[i : i + size], nats[i : i + size]) for i in range(0, len(ids), size)]
    pieces = [piece for part in parts for piece in part.pieces]
    return pieces, np.concatenate([np.zeros(0), *(part.nats for part in parts)])


def plain_end(text, strings, until_line, until_speaker, prompt):
    """The slow way: the shortest prefix that ends in an ending -> (size, finish_reason)."""
    ends = [
        (n, n - len(string))
        for n in range(len(text) + 1)
        for string in strings
        if text[:n].endswith(string)
    ]
    if until_line:
        lines = [n for n in range(1, len(text) + 1) if text[n - 1] == "\n" and text[:n].strip("\n")]
        ends += [(n, n - 1) for n in lines]
    if until_speaker:  # the last speech of the prompt goes on
        speech = prompt[prompt.rfind("\n\n") + 2 :] if "\n\n" in prompt else prompt
        for n in range(1, len(text) + 1):
            if (speech + text[:n]).lstrip("\n").endswith("\n\n"):
                ends.append((n, max(n - 2, 0)))
    return (min(ends)[1], "stop") if ends else (len(text), "length")


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@given(
    st.text("ab\n", max_size=40),
    STRINGS,
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
    st.text("ab\n", max_size=6),
)
@settings(deadline=None, max_examples=200)
def test_an_ending_never_leaks_whatever_the_chunks_and_the_tokens(
    tokenizer, text, strings, size, until_line, until_speaker, prompt
):
    """A stop string may begin and end inside a token, and a character takes several tokens."""
    ids = tokenizer.encode(text)
    every = stopping.endings(strings, until_line, until_speaker)
    stopper = stopping.Stopper(every, tokenizer, len(ids), tokenizer.encode(prompt).tolist())
    pieces, nats = fed(stopper, ids, size)
    num_chars, reason = plain_end(text, strings, until_line, until_speaker, prompt)
    assert "".join(pieces) == text[:num_chars]
    assert stopper.finish_reason == reason
    # Every token that begins before the end contributes.
    begins = np.cumsum([0, *map(len, tokenizer.pieces(ids))])[:-1]
    np.testing.assert_array_equal(nats, np.arange(np.count_nonzero(begins < num_chars)))
    assert len(pieces) == len(nats)


@given(st.text("abé", max_size=20), st.integers(0, 41), st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_a_length_that_cuts_a_character_leaves_it_out(text, length, size):
    tokenizer = HexTokenizer()
    ids = tokenizer.encode(text)[:length]
    stopper = stopping.Stopper([], tokenizer, len(ids))
    pieces, nats = fed(stopper, ids, size)
    assert "".join(pieces) == text[: len(ids) // 2]
    assert len(pieces) == len(nats) == len(ids) // 2 * 2


def test_the_end_of_a_document_is_a_token_and_not_part_of_the_text():
    tokenizer = FakeTokenizer(("a", "b", "<end>"), end="<end>")
    stopper = stopping.Stopper(stopping.endings(["bb", "ba"]), tokenizer)
    part = stopper.feed(np.array([0, 1, 2, 0], np.int32), np.arange(4, dtype=np.float32))
    assert (part.pieces, part.finish_reason) == (["a", "b"], "end")
    assert part.nats.tolist() == [0, 1]
    assert stopper.num_left == 0
    assert stopper.feed(np.array([0], np.int32), np.zeros(1, np.float32)).pieces == []


def test_a_stop_string_before_the_end_of_the_document_comes_first():
    tokenizer = FakeTokenizer(("a", "b", "<end>"), end="<end>")
    stopper = stopping.Stopper(stopping.endings(["b"]), tokenizer)
    part = stopper.feed(np.array([0, 1, 2], np.int32), np.zeros(3, np.float32))
    assert (part.pieces, part.finish_reason) == (["a"], "stop")


def test_what_may_be_a_stop_string_is_held_back():
    stopper = stopping.Stopper(stopping.endings(["abb"]), PAIRS, length=10)
    pieces = [
        stopper.feed(PAIRS.encode(text), np.zeros(len(PAIRS.encode(text)), np.float32)).text
        for text in ("b\n", "ab", "a", "ab", "b")
    ]
    assert pieces == ["b\n", "", "ab", "a", ""]
    assert stopper.finish_reason == "stop"
