"""A corpus in shards: the same tokens, splits and trainings as in memory, and hostile input."""

import functools
import gzip
import itertools
import json
import mmap
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import prepare, train
from shakespeare_gen.data import compression, corpora, token_store, tokenizers, windows
from shakespeare_gen.data.line_sketch import LineSketch
from shakespeare_gen.data.shards import manifest, pieces, progress, reading, units, writing
from shakespeare_gen.data.tokenizers import counts
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import CorpusOptions, WindowOptions
from tests.conftest import REPOSITORY

SMALL = {"units": 8, "embedding_size": 4, "batch_size": 16, "sample_chars": 10, "epochs": 2}


@pytest.fixture(autouse=True)
def many_units(monkeypatch):
    """Small texts are cut into as many units and blocks as texts of gigabytes."""
    monkeypatch.setattr(units, "UNIT_BYTES", 1 << 12)
    monkeypatch.setattr(units, "SEARCHED_BYTES", 1 << 9)
    monkeypatch.setattr(units, "SMALL_BYTES", 1 << 13)
    monkeypatch.setattr(pieces, "BLOCK_BYTES", 1 << 10)


def write(corpus, output_dir, **options):
    given = {"corpus": str(corpus), "output_dir": str(output_dir), "num_processes": 1, **options}
    return writing.write(Options.parse(prepare.groups(), given))


def in_memory(corpus, **options):
    """The corpus, its tokenizer and the tokens of its training text, loaded as a whole."""
    parsed = Options.parse(prepare.groups(), {"corpus": str(corpus), **options})
    loaded = corpora.load(parsed[CorpusOptions])
    tokenizer = tokenizers.from_text(loaded.train, parsed)
    return loaded, tokenizer, token_store.tokenize(loaded, tokenizer)["train"].ids


def check_equal(corpus, output_dir, **options):
    """Checks that shards equal the corpus in memory."""
    folder, found = write(corpus, output_dir, **options)
    loaded, tokenizer, ids = in_memory(corpus, **options)
    assert found.tokenizer == tokenizer
    read = reading.read(folder, manifest.read(folder), str(folder))
    np.testing.assert_array_equal(read.train.ids[:], ids)
    assert read.train.ids.dtype == ids.dtype
    for split in manifest.HELD_OUT:
        assert getattr(read.corpus, split) == getattr(loaded, split)
    assert found.chars == {split: loaded.num_chars(split) for split in corpora.SPLITS}
    assert found.corpus_sha256 == loaded.sha256 == read.corpus.sha256
    if "\n" in loaded.train and not options.get("document_separator"):
        np.testing.assert_array_equal(read.lines.hashes, LineSketch.of([loaded.train]).hashes)
    return found


@functools.cache
def story(size, seed=0, end="\n"):
    """Lines of words in several scripts."""
    rng = np.random.default_rng(seed)
    words = ["the", "king", "naïve", "любовь", "愛", "I'll", "O", "sword,", "peace.", "42", "🎭"]
    lines = []
    while sum(map(len, lines)) < size:
        line = " ".join(rng.choice(words, rng.integers(1, 14)))
        lines.append(line + end * rng.integers(1, 3))
    return "".join(lines)


