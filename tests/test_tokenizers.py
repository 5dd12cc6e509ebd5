import codecs
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shakespeare_gen.data import token_store, tokenizers
from shakespeare_gen.data.corpora import Corpus
from shakespeare_gen.data.tokenizers import (
    CharacterOptions,
    CharacterTokenizer,
    Decoder,
    TableDecoder,
    Tokenizer,
    folding,
)
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import OptionGroup, Options, option


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


@dataclasses.dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
    """Several tokens per character: the bytes of UTF-8."""

    NAME = "toy-bytes"
    OPTIONS = PairOptions

    @classmethod
    def from_text(cls, text, options):
        return cls()

    @classmethod
    def from_json(cls, value):
        return cls()

    def to_json(self):
        return {}

    @property
    def size(self):
        return 256

    @property
    def start_id(self):
        return ord("\n")

    def unknown_characters(self, text):
        return frozenset(c for c in text if "\ud800" <= c <= "\udfff")

    def encode(self, text):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decoder(self):
        return ByteDecoder()


class ByteDecoder(Decoder):
    def __init__(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids):
        return [self._decoder.decode(bytes([i])) for i in ids]

    def flush(self):
        return self._decoder.decode(b"", final=True)


KINDS = (CharacterTokenizer, PairTokenizer, ByteTokenizer)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAME)
texts = st.text(min_size=1, max_size=200)


def built(kind, text="the quick brown fox\n", **options):
    return kind.from_text(text, kind.OPTIONS(**options))


# Properties of the contract.


@every_kind
@given(text=texts)
def test_decode_inverts_encode(kind, text):
    tokenizer = built(kind, text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.max() < tokenizer.size
    assert tokenizer.decode(ids) == text


@every_kind
@given(data=st.data(), text=texts)
def test_pieces_are_one_per_token_and_join_to_the_decoded_text(kind, data, text):
    """For any tokens: a model may generate bytes that are not UTF-8."""
    tokenizer = built(kind, text)
    ids = data.draw(st.lists(st.integers(0, tokenizer.size - 1), max_size=30))
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


@every_kind
@given(data=st.data(), text=texts)
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
    with pytest.raises(UsageError, match="tokens: expected one of characters, received 'pairs'"):
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
def test_the_unknown_id_represents_all_other_characters(text, other):
    tokenizer = built(CharacterTokenizer, text, unknown_id=True)
    ids = tokenizer.encode(other)
    assert len(ids) == len(other)
    expected = [c if c in text else "\N{REPLACEMENT CHARACTER}" for c in other]
    assert tokenizer.decode(ids) == "".join(expected)
    assert tokenizer.forbidden_ids == (tokenizer.unknown_id,)


@given(texts, st.integers(1, 5))
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
    stored = token_store.tokenize(corpus, built(kind, corpus.train))
    text = stored["train"]
    assert (text.num_chars, text.num_bytes, text.num_tokens) == (6, 8, len(text.ids))
    assert text.ids.dtype == np.uint8  # the smallest type, because it is kept in memory
    assert stored["test"].num_tokens == stored["test"].num_chars == 0
    assert text.num_tokens == {"characters": 6, "pairs": 3, "toy-bytes": 8}[kind.NAME]
