import contextlib
import gzip
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from shakespeare_gen.data import corpora, sources, text_files
from shakespeare_gen.data.sources import packages, plays, tfds
from shakespeare_gen.data.splits import Splits
from shakespeare_gen.errors import CorpusUnavailableError, UserError
from shakespeare_gen.options.groups import CorpusOptions

TINY_TRAIN_CHARS, TINY_HELD_OUT_CHARS = 1_003_854, 55_770
NOBODY = 65534


def load(corpus, **options):
    return corpora.load(CorpusOptions(corpus=str(corpus), **options))


def load_whole(corpus, **options):
    """Loads a corpus with all of its text as training text."""
    return load(corpus, validation_fraction=0, test_fraction=0, **options).train


def read(path, *arguments, **options):
    return text_files.read(path, *arguments, **options).text


# Files.


def test_a_file_is_split_by_characters(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 80 + "y" * 15 + "z" * 4 + "\n", encoding="utf-8")
    corpus = load(tmp_path / "a.txt", validation_fraction=0.15, test_fraction=0.05)
    assert (corpus.train, corpus.validation, corpus.test) == ("x" * 80, "y" * 15, "zzzz\n")


def test_a_folder_is_read_recursively_in_sorted_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.txt").write_text("two", encoding="utf-8")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n"))
    (tmp_path / "c.bin").write_bytes(b"\xff")
    assert load_whole(tmp_path) == "one\ntwo\n"


def test_each_document_ends_with_one_end_character(tmp_path):
    """Both between files and at separators within a file."""
    (tmp_path / "1.txt").write_text("one\n***\ntwo", encoding="utf-8")
    (tmp_path / "2.txt").write_text("three\n", encoding="utf-8")
    options = {"document_separator": "***\n"}
    assert load_whole(tmp_path, **options) == "one\n\x03two\n\x03three\n\x03"
    assert load("plays", **options).train.count("\x03") == 34


