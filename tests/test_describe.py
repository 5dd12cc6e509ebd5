"""The statistics that `describe` computes, and its output."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shakespeare_gen.data import mojibake, texts
from shakespeare_gen.data.corpora import Corpus
from shakespeare_gen.data.splits import SourceFile
from shakespeare_gen.evaluation import corpus_statistics, repeats
from shakespeare_gen.report import tables
from shakespeare_gen.system import devices
from shakespeare_gen.training import forecast, sizing
from tests.conftest import REPOSITORY

periodic = st.text("ab", max_size=60)
SAMPLED = {"max_sorted_chars": 0, "max_ngram_chars": 5000}


def random_text(num_chars, seed, alphabet="abcdefg \n"):
    return "".join(np.random.default_rng(seed).choice(list(alphabet), num_chars))


def describe(train, validation="", test="", encoding="utf-8", **limits):
    files = (SourceFile("name", encoding=encoding),) if encoding else ()
    return corpus_statistics.describe(Corpus("name", train, validation, test, files), **limits)


# Figures.


def test_planted_text_is_found():
    # The copies of a block have different neighbors, so that no match is longer than the block.
    block, shared = random_text(299, 10) + "a", "a" + random_text(119, 11)
    noise = ["b" + random_text(998, seed) + "bc"[seed % 2] for seed in range(4)]
    train = noise[0] + block + noise[1] + block + shared + "é"
    found = describe(train, noise[2] + shared, noise[3] + "€")
    assert found["splits"]["validation"]["shared_with_train"] == pytest.approx(120 / 1120)
    assert found["splits"]["test"]["shared_with_train"] == 0
    assert found["splits"]["test"]["shared_with_validation"] == 0
    facts = found["facts"]
    assert facts["characters missing from training"] == "1: '€'"
    assert facts["characters that occur fewer than 10 times"] == "1: 'é' 1"
    assert facts["share of training text in repeated blocks of 100"] == f"{300 / len(train):.1%}"
    assert facts["longest block that occurs twice"].startswith("300 characters, first at 1,000")
    bits = [row["validation_bits"] for row in found["entropy"]]
    assert bits[0] == pytest.approx(np.log2(9), abs=0.1)
    falling = [row["training_bits"] for row in found["entropy"]]
    assert falling == sorted(falling, reverse=True)
    assert found["ngram_chars"] == {"train": len(train), "validation": 1120}


def test_characters_bytes_and_lines_are_counted(monkeypatch):
    """Also across chunk boundaries."""
    monkeypatch.setattr(texts, "CHUNK_CHARS", 7)
    train = "né\n漢😀 plain\n" * 30
    row = describe(train)["splits"]["train"]
    assert row == {
        "characters": len(train),
        "bytes": len(train.encode()),
        "lines": 60,
        "not_ascii": pytest.approx(3 / 12),
    }


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("plain text", "utf-8", "utf-8, clean"),
        (
            "a\ufffdb\x07" * 9,
            "cp1252",
            "cp1252: 9 undecodable characters, 1 kinds of control characters",
        ),
        (
            "Café, “naïve”".encode().decode("cp1252", "ignore"),
            "cp1252",
            "cp1252: 3 sequences of UTF-8 decoded as cp1252, such as 'Ã©' for 'é'; "
            "mend it with text.encode('cp1252').decode('utf-8')",
        ),
        ("Café, “naïve”, Ärger, ßß", None, "Unicode, not from files, clean"),
        ("one\x03two\x03", "utf-8", "utf-8, clean"),
    ],
)
def test_signs_of_a_wrong_encoding_are_reported(text, encoding, expected):
    assert describe(text, encoding=encoding)["facts"]["encoding"] == expected


@given(st.text(st.sampled_from("aé漢😀ßÃ©â€™ñ"), max_size=12))
def test_utf_8_decoded_as_latin_1_is_recognised(text):
    """Each multi-byte character counts as one sequence."""
    misread = text.encode().decode("latin-1")
    places = len(re.findall(r"[^\x00-\x7f]{2,}", misread))
    assert num_misread(misread) == places


def num_misread(text):
    found = mojibake.find(text)
    return found.num_sequences if found else 0


@given(st.text(st.sampled_from("aéÃ©â€™ñ\x99漢"), max_size=12))
def test_text_is_misread_if_and_only_if_its_bytes_are_utf_8(text):
    def is_utf_8(run, codec):
        try:
            return bool(run.encode(codec).decode())
        except UnicodeError:
            return False

    runs = re.findall(r"[^\x00-\x7f]{2,}", text)
    places = sum(is_utf_8(run, "cp1252") or is_utf_8(run, "latin-1") for run in runs)
    assert num_misread(text) == places


def test_the_entropy_of_a_text_follows_from_its_counts():
    ids = np.array([0, 1] * 500)
    entropies = list(corpus_statistics.conditional_entropies(ids, 0, 1))
    assert entropies == pytest.approx([np.log(2), 0], abs=0.01)  # the first one has no context


def test_a_short_text_is_described():
    for train in ("a", "abc"):
        found = describe(train)
        assert list(found["splits"]) == ["train"]
        assert found["entropy"][0]["validation_bits"] is None


# What to expect of training.


def expected(num_tokens, corpus="novel.txt", **options):
    return forecast.forecast(corpus, num_tokens, vocabulary_size=60, **options)


def test_the_recommended_recipe_matches_its_file():
    """The forecast would be wrong if the file set an option that depends on the size."""
    recipe = (REPOSITORY / "flags" / f"{forecast.RECIPE}.cfg").read_text("utf-8")
    flags = dict(re.findall(r"^--(\w+)=?(.*)$", recipe, re.M))
    assert not {name for values in sizing.SIZES.values() for name in values} & flags.keys()
    assert {name for name, value in flags.items() if not value} == set(forecast.RECIPE_OPTIONS)
    assert not {"cell", "num_layers", "window_stride", "steps_per_epoch"} & flags.keys()


def test_the_recipe_is_a_valid_command_for_any_corpus_name():
    command = (
        "python -m shakespeare_gen.train --flagfile=own_text --encoding=utf-16 "
        "'--corpus=my novel.txt' --run_dir=runs/mine"
    )
    assert expected(10_000, "my novel.txt", given={"encoding": "utf-16"})["recipe"] == command


def test_the_expected_minutes_depend_on_the_processor(monkeypatch):
    """They were nearly three times too high on a processor with bfloat16 products."""
    monkeypatch.setattr(forecast, "operations_per_second", lambda: 1e11)
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    minutes = {}
    for precision in ("float32", "bfloat16"):
        monkeypatch.setattr(devices, "has_bfloat16_products", lambda p=precision: p == "bfloat16")
        shown = expected(20_000_000)["expected minutes on this processor"]
        minutes[precision] = int(re.fullmatch(rf"about (\d+), in {precision}, .*", shown)[1])
    assert 1.5 < minutes["float32"] / minutes["bfloat16"] < 2.5


def test_the_forecast_names_settings_and_updates():
    found = expected(18_000)
    assert found["settings for this size"].startswith("units=384, embedding_size=256, dropout=0.75")
    assert found["updates"] > sizing.MIN_UPDATES
    assert "problem" not in found


def test_the_forecast_of_a_tiny_text_names_the_problem():
    assert "32 and one more), received 20" in expected(20)["problem"]
    assert "expected at least 500 for a network to learn" in expected(2000)["problem"]


# Samples of long texts.


def test_figures_of_a_long_text_are_marked_as_estimates(capsys):
    """A text of 100 MB once took over 5 minutes and 6.3 GB."""
    block = random_text(2000, 0)
    train = "".join(c + random_text(1998, ord(c)) + c + block for c in "abcdefg")
    exact, sampled = describe(train, block), describe(train, block, **SAMPLED)
    share = "share of training text in repeated blocks of 100"
    assert exact["facts"][share] == f"{6 / 14:.1%}"
    number, note = sampled["facts"][share].split("%, ")
    assert float(number) / 100 == pytest.approx(6 / 14, abs=0.02)
    assert note == "estimated from 20,000 characters drawn at random"
    longest = sampled["facts"]["longest block that occurs twice"]
    assert longest.startswith("at least 2,000 characters, first at 2,000: ")
    assert longest.endswith("; the longest around 20,000 characters drawn at random")
    assert sampled["ngram_chars"] == {"train": 5000, "validation": 1200}
    for name in ("train", "validation"):  # cheap figures stay exact
        assert sampled["splits"][name] == exact["splits"][name]

    tables.show(*tables.description(sampled))
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "Computed on a sample: 5,000 characters of train, 1,200 characters of validation" in shown
    )
    tables.show(*tables.description(exact))
    assert "sample" not in capsys.readouterr().out


def test_a_long_text_without_repeats_reports_none():
    found = describe(random_text(20_000, 0), **SAMPLED)["facts"]
    expected = "none around 20,000 characters drawn at random"
    assert found["longest block that occurs twice"] == expected


# Repeated text.


def test_the_sample_agrees_with_the_exact_figures():
    """A text of random words, in which repeats of all lengths overlap."""
    words = random_text(4000, 0).split()
    text = " ".join(np.random.default_rng(1).choice(words[:40], 20_000))
    exact, sampled = (repeats.find(text, 24, limit) for limit in (len(text), 0))
    assert 0.2 < exact.share < 0.8
    assert sampled.share == pytest.approx(exact.share, abs=0.02)
    assert 0.8 * exact.longest_chars <= sampled.longest_chars <= exact.longest_chars
    block = text[sampled.longest_position :][: sampled.longest_chars]
    assert text.find(block) == sampled.longest_position
    assert text.find(block, sampled.longest_position + 1) > 0


def test_a_block_that_overlaps_itself_is_measured():
    found = repeats.find("ab" * 5000, 100, 0)
    assert (found.longest_chars, found.longest_position) == (9998, 0)
    assert found.share > 0.97


@given(periodic, periodic, st.integers(1, 20))
def test_windows_are_found_at_their_first_position(text, other, window_chars):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "CHUNK_CHARS", 7)
        starts = range(len(text) - window_chars + 1)
        if starts:
            hashes = repeats.window_hashes(text, window_chars)
            expected = [other.find(text[i : i + window_chars]) for i in starts]
            assert repeats.first_positions(other, hashes, window_chars).tolist() == expected


@given(periodic, periodic, st.integers(1, 20))
def test_the_shared_share_counts_characters_in_shared_windows(text, other, window_chars):
    covered = {
        place
        for start in range(len(text) - window_chars + 1)
        if text[start : start + window_chars] in other
        for place in range(start, start + window_chars)
    }
    found = repeats.shared_share(text, other, window_chars)
    assert found == pytest.approx(len(covered) / max(len(text), 1))


# The command.


def test_text_in_tables_is_not_markup(capsys):
    """`[a-z]` once vanished, `[/b]` ended in a traceback, `:smile:` became an emoji."""
    name = "texts/[a-z]*[/b]:smile:.txt"
    tables.show(*tables.description(corpus_statistics.describe(Corpus(name, name * 40, "", ""))))
    assert f"Corpus {name}" in capsys.readouterr().out


def test_control_characters_in_names_are_escaped(capsys):
    """A terminal once interpreted the escape sequences in a file name."""
    found = corpus_statistics.describe(Corpus("a\x1b[2J.txt", "a\x1b[2J" * 99, "", ""))
    tables.show(*tables.description(found))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert r"Corpus a\x1b[2J.txt" in shown


def test_the_table_of_files_names_skipped_ones_and_is_bounded(capsys):
    read = [SourceFile(f"{i}.txt", 1000, 900, "cp1252") for i in range(tables.MAX_FILES)]
    skipped = SourceFile("book.docx", skipped="a Word document; save it as plain text")
    found = corpus_statistics.describe(Corpus("a", "text" * 99, "", "", (skipped, *read)))
    tables.show(*tables.description(found))
    shown = capsys.readouterr().out
    assert re.search(r"book.docx +skipped: a Word document; save it as plain text", shown)
    assert re.search(r"0.txt +1,000 +900 +cp1252", shown)
    assert "1 more files, 0 of them skipped" in shown


def test_the_command_does_not_import_tensorflow(tmp_path):
    (tmp_path / "a.txt").write_text("one line\n" * 50, encoding="utf-8")
    code = (
        f"import sys; sys.argv = ['describe', '--corpus={tmp_path / 'a.txt'}']\n"
        "from shakespeare_gen import describe\n"
        "from shakespeare_gen.options import command_line\n"
        "try: command_line.run(describe.main, *describe.groups())\n"
        "except SystemExit: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\nFalse\n")


def run_describe(*flags):
    command = [sys.executable, "-m", "shakespeare_gen.describe", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


def test_the_command_prints_tables(tmp_path):
    (tmp_path / "a.txt").write_text("one line\n" * 50, encoding="utf-8")
    done = run_describe(f"--corpus={tmp_path / 'a.txt'}")
    assert done.returncode == 0, done.stderr
    assert "try --epochs=" in done.stdout  # the text is too short
    for title in ("Files", "Corpus", "Facts", "Entropy", "Training", "--flagfile=own_text"):
        assert title in done.stdout
    none = run_describe(f"--corpus={tmp_path / 'none.txt'}")
    assert (none.returncode, none.stderr.count("\n")) == (1, 1)
    assert none.stderr.startswith(f"describe: --corpus={tmp_path / 'none.txt'}: expected a file")
