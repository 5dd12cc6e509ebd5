import gzip
import socket
import sys
import time

import numpy as np
import pytest

from shakespeare_gen.data import corpora
from shakespeare_gen.data.sources import files, plays, tfds
from shakespeare_gen.data.tokenizers.characters import Vocabulary
from shakespeare_gen.errors import CorpusUnavailableError, UserError

TINY_TRAIN_CHARS, TINY_HELD_OUT_CHARS = 1_003_854, 55_770


def test_a_file_is_cut_by_characters(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 80 + "y" * 15 + "z" * 4 + "\n", encoding="utf-8")
    corpus = corpora.load(str(tmp_path / "a.txt"), validation_fraction=0.15, test_fraction=0.05)
    assert (corpus.train, corpus.validation, corpus.test) == ("x" * 80, "y" * 15, "zzzz\n")


def test_a_folder_is_read_deeply_and_sorted_gz_too(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.txt").write_text("two", encoding="utf-8")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n"))
    (tmp_path / "c.bin").write_bytes(b"\xff")
    corpus = corpora.load(str(tmp_path), validation_fraction=0, test_fraction=0)
    assert corpus.train == "one\ntwo\n"


def test_documents_end_in_a_character_of_their_own(tmp_path):
    """Between files, and where the separator stands within one."""
    (tmp_path / "1.txt").write_text("one\n***\ntwo", encoding="utf-8")
    (tmp_path / "2.txt").write_text("three\n", encoding="utf-8")
    options = {"validation_fraction": 0, "test_fraction": 0, "document_separator": "***\n"}
    assert corpora.load(str(tmp_path), **options).train == "one\n\x03two\n\x03three\n\x03"
    assert corpora.load("plays", document_separator="***\n").train.count("\x03") == 34


def test_a_glob_takes_what_matches(tmp_path):
    for name in ("1.txt", "2.txt", "3.log"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    found = [f.name for f in files.find(str(tmp_path / "*.txt"))]
    assert found == ["1.txt", "2.txt"]


def test_byte_order_mark_and_line_ends_are_normalised(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert files.read(path, "utf-8", "strict") == "one\ntwo\nthree\n"


def test_text_that_is_not_utf_8_tells_file_offset_and_fix(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("naïve".encode("cp1252"))
    with pytest.raises(UserError, match=r"a.txt: .* 0xef at byte 2; try --encoding=cp1252"):
        files.read(path, "utf-8", "strict")
    assert files.read(path, "cp1252", "strict") == "naïve"
    assert files.read(path, "utf-8", "ignore") == "nave"


def test_utf_16_is_recognised_by_its_byte_order_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("text".encode("utf-16"))
    with pytest.raises(UserError, match="try --encoding=utf-16"):
        files.read(path, "utf-8", "strict")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "expected a file, a folder, a glob"),
        (lambda p: p.mkdir(), "expected files ending in"),
        (lambda p: p.write_text("  \n", encoding="utf-8"), "received 3 blank characters"),
    ],
)
def test_a_corpus_without_text_is_refused(tmp_path, make, message):
    make(tmp_path / "place")
    with pytest.raises(UserError, match=message):
        corpora.load(str(tmp_path / "place"))


def test_a_damaged_gz_is_one_line(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"text" * 100)[:-9])
    with pytest.raises(UserError, match="can't be read"):
        files.read(path, "utf-8", "strict")


def test_an_unknown_encoding_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="--encoding: .* received 'utf-9'"):
        files.read(tmp_path / "a.txt", "utf-9", "strict")


def test_plays_are_speeches_in_the_format_of_tiny_shakespeare():
    corpus = corpora.load("plays")
    assert corpus.train.startswith("THESEUS:\nNow, fair Hippolyta, our nuptial hour\n")
    assert corpus.validation.startswith("ORLANDO:\nAs I remember, Adam,")
    assert "MACBETH:\n" in corpus.validation
    assert "BRUTUS:\n" in corpus.test
    assert "LADY MACBETH:\n" not in corpus.train
    for mark in ("**", "##", "\\", "[Exit", "_Exit"):
        assert mark not in corpus.train + corpus.validation + corpus.test
    assert len(corpus.train) > 4_000_000


def test_directions_over_several_lines_go_and_silent_speakers_too():
    markdown = (
        "# T\n\n**A**  \nOne _aside_ two\\--  \n\n_Enter B, with\nothers_\n\n**B**  \n_Exit_\n\n"
        "**C**  \n*Sound\nof drums* Three — four.\n"
    )
    assert plays.to_script(markdown) == "A:\nOne two--\n\nC:\nThree -- four.\n\n"


def test_plays_without_the_package_tell_how_to_get_it(monkeypatch):
    monkeypatch.setattr(plays.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CorpusUnavailableError, match=r"shakespeare_gen\[plays\]"):
        plays.load()


def test_tiny_shakespeare_comes_through_tfds_offline(tfds_data_dir):
    corpus = corpora.load("tiny_shakespeare", data_dir=str(tfds_data_dir))
    assert len(corpus.train) == TINY_TRAIN_CHARS
    assert len(corpus.validation) == len(corpus.test) == TINY_HELD_OUT_CHARS
    assert corpus.train.startswith("First Citizen:\n")
    again = corpora.load("tfds:tiny_shakespeare", data_dir=str(tfds_data_dir))
    assert again.sha256 == corpus.sha256