def test_a_glob_reads_the_matching_files(tmp_path):
    for name in ("1.txt", "2.txt", "3.log"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert load_whole(tmp_path / "*.txt") == "1.txt\n2.txt\n"


def test_byte_order_marks_are_removed_and_line_ends_become_lf(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read(path) == "one\ntwo\nthree\n"


def test_bytes_that_do_not_fit_an_encoding_are_rejected_with_their_offset_and_a_fix(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("naïve".encode("cp1252"))
    with pytest.raises(UserError, match=r"a.txt: .* 0xef at byte 2; try `encoding=cp1252` or"):
        read(path, "utf-8")
    assert read(path, "cp1252") == "naïve"
    assert read(path, "utf-8", encoding_errors="ignore") == "nave"


def test_the_advice_never_repeats_what_was_tried(tmp_path):
    """A file that is not cp1252 was once rejected with the advice `encoding=cp1252`."""
    path = tmp_path / "a.txt"
    path.write_bytes("“Großvater”".encode())
    with pytest.raises(UserError, match=r"expected cp1252, received 0x9d .*; try `encoding=utf-8`"):
        read(path, "cp1252")
    path.write_bytes(b"\x81\x8d\0\xff\xfe\x01" * 50)
    with pytest.raises(UserError, match="received binary data") as error:
        read(path)
    assert "encoding=auto" not in str(error.value)
    with pytest.raises(UserError, match=r"expected cp1252, .*; try `encoding_errors=replace`$"):
        read(path, "cp1252")


SENTENCES = {
    "utf-8": "Die Mädchen hörten “nichts” – 日本語.\n",
    "utf-16": "Die Mädchen hörten “nichts” – 日本語.\n",
    "utf-16-le": "It was a plain text, and nothing happened in the town.\n",
    "utf-32": "Alle Bücher.\n",
    "cp1252": "Die Mädchen hörten über die Straße, daß der König “Äpfel” kaufte.\n",
    "cp1251": "Все счастливые семьи похожи друг на друга.\n",
    "koi8-r": "Все счастливые семьи похожи друг на друга, каждая несчастливая по-своему.\n",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy.\n",
}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_the_encoding_of_each_file_is_found(tmp_path, encoding):
    path = tmp_path / "a.txt"
    text = "Chapter 1\n" * 200 + SENTENCES[encoding]
    path.write_bytes(text.encode(encoding))
    assert read(path) == text


@pytest.mark.parametrize("text", ["naïve", "SPEAKER é:\n", "It’s a café.", "¿Qué?\n", "für"])
def test_a_short_text_is_in_the_most_common_encoding(tmp_path, text):
    """One byte that is not ASCII may be half of a Korean character."""
    (tmp_path / "a.txt").write_bytes(text.encode("cp1252"))
    assert read(tmp_path / "a.txt") == text


def test_files_of_one_folder_may_have_different_encodings(tmp_path, caplog):
    for encoding in ("utf-8", "cp1252", "utf-16"):
        (tmp_path / f"{encoding}.txt").write_bytes(SENTENCES["cp1252"].encode(encoding))
    with caplog.at_level("INFO", logger="absl"):
        corpus = load(tmp_path)
    assert {file.encoding for file in corpus.files} == {"utf-8", "cp1252", "utf-16"}
    assert f"Read {tmp_path / 'cp1252.txt'}: 66 bytes, cp1252" in caplog.messages
    assert load_whole(tmp_path) == 3 * SENTENCES["cp1252"]


def test_an_explicit_encoding_wins(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("é".encode())
    assert read(path, "latin-1") == "Ã©"
    assert read(path) == "é"


def test_mojibake_is_reported_with_the_round_trip_that_mends_it(tmp_path, caplog):
    """Such a text was once learned without a word."""
    broken = "Oliver’s “twist”.\n".encode().decode("cp1252", "ignore") + "plain\n" * 30
    (tmp_path / "a.txt").write_text(broken, encoding="utf-8")
    load(tmp_path / "a.txt")
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "2 sequences of UTF-8 decoded as cp1252, such as 'â€™' for '’' in train" in warning
    assert warning.endswith("mend the text with text.encode('cp1252').decode('utf-8')")
    assert broken[:9].encode("cp1252").decode("utf-8") == "Oliver’"


def test_mojibake_by_a_wrong_option_is_mended_by_the_right_one(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("Oliver’s café.\n" * 30, encoding="utf-8")
    load(tmp_path / "a.txt", encoding="latin-1")
    assert "; try `encoding=auto`, or mend the text" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda p: None,
            "expected a file, a folder, a glob that matches, or one of tiny_shakespeare, "
            "tfds:NAME, plays, .*, found none",
        ),
        (lambda p: p.mkdir(), r"expected files ending in .txt, .text, .md, .*, found none$"),
        (lambda p: p.write_bytes(b"  \n"), "expected text, received blank characters only"),
        (lambda p: p.touch(), "expected text, received blank characters only"),
    ],
)
def test_a_corpus_without_text_is_rejected(tmp_path, make, message):
    make(tmp_path / "place")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "place")


def test_a_damaged_gz_is_rejected_on_one_line(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"text" * 100)[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        read(path)


def test_an_unknown_encoding_is_rejected(tmp_path):
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    for encoding in ("utf-9", "", "rot13", "a\0b", "é" * 5000):
        with pytest.raises(
            UserError, match="^encoding: expected auto or a known encoding, received"
        ):
            load(tmp_path / "a.txt", encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "data"), [("utf-7", b"+2AA-"), ("unicode_escape", rb"\ud800")]
)
def test_surrogates_are_rejected_on_one_line(tmp_path, encoding, data):
    r"""UTF-7 and escapes can encode a lone surrogate, which UTF-8 cannot.

    Saving the vocabulary once ended in a traceback, and so did hashing if the surrogate was only in
    held-out text with `unknown_id`.
    """
    path = tmp_path / "a.txt"
    for text in (b"a" + data + b"b" * 100, b"a" * 100 + data + b"b"):
        path.write_bytes(text)
        with pytest.raises(UserError, match=rf"received the surrogate '\\ud800' .*={encoding}"):
            load(path, encoding=encoding)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("x" * 5000, "^corpus=x{200}…: cannot be read: File name too long"),
        ("~nosuchuser/a.txt", "^corpus=~nosuchuser/a.txt: expected a file, .*found none"),
        ("no\udcffutf-8.txt", r"^corpus: expected utf-8, received 'no\\udcffutf-8.txt'"),
        ("a\0b", "^corpus=a\0b: "),
    ],
    ids=["too long", "unknown user", "no UTF-8", "null"],
)
def test_an_invalid_path_is_rejected_on_one_line(corpus, message):
    """Each of these paths once ended in a traceback."""
    with pytest.raises(UserError, match=message):
        load(corpus)


