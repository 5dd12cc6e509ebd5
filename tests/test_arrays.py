"""A corpus as arrays in files: `prepare`, training on them, and hostile folders."""

import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import prepare, train
from shakespeare_gen.data import corpora, windows
from shakespeare_gen.data.arrays import folder, reading, writing
from shakespeare_gen.data.tokenizers import TOKENIZERS
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import CorpusOptions, WindowOptions
from shakespeare_gen.system import storage
from shakespeare_gen.training import preparation
from tests.test_extending import PairTokenizer

WINDOW = {"window_chars": 10, "window_stride": 4}
SMALL = {
    "units": 8,
    "embedding_size": 4,
    "batch_size": 16,
    "sample_chars": 10,
    "min_count": 1,
}


@pytest.fixture
def text_path(small_text, tmp_path):
    path = tmp_path / "small.txt"
    path.write_text(small_text, encoding="utf-8")
    return path


def write(corpus, output_dir, **options):
    given = {"corpus": str(corpus), "output_dir": str(output_dir), **WINDOW, **options}
    parsed = Options.parse(prepare.groups(), given)
    return writing.write(corpora.load(parsed[CorpusOptions]), parsed)[0]


@pytest.fixture
def place(text_path, tmp_path):
    return write(text_path, tmp_path / "processed")


def read(place):
    return reading.read(place, folder.read_spec(place), str(place.folder))


def train_on(corpus, run_dir, **options):
    return shakespeare_gen.train_model(
        corpus=str(corpus), run_dir=str(run_dir), **{**SMALL, "epochs": 2, **options}
    )


def losses(run):
    return [(row["loss"], row["validation_loss"]) for row in run.metrics()]


def test_windows_are_spans_of_the_training_text(place, text_path):
    spec, found = folder.read_spec(place), read(place)
    text = corpora.load(CorpusOptions(corpus=str(text_path))).train
    assert spec.num_windows == (len(text) - 11) // 4 + 1 == len(found.windows)
    for number in (0, 1, spec.num_windows - 1):
        window = spec.tokenizer.decode(found.windows[number].tolist())
        assert window == text[4 * number : 4 * number + 11]
    assert spec.tokenizer.decode(found.train.ids.tolist()) == text
    assert found.windows.dtype == found.train.ids.dtype == np.uint8
    assert isinstance(found.windows, np.memmap)
    assert not found.windows.flags.writeable


def test_the_names_of_the_files_tell_their_tokens(place, text_path, monkeypatch):
    monkeypatch.setitem(TOKENIZERS, "pairs", PairTokenizer)
    pairs = write(text_path, place.folder, tokens="pairs")
    names = {path.name for path in place.folder.iterdir()}
    by_characters = {"small_chars.json", "small_char_windows.npy", "small_char_tokens.npy"}
    by_pairs = {"small_pairs.json", "small_pair_windows.npy", "small_pair_tokens.npy"}
    texts = {f"small_{split}.txt" for split in corpora.SPLITS}
    assert names == by_characters | by_pairs | texts
    assert folder.find(str(place.folder)) == place
    assert folder.find(str(place.folder), "pairs") == pairs
    assert folder.find(str(pairs.spec_path)) == pairs


def test_the_text_and_its_hash_survive(place, text_path):
    before = corpora.load(CorpusOptions(corpus=str(text_path)))
    after = corpora.load(CorpusOptions(corpus=str(place.folder)))
    assert [getattr(after, s) for s in corpora.SPLITS] == [
        getattr(before, s) for s in corpora.SPLITS
    ]
    assert after.sha256 == before.sha256 == read(place).corpus.sha256
    assert read(place).corpus.num_chars("train") == before.num_chars("train")


def test_left_out_characters_do_not_count(tmp_path):
    path = tmp_path / "rare.txt"
    path.write_text("abcabc" * 200 + "#" + "abc" * 200, encoding="utf-8")
    found = read(write(path, tmp_path / "processed", min_count=2, test_fraction=0))
    assert found.train.num_chars == found.train.num_tokens
    assert found.corpus.num_chars("train") in (found.train.num_chars, found.train.num_chars + 1)


def test_batches_of_an_array_are_those_of_its_text(place):
    found = read(place)
    options = WindowOptions(**WINDOW, batch_size=7, random_offset=False, num_windows=100)
    plan = windows.plan(found.train.num_tokens, options)
    pairs = [
        windows.batches(tokens, plan, 3, first_step=5, num_steps=20).as_numpy_iterator()
        for tokens in (found.windows, np.array(found.train.ids))
    ]
    for of_array, of_text in zip(*pairs, strict=True):
        np.testing.assert_array_equal(of_array, of_text)


