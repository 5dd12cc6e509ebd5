import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shakespeare_gen.data import token_store, tokenizers
from shakespeare_gen.data.corpora import Corpus
from shakespeare_gen.data.tokenizers import (
    ByteTokenizer,
    CharacterOptions,
    CharacterTokenizer,
    TableDecoder,
    Tokenizer,
    WordTokenizer,
    folding,
)
from shakespeare_gen.data.tokenizers.words import MAX_SIZE
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import OptionGroup, Options, option
from shakespeare_gen.runs.folder import MAX_SPEC_BYTES, RunFolder
from shakespeare_gen.system import storage


class PairOptions(OptionGroup):
    """The options of the toy tokenizer."""

    max_pairs: int = option(1000, "number of pairs to keep", minimum=0)


@dataclasses.dataclass(frozen=True)
class PairTokenizer(Tokenizer):
    """Several characters per token: known pairs of characters, and single characters."""

    NAME = "pairs"
    OPTIONS = PairOptions

    texts: tuple[str, ...]

    @classmethod
    def from_text(cls, text, options):
        pairs = dict.fromkeys(text[i : i + 2] for i in range(0, len(text) - 1, 2))
        return cls((*sorted(set(text)), *list(pairs)[: options.max_pairs]))

    @classmethod
    def from_json(cls, value):
        return cls(tuple(value["texts"]))

    def to_json(self):
        return {"texts": list(self.texts)}

    @property
    def size(self):
        return len(self.texts)

    @property
    def start_id(self):
        return 0

    def unknown_characters(self, text):
        return frozenset(text) - frozenset(self.texts)

    def encode(self, text):
        ids, position = [], 0
        while position < len(text):
            pair = text[position : position + 2]
            token = pair if pair in self.texts else pair[0]
            if token not in self.texts:
                raise UserError(f"expected known characters, received {token!r}")
            ids.append(self.texts.index(token))
            position += len(token)
        return np.array(ids, np.int32)

    def decoder(self):
        return TableDecoder(self.texts)


KINDS = (CharacterTokenizer, PairTokenizer, ByteTokenizer, WordTokenizer)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAME)
texts = st.text(min_size=1, max_size=200)


def built(kind, text="the quick brown fox\n", **options):
    return kind.from_text(text, kind.OPTIONS(**options))


# Properties of the contract.


@every_kind
@given(text=texts)
@settings(deadline=None)
def test_decode_inverts_encode(kind, text):
    tokenizer = built(kind, text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.max() < tokenizer.size
    assert tokenizer.decode(ids) == text


@every_kind
@given(data=st.data(), text=texts)
@settings(deadline=None)
def test_pieces_are_one_per_token_and_join_to_the_decoded_text(kind, data, text):
    """For any tokens: a model may generate bytes that are not UTF-8."""
    tokenizer = built(kind, text)
    ids = data.draw(st.lists(st.integers(0, tokenizer.size - 1), max_size=30))
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


@every_kind
@given(data=st.data(), text=texts)
@settings(deadline=None)
def test_a_decoder_gives_the_decoded_text_for_any_chunks(kind, data, text):
    tokenizer = built(kind, text)
    ids = data.draw(st.lists(st.integers(0, tokenizer.size - 1), max_size=30))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=5)))
    decoder, pieces = tokenizer.decoder(), []
    for begin, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
        fed = decoder.feed(ids[begin:end])
        assert len(fed) == end - begin
        pieces += fed
    assert "".join(pieces) + decoder.flush() == tokenizer.decode(ids)


@every_kind
def test_an_incomplete_character_is_shown_only_at_the_end(kind):
    tokenizer = built(kind, "né")
    ids = tokenizer.encode("né")
    decoder = tokenizer.decoder()
    assert "\ufffd" not in "".join(decoder.feed(ids[:-1]))
    assert "".join(decoder.feed(ids[-1:])) + decoder.flush() in ("né", "é")


@every_kind
@given(text=texts)
@settings(deadline=None)
def test_json_gives_an_equal_tokenizer_with_an_equal_hash(kind, text):
    tokenizer = built(kind, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tokenizers.TOKENIZERS, kind.NAME, kind)
        saved = json.loads(json.dumps(tokenizers.to_json(tokenizer)))
        assert saved["tokens"] == kind.NAME
        again = tokenizers.from_json(saved)
    assert again == tokenizer
    assert hash(again) == hash(tokenizer)


@every_kind
def test_special_ids_are_in_range(kind):
    tokenizer = built(kind)
    special = [tokenizer.start_id, *tokenizer.forbidden_ids]
    special += [i for i in (tokenizer.end_id, tokenizer.unknown_id) if i is not None]
    assert set(special) <= set(range(tokenizer.size))