def test_files_in_a_folder_may_have_names_that_are_not_utf_8(tmp_path):
    """Only the name that is saved must be valid Unicode."""
    try:
        pathlib.Path(tmp_path, "no\udcffutf-8.txt").write_text("text", encoding="utf-8")
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    assert load_whole(tmp_path) == "text\n"


@pytest.mark.parametrize("place", ["pipe.txt", "/dev/zero", "/dev/tty"])
def test_only_regular_files_are_read(tmp_path, place):
    """Reading a pipe or a device once blocked forever."""
    os.mkfifo(tmp_path / "pipe.txt")
    path = tmp_path / place
    if not path.exists():
        pytest.skip(f"no {place} here")
    with pytest.raises(UserError, match="expected a regular file|cannot be read"):
        load(path)


def test_pipes_and_devices_in_folders_and_globs_are_skipped(tmp_path):
    os.mkfifo(tmp_path / "1.txt")
    (tmp_path / "2.txt").symlink_to("/dev/zero")
    (tmp_path / "3.txt").symlink_to(tmp_path / "missing")
    (tmp_path / "5.txt").symlink_to(tmp_path / "5.txt")
    (tmp_path / "4.txt").write_text("text\n", encoding="utf-8")
    assert load_whole(tmp_path) == load_whole(tmp_path / "*.txt") == "text\n"
    (tmp_path / "4.txt").unlink()
    with pytest.raises(UserError, match="found 4 .txt .not a regular file"):
        load(tmp_path)


@pytest.mark.skipif(not os.path.exists("/proc/kmsg"), reason="Linux only")
@pytest.mark.parametrize("in_folder", [False, True])
def test_kernel_files_do_not_block(tmp_path, in_folder):
    """/proc/kmsg is a regular file of size 0; reading it once waited for a kernel message."""
    (tmp_path / "log.txt").symlink_to("/proc/kmsg")
    with pytest.raises(UserError, match="blank characters only|cannot be read"):
        load(tmp_path if in_folder else tmp_path / "log.txt")


def test_the_size_of_all_files_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_BYTES", 100)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x" * 60, encoding="utf-8")
    with pytest.raises(UserError, match="b.txt: expected at most 100 bytes of text in all files"):
        load(tmp_path)
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"x" * 101))
    with pytest.raises(UserError, match="c.txt.gz: expected at most 100 bytes of text"):
        load(tmp_path / "c.txt.gz")
    with (tmp_path / "d.txt").open("wb") as file:
        file.truncate(2**40)  # a sparse file, which is not read
    with pytest.raises(
        UserError, match="d.txt: expected at most 100 bytes, found 1,099,511,627,776"
    ):
        load(tmp_path / "d.txt")


def test_only_files_of_bounded_size_are_read_as_prompts(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"123456")
    (tmp_path / "link").symlink_to(tmp_path / "large")
    assert text_files.read_named(str(tmp_path / "link"), "prompt_path=", max_bytes=6) == "123456"
    for name, message in {
        "fifo": "expected a regular file, found something else",
        "large": "expected at most 5 bytes, found 6",
        "missing": "cannot be read: No such file or directory",
        "": "cannot be read: Is a directory",
        "x" * 300: "cannot be read: File name too long",
        "null\0": "cannot be read: ",
        "letter.docx": "expected plain text, received a Word document",
    }.items():
        path = str(tmp_path / name)
        with pytest.raises(UserError) as error:
            text_files.read_named(path, "prompt_path=", max_bytes=5)
        assert str(error.value).startswith(f"prompt_path={path}: {message}")
    with pytest.raises(UserError, match="^/load ~nosuchuser/a.txt: cannot be read: No such file"):
        text_files.read_named("~nosuchuser/a.txt", "/load ")


def test_a_compression_bomb_is_rejected_early(tmp_path):
    """A file of 4.4 MB once expanded to 1 GB, and describing it took 23 GB."""
    path = tmp_path / "bomb.txt.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(100):
            file.write(b"a" * 2**20)
    with pytest.raises(UserError, match="expected a compression ratio of at most 100"):
        load(path)


def test_the_limit_counts_bytes_instead_of_characters(tmp_path, monkeypatch):
    """Characters of several bytes were once counted as one byte."""
    monkeypatch.setattr(text_files, "MAX_BYTES", 100)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("漢" * 20, encoding="utf-8")
    with pytest.raises(UserError, match="b.txt: expected at most 100 bytes of text in all files"):
        load(tmp_path)