@pytest.mark.slow
def test_training_on_arrays_equals_training_on_the_text(place, text_path, tmp_path):
    on_arrays = train_on(place.folder, tmp_path / "arrays")
    on_text = train_on(text_path, tmp_path / "text", **WINDOW, random_offset=False)
    assert losses(on_arrays) == losses(on_text)
    assert on_arrays.spec.options == on_text.spec.options.replaced(corpus=str(place.folder))
    assert on_arrays.spec.corpus.sha256 == on_text.spec.corpus.sha256


@pytest.mark.slow
def test_a_run_on_arrays_resumes_evaluates_and_generates(place, text_path, tmp_path):
    options = {"num_windows": 200}
    whole = train_on(place.folder, tmp_path / "whole", **options, schedule="constant")
    train_on(place.folder, tmp_path / "run", **options, schedule="constant", epochs=1)
    resumed = shakespeare_gen.train_model(run_dir=str(tmp_path / "run"), resume=True, epochs=2)
    assert losses(resumed) == losses(whole)
    figures = shakespeare_gen.evaluate_run(
        str(tmp_path / "run"), baselines=False, sample_chars=100, heatmap_chars=100
    )
    assert figures["texts"]["validation"]["tokens"] > 0
    generator = shakespeare_gen.load_generator(str(tmp_path / "run"))
    assert len(generator.generate("", length=20)[0].text) == 20
    # The text itself gives the same batches, because its windows start at the same positions.
    moved = shakespeare_gen.train_model(
        run_dir=str(tmp_path / "run"), resume=True, epochs=3, corpus=str(text_path)
    )
    assert len(losses(moved)) == 3


def prepared_options(corpus, tmp_path, **options):
    given = {"corpus": str(corpus), "run_dir": str(tmp_path / "run"), **options}
    with preparation.prepared(Options.parse(train.groups(), given)) as found:
        return found


def test_arrays_determine_the_options_of_a_run(place, tmp_path):
    found = prepared_options(place.folder, tmp_path, auto_size=True)
    values = found.options.by_name()
    fixed = {"tokens": "characters", "carry_state": False, "random_offset": False, **WINDOW}
    assert {name: values[name] for name in fixed} == fixed
    assert found.data.plan.num_available == len(found.data.window_array)


@pytest.mark.parametrize(
    "options",
    [
        {"window_chars": 20},
        {"window_stride": 5},
        {"carry_state": True},
        {"random_offset": True},
        {"document_separator": "%"},
        {"min_count": 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_contradicting_option_is_rejected(options, place, tmp_path):
    [name] = options
    with pytest.raises(UsageError, match=f"^{name}: expected .* for the arrays in"):
        prepared_options(place.folder, tmp_path, **options)


def test_unknown_tokens_and_several_texts_are_named(place, text_path, monkeypatch, tmp_path):
    monkeypatch.setitem(TOKENIZERS, "pairs", PairTokenizer)
    with pytest.raises(UserError, match="tokens: expected one of characters"):
        folder.find(str(place.folder), "pairs")
    other = tmp_path / "other.txt"
    other.write_text(text_path.read_text("utf-8") + "more\n" * 20, encoding="utf-8")
    with pytest.raises(UserError, match="found those of small; choose another folder"):
        write(other, place.folder)
    with pytest.raises(UserError, match="use `overwrite`"):
        write(text_path, place.folder)
    write(text_path, place.folder, overwrite=True, window_stride=2)
    assert folder.read_spec(place).options["window_stride"] == 2


def test_a_text_folder_with_json_files_is_no_arrays(tmp_path):
    (tmp_path / "a.txt").write_text("text " * 100, encoding="utf-8")
    (tmp_path / "a_chars.json").write_text("{}", encoding="utf-8")
    assert folder.find(str(tmp_path)) is None
    assert corpora.load(CorpusOptions(corpus=str(tmp_path))).train.startswith("text ")


def edit_spec(place, **values):
    value = json.loads(place.spec_path.read_text("utf-8"))
    value.pop("sha256")
    value.update(values)
    place.spec_path.write_bytes(storage.to_json(storage.sealed(value)))


def edit_array(place, array, change):
    """Changes an array and its hash, as an attacker would."""
    path = place.array_path(array)
    changed = change(np.load(path))
    np.save(path, changed, allow_pickle=True)
    hashes = folder.read_spec(place).array_sha256
    data = np.ascontiguousarray(changed) if changed.dtype != object else np.zeros(1)
    digest = hashlib.sha256(data.tobytes()).hexdigest()
    edit_spec(place, array_sha256={**hashes, array: digest})


def with_high_id(array):
    array.flat[-1] = 255
    return array


@pytest.mark.parametrize("array", folder.ARRAYS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_high_id, "expected ids below"),
        (lambda a: a[:-1], "expected an array of shape"),
        (lambda a: a.astype(np.int64), "expected an array of shape"),
        (lambda a: np.zeros(a.shape, object), "expected a NumPy array"),
        (lambda a: a.astype("U1"), "expected an array of shape"),
        (lambda a: a.astype([("x", "u1")]), "expected an array of shape"),
    ],
)
def test_hostile_arrays_are_rejected(array, change, message, place):
    edit_array(place, array, change)
    with pytest.raises(UserError, match=message) as caught:
        read(place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "expected a NumPy array"),
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "expected a NumPy array"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" + b"\xff" * 80), "expected a NumPy"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.rename(path.with_suffix(".x")) and path.symlink_to("x"), "link"),
        (lambda path: path.unlink() or path.mkdir(), "cannot be read|expected a regular file"),
    ],
)
def test_damaged_arrays_are_rejected(damage, message, place):
    spec = folder.read_spec(place)
    damage(place.array_path("windows"))
    with pytest.raises(UserError, match=message) as caught:
        reading.read(place, spec, "processed")
    assert "\n" not in str(caught.value)