def write_files(folder, texts):
    folder.mkdir()
    for name, text in texts.items():
        data = text.encode()
        data = gzip.compress(data) if name.endswith(".gz") else data
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("tokens", ["characters", "bytes", "words"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_large_file(tmp_path, tokens, end):
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbf" + story(60_000, end=end).encode())
    found = check_equal(path, tmp_path / "out", tokens=tokens)
    assert len(found.shards) > 5


@pytest.mark.parametrize("separator", ["", "<|end|>\n", "\n\n", "愛"])
@pytest.mark.parametrize("split_by", ["file", "corpus"])
def test_a_folder_of_small_and_large_files(tmp_path, separator, split_by):
    texts = {f"{i}.txt": story(500 * (i + 1), seed=i) for i in range(8)}
    texts |= {"3b.txt": story(30_000, seed=20), "9.txt.gz": story(40_000, seed=21)}
    texts |= {"4b.txt": story(3_000, seed=22).rstrip("\n"), "5b.txt.gz": story(900, seed=23)}
    if separator and separator != "\n\n":
        texts = {n: t.replace("peace.", separator) for n, t in texts.items()}
    folder = write_files(tmp_path / "texts", texts)
    options = {"document_separator": separator, "split_by": split_by}
    check_equal(folder, tmp_path / "out", **options)


@pytest.mark.parametrize("options", [{"min_count": 5}, {"min_count": 5, "unknown_id": True}])
def test_rare_characters(tmp_path, options):
    text = story(40_000)
    path = tmp_path / "rare.txt"
    path.write_text(text[:9_000] + "éèê" + text[9_000:] + "öä" * 3, encoding="utf-8")
    found = check_equal(path, tmp_path / "out", **options)
    assert "é" not in found.tokenizer.characters


def test_a_vocabulary_of_more_than_256_characters(tmp_path):
    rng = np.random.default_rng(0)
    text = "".join(map(chr, rng.integers(0x4E00, 0x4E00 + 900, 30_000)))
    path = tmp_path / "han.txt"  # without line ends and spaces
    path.write_text(text, encoding="utf-8")
    assert check_equal(path, tmp_path / "out").tokenizer.dtype == np.uint16


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "shift_jis"])
def test_other_encodings_are_unpacked(tmp_path, encoding):
    text = {"cp1252": "déjà vu – naïve\n", "utf-16": "любовь 愛\n", "shift_jis": "愛と平和\n"}
    path = tmp_path / "old.txt"
    path.write_bytes((text[encoding] * 3_000).encode(encoding))
    check_equal(path, tmp_path / "out", encoding=encoding)