MIXED = {
    "1.TXT": b"one\n",
    "sub/2.markdown": b"two\n",
    "3.Text": b"three\n",
    "4.md.GZ": gzip.compress(b"four\n"),
    "5.docx": b"PK",
    "6.epub": b"PK",
    "7.jpg": b"\xff\xd8",
    "sub/8.PDF": b"%PDF-",
}


def test_text_files_of_a_mixed_folder_are_read_and_others_skipped_with_reasons(tmp_path, caplog):
    """Files with suffixes in capitals were once skipped, all others without a word."""
    (tmp_path / "sub").mkdir()
    for name, data in MIXED.items():
        (tmp_path / name).write_bytes(data)
    with caplog.at_level("INFO", logger="absl"):
        corpus = load(tmp_path)
    assert load_whole(tmp_path) == "one\nthree\nfour\ntwo\n"
    skipped = {pathlib.Path(f.path).name: f.skipped for f in corpus.files if f.skipped}
    assert list(skipped) == ["5.docx", "6.epub", "7.jpg", "8.PDF"]
    assert skipped["5.docx"].startswith("a Word document; open it in a word processor and save")
    assert skipped["6.epub"] == "an EPUB book; convert it with Calibre: ebook-convert BOOK BOOK.txt"
    assert skipped["7.jpg"] == "its suffix is not that of a text file"
    assert any(m.startswith(f"Skipped {tmp_path / 'sub/8.PDF'}: a PDF") for m in caplog.messages)


def test_many_files_are_summarized_in_the_log(tmp_path, caplog):
    for i in range(corpora.MAX_LOGGED + 5):
        (tmp_path / f"{i}.txt").write_text("text\n", encoding="utf-8")
    with caplog.at_level("INFO", logger="absl"):
        load(tmp_path)
    assert len(caplog.messages) == corpora.MAX_LOGGED + 1
    assert caplog.messages[-1] == "Read 5 more files and skipped 0"


def test_a_folder_without_text_files_names_what_was_found(tmp_path):
    for name in ("a.docx", "b.docx", "c.jpg"):
        (tmp_path / name).touch()
    message = (
        r"found 2 .docx \(a Word document; .*\), 1 .jpg \(its suffix is not that of a text file\)$"
    )
    with pytest.raises(UserError, match=message):
        load(tmp_path)
    with pytest.raises(UserError, match=r"found 2 .docx \(a Word document"):
        load(tmp_path / "*.docx")


@pytest.mark.parametrize(
    "suffix", ["docx", "doc", "odt", "rtf", "epub", "mobi", "pdf", "html", "HTM", "azw3", "zip"]
)
def test_a_document_is_refused_with_what_to_do(tmp_path, suffix):
    """They once failed with a byte offset, and web pages were learned with their tags."""
    path = tmp_path / f"book.{suffix}"
    path.write_bytes(b"anything")
    with pytest.raises(
        UserError, match=r"expected plain text, received an? .*; (open|convert|save)"
    ):
        load(path)


def test_a_document_with_a_wrong_name_is_recognized_by_its_content(tmp_path):
    (tmp_path / "book.txt").write_bytes(b"%PDF-1.7 ...")
    with pytest.raises(UserError, match="book.txt: expected plain text, received a PDF document"):
        load(tmp_path / "book.txt")


# Splits of several files.


def write_books(folder, **texts_by_name):
    for name, text in texts_by_name.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def test_validation_and_test_are_cut_from_the_end_of_each_file(tmp_path):
    """They once came from the last book alone."""
    write_books(tmp_path, a="a23456789\n" * 10, b="b23456789\n" * 20)
    corpus = load(tmp_path, validation_fraction=0.1, test_fraction=0.2)
    a, b = "a23456789\n", "b23456789\n"
    assert (corpus.train, corpus.validation, corpus.test) == (
        a * 7 + b * 14,
        a * 1 + b * 2,
        a * 2 + b * 4,
    )


def test_the_whole_corpus_can_be_cut_at_its_end(tmp_path):
    """As before; runs that were trained in this way keep it."""
    write_books(tmp_path, a="a23456789\n" * 10, b="b23456789\n" * 20)
    options = {"validation_fraction": 0.1, "test_fraction": 0.2}
    corpus = load(tmp_path, **options, split_by="corpus")
    assert corpus.train == "a23456789\n" * 10 + "b23456789\n" * 11
    assert (corpus.validation, corpus.test) == ("b23456789\n" * 3, "b23456789\n" * 6)