@every_kind
@given(text=texts, other=texts, unknown=st.sampled_from(["skip", "nearest", "error"]))
@settings(deadline=None)
def test_encode_accepts_the_result_of_prepare(kind, text, other, unknown):
    tokenizer = built(kind, text)
    try:
        prepared = tokenizer.prepare(other, unknown)
    except UserError:
        assert unknown != "skip"
        assert tokenizer.unknown_characters(other)
    else:
        assert tokenizer.decode(tokenizer.encode(prepared)) == prepared


# The registry.


def test_a_registered_tokenizer_is_chosen_by_its_name(monkeypatch):
    message = "tokens: expected one of characters, bytes, words, received 'pairs'"
    with pytest.raises(UsageError, match=message):
        tokenizers.TokenOptions(tokens="pairs")
    monkeypatch.setitem(tokenizers.TOKENIZERS, "pairs", PairTokenizer)
    options = Options.parse(tokenizers.groups(), {"tokens": "pairs", "max_pairs": 1})
    assert tokenizers.from_text("abcd", options).texts == ("a", "b", "c", "d", "ab")


def test_options_choose_the_vocabulary_of_characters():
    options = Options.parse(tokenizers.groups(), {"min_count": 2, "unknown_id": True})
    assert tokenizers.from_text("abba c", options) == CharacterTokenizer("ab", True)


@pytest.mark.parametrize(
    "saved",
    [
        {"tokens": "syllables", "characters": "ab", "has_unknown_id": False},
        {"tokens": ["characters"], "characters": "ab", "has_unknown_id": False},
        {"characters": ["a"], "has_unknown_id": False},
        {"characters": "ab", "has_unknown_id": 1},
        {"characters": "ab"},
        {"characters": "ab", "has_unknown_id": False, "more": 1},
        {"characters": "ba", "has_unknown_id": False},
        {"characters": "", "has_unknown_id": False},
        {"characters": "a\ud800", "has_unknown_id": False},
        {"tokens": "bytes"},
        {"tokens": "bytes", "has_end": 1},
        {"tokens": "bytes", "has_end": False, "texts": []},
        {"tokens": "words", "has_end": False},
        {"tokens": "words", "has_end": False, "texts": "ab"},
        {"tokens": "words", "has_end": False, "texts": ["ab", 1]},
        {"tokens": "words", "has_end": False, "texts": ["ab", "ab"]},
        {"tokens": "words", "has_end": False, "texts": [""]},
        {"tokens": "words", "has_end": False, "texts": ["a"]},
        {"tokens": "words", "has_end": False, "texts": ["a\ud800"]},
        {"tokens": "words", "has_end": False, "texts": ["é" * 33]},
        {"tokens": "words", "has_end": False, "texts": [f"w{i}" for i in range(2**16 - 255)]},
    ],
)
def test_an_edited_tokenizer_is_rejected(saved):
    with pytest.raises(UserError, match="expected"):
        tokenizers.from_json(saved)


def test_a_tokenizer_saved_without_its_kind_is_a_character_tokenizer():
    """Run folders of format 1 contain only the characters."""
    saved = {"characters": "ab", "has_unknown_id": False}
    assert tokenizers.from_json(saved) == CharacterTokenizer("ab")


# Characters.


@given(texts, texts)
@settings(deadline=None)
def test_the_unknown_id_represents_all_other_characters(text, other):
    tokenizer = built(CharacterTokenizer, text, unknown_id=True)
    ids = tokenizer.encode(other)
    assert len(ids) == len(other)
    expected = [c if c in text else "\N{REPLACEMENT CHARACTER}" for c in other]
    assert tokenizer.decode(ids) == "".join(expected)
    assert tokenizer.forbidden_ids == (tokenizer.unknown_id,)


@given(texts, st.integers(1, 5))
@settings(deadline=None)
def test_rare_characters_are_left_out_of_the_vocabulary(text, min_count):
    kept = {c for c in text if text.count(c) >= min_count}
    if not kept:
        with pytest.raises(UserError, match="^min_count: expected at most"):
            built(CharacterTokenizer, text, min_count=min_count)
        return
    tokenizer = built(CharacterTokenizer, text, min_count=min_count)
    assert tokenizer.size == len(kept)
    assert tokenizer.prepare(text, "skip") == "".join(c for c in text if c in kept)


def test_ids_follow_the_order_of_code_points():
    assert built(CharacterTokenizer, "banana").encode("abn").tolist() == [0, 1, 2]