def test_a_changed_number_is_found(place):
    path = place.array_path("windows")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged or was edited"):
        read(place)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_windows": 3}, "windows of"),
        ({"num_windows": -1}, "expected a valid num_windows"),
        ({"num_tokens": 10**18}, "expected a valid num_tokens"),
        ({"num_tokens": 5}, "window_chars: expected"),
        ({"corpus_sha256": "x"}, "expected a valid corpus_sha256"),
        ({"corpus_sha256": "0" * 64}, "expected the texts that the arrays were made from"),
        ({"options": {}}, "windows of"),
        ({"options": {"window_chars": "9"}}, "window_chars"),
        ({"options": {"corpus": "x"}}, "expected no corpus in the options"),
        ({"options": {"learning_rate": 1}}, "learning_rate"),
        ({"options": []}, "expected a valid options"),
        ({"tokenizer": {"tokens": "characters", "characters": "ba"}}, "has_unknown_id"),
        ({"array_sha256": {}}, "expected a valid array_sha256"),
        ({"format_version": 2}, "expected format_version 1"),
        ({"more": 1}, "expected format_version, tokenizer"),
    ],
)
def test_hostile_json_is_rejected(values, message, place):
    edit_spec(place, **values)
    with pytest.raises(UserError, match=message) as caught:
        read(place)
    assert "\n" not in str(caught.value)


def test_a_changed_text_is_found(place):
    path = place.text_path("test")
    path.write_text(path.read_text("utf-8") + "x", encoding="utf-8")
    for load in (lambda: read(place), lambda: corpora.load(CorpusOptions(corpus=str(path.parent)))):
        with pytest.raises(UserError, match="found others"):
            load()
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="expected UTF-8"):
        read(place)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory in /proc")
def test_windows_larger_than_the_memory_used(tmp_path):
    """300 MB of windows are written, verified and read in batches; the process grows by less."""
    text = tmp_path / "long.txt"
    rng = np.random.default_rng(0)
    text.write_bytes(rng.integers(97, 123, 3_000_000, np.uint8).tobytes())
    code = """
import re, sys
from tests import test_arrays
import tensorflow as tf
from shakespeare_gen.data import windows
from shakespeare_gen.options.groups import WindowOptions
def anonymous_mb():
    status = open("/proc/self/status").read()
    return int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) / 1000
list(tf.data.Dataset.range(3).map(lambda x: x + 1))
before = anonymous_mb()
options = {"window_chars": 99, "window_stride": 1}
splits = {"validation_fraction": 0.0, "test_fraction": 0.0}
place = test_arrays.write(sys.argv[1], sys.argv[2], **splits, **options)
found = test_arrays.read(place)
plan = windows.plan(len(found.train.ids), WindowOptions(**options, random_offset=False))
for inputs, _ in windows.batches(found.windows, plan, 0, num_steps=300): pass
print(found.windows.nbytes / 1e6, anonymous_mb() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, text, tmp_path / "processed"],
        capture_output=True,
        check=False,
        cwd=pathlib.Path(__file__).parent.parent,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    size_mb, growth_mb = map(float, done.stdout.split())
    assert size_mb > 290
    assert growth_mb < 120, done.stdout


def test_an_error_of_prepare_keeps_the_arrays_that_are_there(place, text_path):
    """It once deleted their JSON file first, and training then read all three texts as one."""
    with pytest.raises(UserError, match="window"):
        write(text_path, place.folder, window_chars=10**6, overwrite=True)
    assert folder.find(str(place.folder)) == place


def test_arrays_without_their_json_file_are_refused(place):
    place.spec_path.unlink()
    with pytest.raises(UserError, match="expected arrays and their JSON file, found small_char_w"):
        folder.find(str(place.folder))