def test_both_ways_are_equal_for_a_single_file(tmp_path):
    write_books(tmp_path, a="one line\n***\n" * 50)
    by_file, by_corpus = (
        load(tmp_path, split_by=way, document_separator="***\n") for way in ("file", "corpus")
    )
    assert by_file.sha256 == by_corpus.sha256


def test_parts_of_several_files_consist_of_whole_lines_and_lose_nothing(tmp_path):
    lines = [f"This is line {i}, and so on.\n" for i in range(200)]
    write_books(tmp_path, a="".join(lines[:90]), b="".join(lines[90:]), c="x" * 5000)
    corpus = load(tmp_path)
    parts = (corpus.train, corpus.validation, corpus.test)
    found = [line for part in parts for line in part.splitlines(keepends=True) if line[0] == "T"]
    assert sorted(found) == sorted(lines)
    # A line that is longer than the part is cut by characters.
    assert [part.count("x") for part in parts] == [4500, 250, 250]


def test_every_part_of_a_file_ends_with_the_end_of_a_document(tmp_path):
    """No separator is cut in two, and cuts prefer the ends of documents."""
    poems = [f"poem {i}\n" + "verse\n" * 9 for i in range(160)]
    write_books(tmp_path, a="***\n".join(poems[:60]), b="***\n".join(poems[60:]), c="tiny")
    corpus = load(tmp_path, document_separator="***\n")
    parts = (corpus.train, corpus.validation, corpus.test)
    assert sorted("".join(parts).split("\x03")) == sorted([*poems, "tiny\n", ""])
    assert all(part.endswith("\x03") for part in parts)
    assert "*" not in "".join(parts)


# Text given as a string.


def test_a_text_can_be_given_as_a_string(tmp_path):
    """With the same result as from a file, which identifies it by the same hash."""
    text = "One line.\r\nAnother line." * 30
    corpus = corpora.load(CorpusOptions(), text)
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert corpus.sha256 == load(tmp_path / "a.txt").sha256
    assert (corpus.name, corpus.path, corpus.files) == ("<text>", "", ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^text: expected text, received blank characters only"),
        (["a"], "^text: expected a value of type str, received list"),
        ("a\ud800", r"^text: expected Unicode text, received the surrogate '\\ud800' at char"),
    ],
)
def test_an_invalid_text_is_rejected_on_one_line(text, message):
    with pytest.raises(UserError, match=message):
        corpora.load(CorpusOptions(), text)


def test_a_text_that_was_given_as_a_string_is_missing(tmp_path):
    with pytest.raises(UserError, match="given in Python, received none; pass it as text="):
        load("<text>")


