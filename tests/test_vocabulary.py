import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shakespeare_gen.data.tokenizers.characters import Vocabulary, nearest, prepare_text
from shakespeare_gen.errors import UserError

texts = st.text(min_size=1, max_size=200)


@given(texts)
def test_decode_of_encode_is_the_text(text):
    vocabulary = Vocabulary.from_text(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.size == len(set(text))


@given(texts, texts)
def test_the_unknown_id_takes_every_other_character(text, other):
    vocabulary = Vocabulary.from_text(text, unknown_id=True)
    ids = vocabulary.encode(other)
    assert len(ids) == len(other)
    expected = [c if c in text else "\N{REPLACEMENT CHARACTER}" for c in other]
    assert vocabulary.decode(ids) == "".join(expected)


@given(texts, st.integers(1, 5))
def test_encode_known_leaves_pruned_characters_out(text, min_count):
    kept = {c for c in text if text.count(c) >= min_count}
    if not kept:
        with pytest.raises(UserError, match="--min_count"):
            Vocabulary.from_text(text, min_count)
        return
    vocabulary = Vocabulary.from_text(text, min_count)
    ids = vocabulary.encode_known(text)
    assert vocabulary.decode(ids) == "".join(c for c in text if c in kept)


def test_json_gives_the_vocabulary_back():
    vocabulary = Vocabulary.from_text("böse Ümlaute\n", unknown_id=True)
    assert Vocabulary(**vocabulary.to_json()) == vocabulary


def test_ids_follow_the_order_of_code_points():
    assert Vocabulary.from_text("banana").encode("abn").tolist() == [0, 1, 2]
    assert Vocabulary.from_text("banana").encode("abn").dtype == np.int32


def test_a_prompt_with_unknown_characters_names_them_and_their_places():
    vocabulary = Vocabulary.from_text("abc ")
    with pytest.raises(UserError, match=r"'é' at 1, 3; 'x' at 4; try --unknown=nearest"):
        prepare_text("aébéx", vocabulary)


def test_an_unknown_id_is_read_where_nothing_else_was_asked_for():
    vocabulary = Vocabulary.from_text("abcde", unknown_id=True)
    prepared = {p: prepare_text("aéxb☃", vocabulary, p) for p in ("error", "skip", "nearest")}
    assert prepared == {"error": "aéxb☃", "skip": "ab", "nearest": "aexb☃"}
    assert vocabulary.encode(prepared["nearest"])[2] == vocabulary.unknown_id


def test_skip_leaves_unknown_characters_out():
    assert prepare_text("aébéx", Vocabulary.from_text("abc"), "skip") == "ab"


def test_nearest_folds_what_it_can_and_names_the_rest():
    vocabulary = Vocabulary.from_text("Don't eat- fi…".replace("…", "."))
    assert prepare_text("Don’t éat– ﬁ…", vocabulary, "nearest") == "Don't eat- fi..."
    with pytest.raises(UserError, match="'漢' at 2"):
        prepare_text("eé漢", vocabulary, "nearest")


@given(st.characters())
def test_nearest_is_ascii(character):
    assert nearest(character).isascii()


def test_a_vocabulary_file_that_was_tampered_with_is_refused():
    with pytest.raises(UserError, match="sorted unique"):
        Vocabulary("ba")