def test_a_wrong_feature_names_the_right_ones(tfds_data_dir):
    with pytest.raises(UserError, match="expected one of text in tiny_shakespeare"):
        corpora.load("tiny_shakespeare", "words", str(tfds_data_dir))


def test_a_wrong_manual_file_is_told_from_a_missing_network(tmp_path):
    manual_dir = tmp_path / "downloads" / "manual"
    manual_dir.mkdir(parents=True)
    (manual_dir / "input.txt").write_text("not it", encoding="utf-8")
    with pytest.raises(UserError, match="expected the published checksum"):
        corpora.load("tiny_shakespeare", data_dir=str(tmp_path))


@pytest.mark.parametrize("name", ["nosuchset", "wiki40b/xx", "tiny_shakespeare:9.9.9", "../x", ""])
def test_an_unknown_dataset_is_one_line(name):
    with pytest.raises(UserError, match=f"tfds:{name}: expected a dataset of TFDS"):
        corpora.load(f"tfds:{name}")


@pytest.fixture(scope="module")
def two_letters():
    """A dataset of two configs and several examples, as a person registers her own with TFDS."""
    import tensorflow_datasets as tfds

    class TwoLetters(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("ab", "xy")]  # noqa: RUF012

        def _info(self):
            features = {"letter": tfds.features.Text(), "number": tfds.features.Scalar(np.int32)}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            first, second = self.builder_config.name
            return {
                "train": self._generate_examples(first, 40),
                "test": self._generate_examples(second, 3),
            }

        def _generate_examples(self, letter, count):
            for i in range(count):
                yield i, {"letter": f"{i:02d} {letter * 5}", "number": i}

    return "tfds:two_letters"


def test_any_tfds_dataset_with_text_is_a_corpus(two_letters, tmp_path):
    corpus = corpora.load(f"{two_letters}/xy", "letter", str(tmp_path), validation_fraction=0.1)
    lines = (corpus.train + corpus.validation).splitlines()
    assert sorted(lines) == [f"{i:02d} xxxxx" for i in range(40)]
    assert len(corpus.validation) == 36  # a split the dataset lacks is cut from train
    assert sorted(corpus.test.splitlines()) == [f"{i:02d} yyyyy" for i in range(3)]
    assert (tmp_path / "two_letters" / "xy").is_dir()
    with pytest.raises(UserError, match="expected one of letter in two_letters, received 'number'"):
        corpora.load(two_letters, "number", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "feature", "ways"),
    [("lm1b", "text", "Three ways out"), ("wiki40b/en", "text", "Two ways out")],
)
def test_datasets_that_name_files_and_datasets_in_a_bucket_are_probed(
    monkeypatch, tmp_path, name, feature, ways
):
    """wiki40b names no files: it ended in a traceback."""
    monkeypatch.setattr(tfds, "network_error", lambda url: "no answer in 8 s")
    with pytest.raises(CorpusUnavailableError, match=ways):
        corpora.load(f"tfds:{name}", feature, str(tmp_path))


def test_a_dataset_that_wants_files_by_hand_says_so(tmp_path):
    with pytest.raises(UserError, match="tfds:newsroom: can't be prepared: .*Manual directory"):
        corpora.load("tfds:newsroom", "text", str(tmp_path))


def test_without_network_the_error_prints_three_ways_out(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds, "network_error", lambda url: "no answer in 8 s")
    with pytest.raises(CorpusUnavailableError) as error:
        corpora.load("tiny_shakespeare", data_dir=str(tmp_path))
    assert str(tmp_path / "downloads" / "manual" / "input.txt") in str(error.value)
    assert "--corpus=plays" in str(error.value)


def test_the_fallback_corpus_is_loud_and_named(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(tfds, "network_error", lambda url: "ConnectionError")
    text = tmp_path / "own.txt"
    text.write_text("my own text\n" * 9, encoding="utf-8")
    corpus = corpora.load("tiny_shakespeare", data_dir=str(tmp_path), fallback_corpus=str(text))
    assert corpus.name == str(text)
    assert "!!!!" in caplog.text
    assert "instead of 'tiny_shakespeare'" in caplog.text


def test_the_probe_decides_in_time_when_nobody_answers():
    """A host that accepts and stays silent: TFDS alone takes minutes to give up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        reason = tfds.network_error(f"http://127.0.0.1:{silent.getsockname()[1]}/", 1.0)
        assert reason
        assert time.monotonic() - began < 3


def test_left_out_characters_are_counted(caplog):
    corpus = corpora.Corpus("x", "aabb", "abc", "")
    ids = corpora.encode(corpus, Vocabulary.from_text(corpus.train))
    assert ids["validation"].tolist() == [0, 1]
    assert (
        "1 of 3 validation characters are outside the vocabulary and left out: 'c'" in caplog.text
    )


def test_tensorflow_is_not_imported_for_files(tmp_path):
    """A typo or a file corpus must answer without the seconds TensorFlow takes."""
    import subprocess

    code = "import sys; from shakespeare_gen.data import corpora; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