def test_start_and_end_ids_are_line_end_and_end_of_text():
    tokenizer = built(CharacterTokenizer, "one\n\x03two\n")
    assert tokenizer.decode([tokenizer.start_id, tokenizer.end_id]) == "\n\x03"
    assert built(CharacterTokenizer, "no line end").end_id is None
    assert built(CharacterTokenizer, "no line end").start_id == 0


def test_long_texts_are_encoded_and_counted_in_chunks():
    text = "ab" * 700_000 + "é"
    tokenizer = built(CharacterTokenizer, text)
    ids = tokenizer.encode(text)
    assert ids[[0, 1, 1_048_576, 1_399_999, 1_400_000]].tolist() == [0, 1, 0, 1, 2]
    assert built(CharacterTokenizer, text, min_count=700_000).characters == "ab"
    with pytest.raises(UserError, match="received 'é' at 1400000"):
        CharacterTokenizer("ab").encode(text)


# Bytes and words.

WITHOUT_LOSS = pytest.mark.parametrize("kind", [ByteTokenizer, WordTokenizer])


@WITHOUT_LOSS
@given(text=texts, other=st.text())
@settings(deadline=None)
def test_every_text_can_be_encoded_with_the_vocabulary_of_another(kind, text, other):
    tokenizer = built(kind, text)
    assert tokenizer.decode(tokenizer.encode(other)) == other
    assert not tokenizer.unknown_characters(other)
    assert tokenizer.prepare(other) == other
    assert not {*tokenizer.forbidden_ids} & {*tokenizer.encode(other).tolist()}


@WITHOUT_LOSS
@given(data=st.data(), text=texts)
@settings(deadline=None)
def test_invalid_sequences_are_decoded_like_bytes(kind, data, text):
    tokenizer = built(kind, text)
    ids = data.draw(st.lists(st.integers(0, tokenizer.size - 1), max_size=30))
    data = b"".join(
        bytes([i]) if i < 256 else tokenizer.texts[i - 256].encode("utf-8") for i in ids
    )
    assert tokenizer.decode(ids) == data.decode("utf-8", "replace")
    assert "".join(tokenizer.pieces(ids)) == data.decode("utf-8", "replace")


@WITHOUT_LOSS
def test_a_surrogate_cannot_be_encoded(kind):
    tokenizer = built(kind)
    with pytest.raises(UserError, match=r"received '\\udcff' at 1$"):
        tokenizer.encode("a\udcff")
    assert tokenizer.prepare("a\udcffb", "skip") == "ab"


@WITHOUT_LOSS
def test_the_end_of_a_document_is_a_token_if_the_training_text_has_documents(kind):
    tokenizer = built(kind, "one\x03two \x03 one \x03")
    ids = tokenizer.encode("one \x03")
    assert ids[-1] == tokenizer.end_id
    assert built(kind, "one two").end_id is None


def test_the_bytes_of_a_character_have_labels():
    tokenizer = built(ByteTokenizer)
    assert [tokenizer.label(int(i)) for i in tokenizer.encode("né")] == ["n", r"\xc3", r"\xa9"]
    assert built(WordTokenizer, "to be, to be").label(256) == " be"
    assert CharacterTokenizer("né").label(1) == "é"


def pieces_of(text, training_text=None, **options):
    tokenizer = built(WordTokenizer, 2 * f"{training_text or text}\n", **options)
    return tokenizer.pieces(tokenizer.encode(text))


def test_spaces_belong_to_the_following_word():
    text = "O Romeo, 'tis  12 o'clock\n\nat_last?!\n"
    expected = ["O", " Romeo", ",", " '", "tis", "  ", "12", " o", "'clock", "\n", "\n"]
    assert pieces_of(text) == [*expected, "at", "_", "last", "?", "!", "\n"]


def test_words_of_every_script_are_kept():
    """Vowel signs and accents are no letters to `re`."""
    text = "Привет мир हिन्दी में cafe\u0301 l’eau"
    expected = ["Привет", " мир", " हिन्दी", " में", " cafe\u0301", " l", "’eau"]
    assert pieces_of(text) == expected


def test_rare_words_are_spelled_in_characters_and_rare_characters_in_bytes():
    training = "the the cafés the café ☃ "
    assert pieces_of("the thé☃", training, min_word_count=5) == list("the thé☃")
    tokenizer = built(WordTokenizer, training, min_count=2)
    assert tokenizer.pieces(tokenizer.encode(" the é☃")) == [" the", " ", "é", "", "", "☃"]


def test_the_most_frequent_words_are_kept():
    text = "é" + " a" + 3 * " to" + 2 * " be" + " or"
    tokenizer = built(WordTokenizer, text, min_word_count=1, vocabulary_size=259)
    assert tokenizer.texts == ("é", " to", " be")
    assert built(WordTokenizer, text, vocabulary_size=256).size == 256