def test_a_gz_with_several_members_is_one_text(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n") + b"\0\0")
    assert load_whole(tmp_path / "a.txt.gz") == "one\ntwo\n"


@pytest.fixture
def shared_folder():
    """A folder that all users may read, unlike pytest's temporary folders."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def as_ordinary_user():
    """File permissions do not apply to root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_unreadable_files_and_folders_are_reported_on_one_line(shared_folder):
    """A parent folder, a subfolder, or one file of many: nothing is skipped silently."""
    (shared_folder / "deep" / "sub").mkdir(parents=True)
    (shared_folder / "deep" / "sub" / "a.txt").write_text("text", encoding="utf-8")
    (shared_folder / "deep" / "b.txt").write_text("text", encoding="utf-8")
    sub, file = shared_folder / "deep" / "sub", shared_folder / "deep" / "b.txt"
    try:
        sub.chmod(0)
        with as_ordinary_user():
            with pytest.raises(
                UserError, match="^corpus=.*a.txt: cannot be read: Permission denied"
            ):
                load(sub / "a.txt")
            with pytest.raises(UserError, match="sub: cannot be read: Permission denied"):
                load(shared_folder)
        sub.chmod(0o444)  # its names can be listed, but its files cannot be opened
        with (
            as_ordinary_user(),
            pytest.raises(UserError, match="cannot be read: Permission denied"),
        ):
            load(shared_folder)
        sub.chmod(0o755)
        file.chmod(0)
        with (
            as_ordinary_user(),
            pytest.raises(UserError, match="b.txt: cannot be read: Permission"),
        ):
            load(shared_folder)
    finally:
        sub.chmod(0o755)


def test_a_corpus_of_files_has_an_absolute_path(tmp_path, monkeypatch):
    """A relative path would tie a run to its working directory."""
    (tmp_path / "a.txt").write_text("text\n" * 9, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load("a.txt").path == str(tmp_path / "a.txt")
    assert load("plays").path == ""


def test_the_hash_of_a_corpus_never_changes_between_versions():
    """It identifies the text of a run folder; long texts are hashed in chunks."""
    expected = "40511bd942843b7b5a53aef34f2e896eb447a15d9bc7b7a88d0922ab45695802"
    assert load("plays").sha256 == expected
    accents = corpora.Corpus("x", "é", "漢", "")
    assert accents.sha256 == "de478261b4b066064da9627b9c05dcf506ec02b261b2d910e5b3c3d13695295b"


# Sources.


def test_a_registered_source_is_chosen_by_its_name(monkeypatch):
    def poems(argument, options):
        return Splits(f"{argument} {options.document_separator}", "", "")

    monkeypatch.setitem(sources.SOURCES, "poems", sources.Source(poems, argument="AUTHOR"))
    assert load("poems:Keats").train == "Keats "
    assert load("poems").train == " "
    assert not corpora.is_files("poems:Keats")
    with pytest.raises(UserError, match="poems:AUTHOR, found none"):
        load("no-such-place")


def test_a_source_without_an_argument_takes_none(tmp_path, monkeypatch):
    """`plays:x` is a file name."""
    (tmp_path / "plays:x").write_text("text\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_whole("plays:x") == "text\n"


def test_plays_are_speeches_in_the_format_of_tiny_shakespeare():
    corpus = load("plays")
    assert corpus.train.startswith("THESEUS:\nNow, fair Hippolyta, our nuptial hour\n")
    assert corpus.validation.startswith("ORLANDO:\nAs I remember, Adam,")
    assert "MACBETH:\n" in corpus.validation
    assert "BRUTUS:\n" in corpus.test
    assert "LADY MACBETH:\n" not in corpus.train
    for mark in ("**", "##", "\\", "[Exit", "_Exit"):
        assert mark not in corpus.train + corpus.validation + corpus.test
    assert len(corpus.train) > 4_000_000


def test_stage_directions_and_silent_speakers_are_removed():
    markdown = (
        "# T\n\n**A**  \nOne _aside_ two\\--  \n\n_Enter B, with\nothers_\n\n**B**  \n_Exit_\n\n"
        "**C**  \n*Sound\nof drums* Three — four.\n"
    )
    assert plays.to_script(markdown) == "A:\nOne two--\n\nC:\nThree -- four.\n\n"


def test_plays_without_their_package_say_how_to_install_it(monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CorpusUnavailableError, match=r"shakespeare_gen\[plays\]"):
        load("plays")


def test_tiny_shakespeare_is_read_offline_through_tfds(tfds_data_dir):
    corpus = load("tiny_shakespeare", data_dir=str(tfds_data_dir))
    assert len(corpus.train) == TINY_TRAIN_CHARS
    assert len(corpus.validation) == len(corpus.test) == TINY_HELD_OUT_CHARS
    assert corpus.train.startswith("First Citizen:\n")
    again = load("tfds:tiny_shakespeare", data_dir=str(tfds_data_dir))
    assert again.sha256 == corpus.sha256


def test_a_wrong_feature_is_rejected_with_the_right_ones(tfds_data_dir):
    with pytest.raises(UserError, match="^text_feature: expected one of text in tiny_shakespeare"):
        load("tiny_shakespeare", text_feature="words", data_dir=str(tfds_data_dir))


def test_a_wrong_manual_file_is_distinguished_from_a_missing_network(tmp_path):
    manual_dir = tmp_path / "downloads" / "manual"
    manual_dir.mkdir(parents=True)
    (manual_dir / "input.txt").write_text("not it", encoding="utf-8")
    with pytest.raises(UserError, match="^tiny_shakespeare: expected the published checksum"):
        load("tiny_shakespeare", data_dir=str(tmp_path))


@pytest.mark.parametrize("name", ["nosuchset", "wiki40b/xx", "tiny_shakespeare:9.9.9", "../x", ""])
def test_an_unknown_dataset_is_rejected_on_one_line(name):
    with pytest.raises(UserError, match=f"tfds:{name}: expected a dataset of TFDS"):
        load(f"tfds:{name}")


@pytest.fixture(scope="module")
def two_letters():
    """A dataset of two configs and several examples, registered with TFDS by a user."""
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
    options = {"text_feature": "letter", "data_dir": str(tmp_path)}
    corpus = load(f"{two_letters}/xy", validation_fraction=0.1, **options)
    lines = (corpus.train + corpus.validation).splitlines()
    assert sorted(lines) == [f"{i:02d} xxxxx" for i in range(40)]
    assert len(corpus.validation) == 36  # a missing split is cut from train
    assert sorted(corpus.test.splitlines()) == [f"{i:02d} yyyyy" for i in range(3)]
    assert (tmp_path / "two_letters" / "xy").is_dir()
    with pytest.raises(UserError, match="expected one of letter in two_letters, received 'number'"):
        load(two_letters, **options | {"text_feature": "number"})


def test_a_dataset_prepared_by_another_process_meanwhile_is_read(
    two_letters, tmp_path, monkeypatch
):
    """A builder made before the preparation knows no splits: it once ended in an error."""
    import tensorflow_datasets

    make, made = tensorflow_datasets.builder, []

    def builder(name, **options):
        made.append(make(name, **options))
        if len(made) == 1:
            make(name, **options).download_and_prepare()
        return made[-1]

    monkeypatch.setattr(tensorflow_datasets, "builder", builder)
    corpus = load(f"{two_letters}/ab", text_feature="letter", data_dir=str(tmp_path))
    assert len(corpus.test.splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "expected"), [("lm1b", "Three options"), ("wiki40b/en", "Two options")]
)
def test_datasets_with_download_urls_and_datasets_in_the_bucket_are_probed(
    monkeypatch, tmp_path, name, expected
):
    """wiki40b has no download URLs: it once ended in a traceback."""
    monkeypatch.setattr(tfds, "network_error", lambda url: "no answer in 8 s")
    with pytest.raises(CorpusUnavailableError, match=expected):
        load(f"tfds:{name}", data_dir=str(tmp_path))


def test_a_dataset_that_needs_a_manual_download_says_so(tmp_path):
    with pytest.raises(UserError, match="tfds:newsroom: cannot be prepared: .*Manual directory"):
        load("tfds:newsroom", data_dir=str(tmp_path))


def test_without_a_network_the_error_lists_three_options(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds, "network_error", lambda url: "no answer in 8 s")
    with pytest.raises(CorpusUnavailableError) as error:
        load("tiny_shakespeare", data_dir=str(tmp_path))
    assert str(tmp_path / "downloads" / "manual" / "input.txt") in str(error.value)
    assert "`corpus=plays`" in str(error.value)


def test_the_fallback_corpus_is_used_with_a_warning(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(tfds, "network_error", lambda url: "ConnectionError")
    text = tmp_path / "own.txt"
    text.write_text("my own text\n" * 9, encoding="utf-8")
    corpus = load("tiny_shakespeare", data_dir=str(tmp_path), fallback_corpus=str(text))
    assert corpus.name == str(text)
    assert "!!!!" in caplog.text
    assert "instead of 'tiny_shakespeare'" in caplog.text


def test_the_probe_answers_in_time_when_the_host_is_silent():
    """A host that accepts the connection but does not answer: TFDS takes minutes to give up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        reason = tfds.network_error(f"http://127.0.0.1:{silent.getsockname()[1]}/", 1.0)
        assert reason
        assert time.monotonic() - began < 3


def test_files_are_loaded_without_tensorflow(tmp_path):
    """Importing TensorFlow takes seconds, which a typo or a corpus of files must not cost."""
    (tmp_path / "a.txt").write_text("text\n" * 9, encoding="utf-8")
    code = (
        "import sys\n"
        "from shakespeare_gen.data import corpora, token_store, tokenizers, windows\n"
        "from shakespeare_gen.options import Options\n"
        "from shakespeare_gen.options.groups import CorpusOptions, WindowOptions\n"
        "corpus = corpora.load(CorpusOptions(corpus=sys.argv[1]))\n"
        "tokenizer = tokenizers.from_text(corpus.train, Options.parse(tokenizers.groups()))\n"
        "num_tokens = token_store.tokenize(corpus, tokenizer)['train'].num_tokens\n"
        "windows.plan(num_tokens, WindowOptions(window_chars=5))\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
    assert subprocess.run(command, check=False).returncode == 0