def json_lines(texts):
    return "".join(json.dumps({"id": i, "body": text}) + "\n" for i, text in enumerate(texts))


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.jsonl.gz", "docs.ndjson.zst"])
@pytest.mark.parametrize("size", [200, 20_000])
def test_json_lines(tmp_path, name, size):
    zstandard = pytest.importorskip("zstandard")
    data = json_lines([story(size // 5, seed=i) for i in range(10)] + ["", "a\r\nb"]).encode()
    packers = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    path = tmp_path / name
    path.write_bytes(packers.get(path.suffix, bytes)(data))
    options = {"text_feature": "body", "document_separator": "<end>"}
    found = check_equal(path, tmp_path / "out", **options)
    assert found.tokenizer.end_id is not None


def test_windows_over_several_shards_are_those_of_the_text(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(story(40_000), encoding="utf-8")
    folder, found = write(path, tmp_path / "out")
    read = reading.read(folder, found, "out")
    plan = windows.plan(found.num_tokens, WindowOptions(window_chars=3_000, batch_size=3))
    batches = [
        list(windows.batches(ids, plan, seed=1, first_step=2, num_steps=8).as_numpy_iterator())
        for ids in (read.train.ids, in_memory(path)[2])
    ]
    for of_shards, of_text in zip(*batches, strict=True):
        np.testing.assert_array_equal(of_shards, of_text)


def train_on(corpus, run_dir, **options):
    return shakespeare_gen.train_model(
        corpus=str(corpus), run_dir=str(run_dir), **{**SMALL, **options}
    )


def weights(run):
    [path] = sorted(run.path.glob("checkpoints/*/weights.safetensors"))[-1:]
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("carry_state", [False, True])
def test_training_on_shards_equals_training_on_the_text(small_text, tmp_path, carry_state):
    path = tmp_path / "small.txt"
    path.write_text(small_text, encoding="utf-8")
    write(path, tmp_path / "out")
    options = {"carry_state": carry_state, "window_chars": 10}
    on_shards = train_on(tmp_path / "out", tmp_path / "shards", **options)
    on_text = train_on(path, tmp_path / "text", **options)
    assert weights(on_shards) == weights(on_text)
    assert on_shards.losses == on_text.losses
    # Stopped after an epoch, and resumed on the other one.
    once = {**options, "epochs": 1, "schedule": "constant"}
    twice = {**options, "schedule": "constant"}
    train_on(tmp_path / "out", tmp_path / "resumed", **once)
    resumed = shakespeare_gen.train_model(
        run_dir=str(tmp_path / "resumed"), resume=True, epochs=2, corpus=str(path)
    )
    whole = train_on(path, tmp_path / "whole", **twice)
    assert weights(resumed) == weights(whole)


@pytest.mark.slow
def test_a_run_on_shards_is_evaluated_with_samples(small_text, tmp_path, monkeypatch, caplog):
    path = tmp_path / "small.txt"
    path.write_text(small_text * 5, encoding="utf-8")
    write(path, tmp_path / "out")
    run = train_on(tmp_path / "out", tmp_path / "run", epochs=1)
    options = {"sample_chars": 100, "heatmap_chars": 100}
    whole = shakespeare_gen.evaluate_run(str(run.path), **options)
    assert whole["sampled"] == {}
    assert (
        whole["scores"]
        == shakespeare_gen.evaluate_run(
            str(train_on(path, tmp_path / "text", epochs=1).path), **options
        )["scores"]
    )
    monkeypatch.setattr(reading, "MAX_TRAIN_TOKENS", 2_000)
    monkeypatch.setattr(reading, "MAX_HELD_OUT_BYTES", 500)
    with caplog.at_level("INFO", logger="absl"):
        sampled = shakespeare_gen.evaluate_run(str(run.path), **options)
    assert "a sample of 2,000 of" in caplog.text
    assert sampled["texts"]["validation"]["characters"] <= 500
    lengths = {split: getattr(run.spec.corpus, f"{split}_chars") for split in corpora.SPLITS}
    assert {n: part["of_characters"] for n, part in sampled["sampled"].items()} == lengths
    assert sampled["sampled"]["train"]["characters"] == 2_000
    described = shakespeare_gen.describe_corpus(corpus=str(tmp_path / "out"))
    assert described["sampled"]["train"] == {"characters": 2_000, "of_characters": 14_356}
    page = (run.folder.evaluation_dir / "evaluation.html").read_text("utf-8")
    assert f"Train: a sample of 2,000 of {lengths['train']:,} characters." in page


def test_the_shards_determine_options_of_a_run(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(story(20_000), encoding="utf-8")
    folder, found = write(path, tmp_path / "out", test_fraction=0.1)
    options = Options.parse(train.groups(), {"corpus": str(folder)})
    assert reading.fixed_options(options, folder, found)[CorpusOptions].test_fraction == 0.1
    options = Options.parse(train.groups(), {"min_count": 3})
    with pytest.raises(UsageError, match="min_count: expected 1 for the shards in"):
        reading.fixed_options(options, folder, found)


# Input that is not valid


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt.gz", gzip.compress(b"text " * 5_000)[:-9], "a.txt.gz: cannot be read: "),
        ("a.txt.gz", b"text " * 50_000, "Not a gzipped file"),
        ("a.txt.zst", b"text " * 50_000, "a.txt.zst: cannot be read: "),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "line 2: expected a JSON object, received"),
        ("a.jsonl", b'{"text": "a"}\n\n[1]\n', "line 3: expected a JSON object, received"),
        ("a.jsonl", b'{"body": "a"}\n', "line 1: expected the key 'text', received body; `text_"),
        ("a.jsonl", b'{"text": 3}\n', "line 1: expected text under 'text', received int"),
        ("a.jsonl", b'{"text": "\xff"}\n', "line 1: expected UTF-8, received 0xff at its byte 11"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "received a surrogate"),
        (
            "a.txt",
            b"text\n" * 300_000 + b"\xe9t\xe9",
            "expected utf-8, received 0xe9 at byte 1500000",
        ),
        ("a.txt", b"%PDF-1.4 " * 5_000, "expected plain text, received a PDF document"),
        ("a.txt", bytes(range(256)) * 100, "expected plain text, received binary data"),
        ("a.txt", b"", "expected text"),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("small", [True, False])
def test_damaged_files_are_refused(tmp_path, monkeypatch, name, data, message, small):
    monkeypatch.setattr(units, "SMALL_BYTES", 1 << 24 if small else 0)
    if small and "0xe9" in message:
        pytest.skip("the encoding of a small file is found from all of it")
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        write(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / manifest.NAME).exists()


def test_a_truncated_zst_file_is_refused(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress(story(50_000).encode())
    path = tmp_path / "a.txt.zst"
    for size in (len(packed) - 5, len(packed) // 2, 10):
        path.write_bytes(packed[:size])
        with pytest.raises(UserError, match="ended before the end of a frame"):
            write(path, tmp_path / "out")


def test_an_expanding_zst_file_is_refused(tmp_path, monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    monkeypatch.setattr(compression, "MIN_CHECKED_BYTES", 1 << 20)
    path = tmp_path / "bomb.txt.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(1 << 26)))
    with pytest.raises(UserError, match="expected a compression ratio of at most 100"):
        write(path, tmp_path / "out")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(story(40_000), encoding="utf-8")
    return write(path, tmp_path / "out")[0]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["train-00001.ids", "test.txt", "lines.npy"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip, "SHA-256 in manifest.json, found other content: the file was changed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, found .*was changed after"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.rename(path.with_suffix(".x")) and path.symlink_to("x"), "link"),
    ],
)
def test_files_that_were_changed_are_found(folder, name, change, message):
    change(folder / name)
    with pytest.raises(UserError, match=message) as caught:
        reading.read(folder, manifest.read(folder), "out")
    assert "\n" not in str(caught.value)


def test_a_copy_with_other_times_is_verified_and_used(folder):
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    assert reading.read(folder, manifest.read(folder), "out").train.num_tokens > 0


@pytest.mark.parametrize(
    "change",
    [
        {"num_tokens": -1},
        {"num_tokens": 5},
        {"shards": []},
        {"shards": [{"name": "../x", "num_bytes": 1, "modified_ns": 1, "sha256": ""}]},
        {"others": []},
        {"chars": {"train": 1}},
        {"options": {"corpus": "x"}},
        {"tokenizer": {"tokens": "bytes", "has_end": False}},
        {"format_version": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_hostile_json_is_rejected(folder, change):
    path = folder / manifest.NAME
    value = {**json.loads(path.read_bytes()), **change}
    value.pop("sha256")
    from shakespeare_gen.system import storage

    path.write_bytes(storage.to_json(storage.sealed(value)))
    with pytest.raises(UserError) as caught:
        reading.read(folder, manifest.read(folder), "out")
    assert "\n" not in str(caught.value)


def test_shards_are_kept_unless_they_are_overwritten(folder, tmp_path):
    with pytest.raises(UserError, match="expected no shards, found some; use `overwrite`"):
        write(tmp_path / "book.txt", folder)
    (tmp_path / "short.txt").write_text("A short text, in one line.\n" * 20, encoding="utf-8")
    _, found = write(tmp_path / "short.txt", folder, overwrite=True)
    assert [path.name for path in folder.glob("*.ids")] == [file.name for file in found.shards]


# Interruptions


def test_an_interrupted_preparation_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "book.txt"
    path.write_text(story(60_000), encoding="utf-8")
    encode, calls = writing.passes.encode, itertools.count()

    def fail(*arguments):
        if next(calls) == 4:
            raise OSError(28, "No space left on device")
        return encode(*arguments)

    monkeypatch.setattr(writing.passes, "encode", fail)
    with pytest.raises(UserError, match="No space left on device; run the command again"):
        write(path, tmp_path / "out")
    numbers = []
    monkeypatch.setattr(
        writing.passes, "encode", lambda work, *rest: numbers.append(work) or encode(work, *rest)
    )
    monkeypatch.setattr(writing.passes.pieces, "read", pieces.read)
    check_equal(path, tmp_path / "out")


def test_parts_that_were_finished_before_do_not_count_for_the_speed(caplog):
    """A preparation that was continued reported gigabytes per second."""
    jobs, speeds = [(0.0,)] * 9 + [(0.3,)], []
    for num_before in (0, 9):
        caplog.clear()
        with caplog.at_level("INFO", logger="absl"):
            list(progress.Pass("encoding", 10**10, 10, num_before).results(time.sleep, jobs, 1))
        speeds.append(int(re.search(r"10 of 10 parts, 10,000 MB, (\d+) MB/s", caplog.text)[1]))
    assert 0 < speeds[1] < speeds[0] / 2


def test_other_options_do_not_continue_an_interrupted_preparation(tmp_path, monkeypatch):
    path = tmp_path / "book.txt"
    path.write_text(story(20_000), encoding="utf-8")
    monkeypatch.setattr(writing.passes, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(path, tmp_path / "out")
    monkeypatch.undo()
    check_equal(path, tmp_path / "out", validation_fraction=0.2)


def test_two_preparations_of_a_folder_exclude_each_other(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(story(2_000), encoding="utf-8")
    with (
        writing._reserved(tmp_path / "out"),
        pytest.raises(UserError, match="expected a folder that no other process prepares"),
    ):
        write(path, tmp_path / "out")


def start(path, output_dir):
    command = [sys.executable, "-m", "shakespeare_gen.prepare", f"--corpus={path}"]
    command += ["--layout=shards", f"--output_dir={output_dir}", "--num_processes=2"]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def processes_of(process):
    listed = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, check=False)
    return listed.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_preparation_goes_on(tmp_path, number):
    path, out = tmp_path / "book.txt", tmp_path / "out"
    path.write_text(story(100_000) * 450, encoding="utf-8")
    process = start(path, out)
    assert wait_for(lambda: list(out.glob(".unfinished/counts/*.json")))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[number]
    assert wait_for(lambda: not processes_of(process))  # none is left behind
    again = start(path, out)
    _, log = again.communicate(timeout=300)
    assert again.returncode == 0, log
    assert "continuing the preparation" in log
    found = manifest.read(out)
    assert found.corpus_sha256 == corpora.load(CorpusOptions(corpus=str(path))).sha256


# Datasets of TFDS


@pytest.fixture(scope="module")
def letters():
    """A dataset of many documents, built offline; it has validation, but no test."""
    import tensorflow_datasets as tfds

    class Letters(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"letter": tfds.features.Text()})
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._examples(300, 0), "validation": self._examples(20, 1)}

        def _examples(self, number, seed):
            for i in range(number):
                yield i, {"letter": f"Dear {i},\r\n" + story(100, seed=1_000 * seed + i)}

        _generate_examples = _examples

    return "tfds:letters"


def test_a_dataset_of_many_documents(letters, tmp_path):
    options = {
        "data_dir": str(tmp_path / "data"),
        "text_feature": "letter",
        "document_separator": "<end>",
    }
    found = check_equal(letters, tmp_path / "out", **options)
    assert min(found.chars.values()) > 0
    assert len(found.shards) > 5


def test_a_registered_corpus(tmp_path):
    check_equal("music", tmp_path / "out")


# Bounded memory


def test_of_too_many_words_the_rarest_are_dropped(monkeypatch):
    monkeypatch.setattr(counts, "MAX_WORDS", 10)
    found = tokenizers.WordTokenizer.counts(tokenizers.WordOptions())
    for i in range(30):
        found.add(f"word{i} often often\n".encode() + b" rare" * (i % 3))
    assert len(found.words) <= 20
    assert found.words[" often"] + found.num_missed >= 60
    assert found.num_missed > 0


def test_counts_of_parts_are_those_of_the_whole():
    text, options = story(20_000), tokenizers.WordOptions()
    parts = [tokenizers.WordTokenizer.counts(options) for _ in range(3)]
    for i, line in enumerate(text.splitlines(keepends=True)):
        parts[i % 3].add(line.encode())
    merged = tokenizers.WordTokenizer.counts(options)
    for part in parts:
        merged.merge(counts.TextCounts.from_json(json.loads(json.dumps(part.to_json()))))
    assert tokenizers.WordTokenizer.from_counts(merged, options) == (
        tokenizers.WordTokenizer.from_text(text, options)
    )


def test_slices_of_shards_keep_few_pages(folder, monkeypatch):
    monkeypatch.setattr(reading, "MAX_MAPPED_BYTES", 1 << 13)
    ids = reading.read(folder, manifest.read(folder), "out").train.ids
    whole = ids[:]
    for begin in range(0, len(ids) - 10, 997):
        np.testing.assert_array_equal(ids[begin : begin + 10], whole[begin : begin + 10])
    with pytest.raises(ValueError, match="without a step"):
        ids[::2]


def test_pages_around_those_that_are_read_are_given_back(tmp_path, monkeypatch):
    """Of cached shards, Linux maps 64 kB at each read: ten times the limit was mapped."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        pytest.skip("resident pages of files are read from /proc")

    def resident_bytes():
        return 1024 * int(re.search(r"RssFile:\s+(\d+)", status.read_text())[1])

    monkeypatch.setattr(reading, "MAX_MAPPED_BYTES", 1 << 20)
    path = tmp_path / "train.ids"
    path.write_bytes(bytes(1 << 25))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    ids = reading.ShardedIds([np.frombuffer(mapped, np.uint8)], [mapped])
    before, largest = resident_bytes(), 0
    for begin in range(0, len(ids) - 100, 1 << 16):
        assert not ids[begin : begin + 100].any()
        largest = max(largest, resident_bytes() - before)
    assert largest < 1 << 22