def test_a_long_text_is_encoded_in_chunks_like_a_short_one():
    line = "To be, or not to be: that is the question.\n"
    tokenizer = built(WordTokenizer, 2 * line)
    ids = tokenizer.encode(7000 * line)  # several chunks
    np.testing.assert_array_equal(ids, np.tile(tokenizer.encode(line), 7000))
    assert built(WordTokenizer, 7000 * line).texts == tokenizer.texts


def test_the_largest_tokenizer_can_be_read_again(tmp_path):
    """Everything that is read from a run folder is bounded."""
    letters = [chr(0x20000 + i) for i in range(300)]
    words = (a + b + 14 * "𠀀" for a in letters for b in letters)
    largest = WordTokenizer(False, tuple(itertools.islice(words, MAX_SIZE - 256)))
    folder = RunFolder(tmp_path)
    value = storage.sealed(tokenizers.to_json(largest))
    storage.write(folder.tokenizer_path, storage.to_json(value))
    saved = storage.read_sealed(folder.tokenizer_path, MAX_SPEC_BYTES, lambda _: None)
    assert tokenizers.from_json(saved) == largest


# Prompts with unknown characters.


def test_unknown_characters_are_named_with_their_positions():
    tokenizer = CharacterTokenizer(" abc")
    message = r"prompt: .*'é' at 1, 3; 'x' at 4; try `unknown=nearest` or `unknown=skip`"
    with pytest.raises(UserError, match=message):
        tokenizer.prepare("aébéx")
    with pytest.raises(UserError, match=r"^stop: .* received 'x' at 0, 1, 2, …; try"):
        tokenizer.prepare("xxxxx", name="stop")
    with pytest.raises(UserError, match=r"'m' at 9; and 13 others"):
        tokenizer.prepare("defghijklmnopqrstuvwxyz")


def test_by_default_unknown_characters_become_the_unknown_id():
    tokenizer = CharacterTokenizer("abcde", has_unknown_id=True)
    prepared = {u: tokenizer.prepare("aéxb☃", u) for u in ("error", "skip", "nearest")}
    assert prepared == {"error": "aéxb☃", "skip": "ab", "nearest": "aexb☃"}
    assert tokenizer.encode(prepared["nearest"])[2] == tokenizer.unknown_id


def test_nearest_replaces_characters_and_reports_the_others():
    tokenizer = CharacterTokenizer.from_text("Don't eat- fi.", CharacterOptions())
    assert tokenizer.prepare("Don’t éat– ﬁ…", "nearest") == "Don't eat- fi..."
    with pytest.raises(UserError, match="'漢' at 2; try `unknown=skip`"):
        tokenizer.prepare("eé漢", "nearest")


def test_a_surrogate_is_an_unknown_character():
    """A command-line argument that is not UTF-8 contains surrogates."""
    with pytest.raises(UserError, match=r"'\\udcff' at 1"):
        CharacterTokenizer("ab").prepare("a\udcff")


@given(st.characters())
@settings(deadline=None)
def test_the_nearest_text_is_ascii(character):
    assert folding.nearest(character).isascii()


# The token store.


def test_left_out_characters_are_counted(caplog):
    corpus = Corpus("x", "aabb", "abc", "")
    stored = token_store.tokenize(corpus, built(CharacterTokenizer, corpus.train))
    assert stored["validation"].ids.tolist() == [0, 1]
    assert stored["validation"].text == "ab"
    expected = "1 of 3 validation characters are outside the vocabulary and left out: 'c'"
    assert expected in caplog.text


def test_the_unknown_id_keeps_the_positions_of_unknown_characters(caplog):
    corpus = Corpus("x", "aabb", "abc", "")
    stored = token_store.tokenize(corpus, CharacterTokenizer("ab", has_unknown_id=True))
    assert stored["validation"].ids.tolist() == [0, 1, 2]
    assert stored["validation"].text == "abc"
    assert not caplog.text


@every_kind
def test_tokens_characters_and_bytes_are_counted(kind):
    corpus = Corpus("x", "né né\n", "né\n", "")
    tokenizer = built(kind, corpus.train)
    stored = token_store.tokenize(corpus, tokenizer)
    text = stored["train"]
    assert (text.num_chars, text.num_bytes, text.num_tokens) == (6, 8, len(text.ids))
    # The smallest type, because it is kept in memory.
    assert text.ids.dtype == (np.uint8 if tokenizer.size <= 256 else np.uint16)
    assert stored["test"].num_tokens == stored["test"].num_chars == 0
    assert text.num_tokens == {"characters": 6, "pairs": 3, "bytes": 8, "words": 6}[kind.NAME]
