"""The spec of a run: options, tokenizer and text, in both formats; rules for resuming."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from shakespeare_gen import models, runs, train
from shakespeare_gen.data import corpora, tokenizers
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.models.recurrent import RecurrentOptions
from shakespeare_gen.options import OptionGroup, Options, option
from shakespeare_gen.options.groups import ComputeOptions, CorpusOptions
from shakespeare_gen.runs import RunFolder, checkpoints, resuming
from shakespeare_gen.system import storage
from tests import fake_runs
from tests.conftest import REPOSITORY
from tests.fake_runs import write_sealed

GOLDEN = REPOSITORY / "tests" / "golden"


@pytest.fixture
def run(tmp_path):
    return fake_runs.write_run(tmp_path / "run")


# The spec


def test_a_spec_survives_a_round_trip(tmp_path):
    spec = fake_runs.make_spec(cell="gru", dropout=0.25, min_count=3, document_separator="---")
    resumption = runs.Resumption("step-00000007", {"epochs": (1, 2), "corpus": ("a", "b")})
    folder = RunFolder(tmp_path)
    for resumed in ((), (resumption,)):
        written = runs.RunSpec(spec.options, spec.tokenizer, spec.corpus, resumed)
        runs.write_spec(folder, written)
        assert runs.read_spec(folder) == written
    assert runs.read_spec(folder).model_spec == spec.model_spec


def test_options_are_stored_flat_and_without_those_of_other_families(tmp_path, monkeypatch):
    class OtherOptions(OptionGroup):
        num_heads: int = option(8, "heads", minimum=1)

    other = models.Family(OtherOptions, models.FAMILIES["recurrent"].spec, lambda *_: None)
    monkeypatch.setitem(models.FAMILIES, "other", other)
    run = fake_runs.write_run(tmp_path / "run", epochs=())
    stored = json.loads(run.folder.config_path.read_text("utf-8"))["options"]
    assert (stored["model"], stored["units"], stored["epochs"]) == ("recurrent", 16, 20)
    assert "num_heads" not in stored
    monkeypatch.undo()  # as in a process that does not know the other family
    assert runs.open_run(run.path).spec.options[RecurrentOptions].units == 16


def test_an_option_unknown_to_the_writer_has_its_default(run):
    value = json.loads(run.folder.config_path.read_text("utf-8"))
    del value["options"]["precision"]
    write_sealed(run.folder.config_path, value)
    assert runs.open_run(run.path).spec.options[ComputeOptions].precision == "auto"


def test_runs_before_the_option_split_by_keep_their_split(run, old_folder, tmp_path):
    """Its default would cut another validation text from several files."""
    value = json.loads(run.folder.config_path.read_text("utf-8"))
    assert value["options"].pop("split_by") == "file"
    write_sealed(run.folder.config_path, value)
    for folder in (run.folder, old_folder, RunFolder(GOLDEN / "format-2")):
        assert runs.read_spec(folder).options[CorpusOptions].split_by == "corpus"
    books = tmp_path / "books"
    books.mkdir()
    for name in "ab":
        (books / f"{name}.txt").write_text(f"{name}\n" * 100, encoding="utf-8")
    options = resuming.corpus_options(runs.read_spec(run.folder), str(books))
    assert corpora.load(options).test == "b\n" * 10


@pytest.mark.parametrize("version", [3, 10**9])
def test_a_run_of_a_newer_format_is_rejected(run, version):
    value = json.loads(run.folder.config_path.read_text("utf-8"))
    write_sealed(run.folder.config_path, {**value, "format_version": version, "new_key": 1})
    with pytest.raises(UserError, match=f"expected format_version 2 at most, received {version};"):
        runs.open_run(run.path)


def test_a_spec_is_read_once(run, monkeypatch):
    """`generate` once verified `config.json` four times."""
    opened = []
    read_bytes = storage.read_bytes

    def counted(path, *arguments, **options):
        opened.append(path.name)
        return read_bytes(path, *arguments, **options)

    monkeypatch.setattr(storage, "read_bytes", counted)
    again = runs.open_run(run.path)
    checkpoints.read(again)
    assert again.spec.model_spec is again.spec.model_spec
    assert (opened.count("config.json"), opened.count("tokenizer.json")) == (1, 1)


def test_opening_a_run_imports_neither_tensorflow_nor_keras(run):
    code = (
        "import sys\nfrom shakespeare_gen import runs\n"
        "for path in sys.argv[1:]: runs.open_run(path).spec.model_spec\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-c", code, str(run.path), str(GOLDEN / "format-1")]
    assert subprocess.check_output(command, cwd=REPOSITORY, text=True) == "set()\n"


# Format 1


@pytest.fixture
def old_folder(tmp_path):
    return RunFolder(shutil.copytree(GOLDEN / "format-1", tmp_path / "old"))


def test_a_run_of_format_1_opens_like_a_current_one(old_folder):
    spec = runs.read_spec(old_folder)
    assert spec.options[RecurrentOptions].units == 32
    assert spec.options[tokenizers.TokenOptions].tokens == "characters"
    assert spec.tokenizer.size == 31
    assert spec.corpus.name == "golden.txt"
    assert spec.corpus.path == ""
    checkpoint = checkpoints.read(runs.open_run(old_folder.path), verify_training=True)
    assert checkpoint.progress.epoch == 22


def test_a_run_of_format_1_is_upgraded_when_it_is_resumed(old_folder):
    before = runs.open_run(old_folder.path)
    runs.write_spec(old_folder, before.spec)
    after = runs.open_run(old_folder.path)
    assert after.spec == before.spec
    assert json.loads(old_folder.config_path.read_text("utf-8"))["format_version"] == 2
    assert not old_folder.vocabulary_path.exists()
    found, expected = (checkpoints.read(run, verify_training=True) for run in (after, before))
    assert (found.place, found.progress) == (expected.place, expected.progress)


@pytest.mark.parametrize("num_writes", [0, 1, 2])
def test_a_kill_during_the_upgrade_from_format_1_leaves_a_run(old_folder, monkeypatch, num_writes):
    """Killed before the first file, after the tokenizer, and before the old file is deleted."""
    before, write, written = runs.read_spec(old_folder), storage.write, []
    vocabulary = old_folder.vocabulary_path.read_bytes()

    def killed(path, data):
        if len(written) == num_writes:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(storage, "write", killed)
        runs.write_spec(old_folder, before)
    assert len(written) == num_writes
    if num_writes == 2:
        old_folder.vocabulary_path.write_bytes(vocabulary)
    assert runs.read_spec(old_folder) == before
    assert old_folder.is_a_run()
    runs.write_spec(old_folder, before)
    assert runs.read_spec(old_folder) == before
    assert not old_folder.vocabulary_path.exists()


def test_a_new_run_that_is_killed_after_its_first_file_can_be_restarted(tmp_path):
    spec = fake_runs.make_spec()
    folder = RunFolder(tmp_path / "run")
    folder.make()
    runs.write_spec(folder, spec)
    folder.config_path.unlink()  # the tokenizer is written first
    folder.make()
    folder.empty(overwrite=False)
    assert os.listdir(folder.path) == []


# Resuming


def given(**values):
    """The options of a command with `values` given."""
    return Options.parse(train.groups(), values)


def test_a_resumed_run_keeps_its_options_and_takes_new_ones(run):
    options = resuming.resumed_options(run.spec, given(epochs=30, learning_rate=0.5, run_dir="x"))
    assert options == run.spec.options.replaced(epochs=30, learning_rate=0.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("units", 9, "^units: expected 16, as in the run that is resumed, received 9$"),
        ("optimizer", "sgd", "^optimizer: expected 'adamw'"),
        ("momentum", 0.5, "^momentum: expected 0.0"),
        ("seed", 3, "^seed: expected 0"),
        ("min_count", 2, "^min_count: expected 1"),
        ("precision", "bfloat16", "^precision: expected 'auto'"),
        ("encoding", "cp1252", "^encoding: expected 'auto'"),
    ],
)
def test_options_of_the_model_and_its_data_cannot_change(run, name, value, message):
    with pytest.raises(UsageError, match=message):
        resuming.resumed_options(run.spec, given(**{name: value}))
    saved = run.spec.options.by_name()[name]
    assert resuming.resumed_options(run.spec, given(**{name: saved})) == run.spec.options


def test_a_resumption_records_the_changes(run):
    options = resuming.resumed_options(run.spec, given(epochs=30, units=16))
    spec = resuming.resumed_spec(run.spec, options, fake_runs.make_corpus(), "step-00000007")
    assert spec.resumed == (runs.Resumption("step-00000007", {"epochs": (20, 30)}),)
    assert (spec.options, spec.tokenizer) == (options, run.spec.tokenizer)
    again = resuming.resumed_spec(spec, spec.options, fake_runs.make_corpus(), "step-00000014")
    assert [r.changed for r in again.resumed] == [{"epochs": (20, 30)}, {}]
    runs.write_spec(run.folder, again)
    assert runs.open_run(run.path).spec == again


def test_the_text_of_a_run_is_found_from_another_folder(tmp_path, monkeypatch):
    """A relative path once tied a run to its working directory."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("abab.txt").write_text(fake_runs.TEXT, encoding="utf-8")
    run = fake_runs.write_run("run")
    path = str(tmp_path / "abab.txt")
    assert run.spec.corpus.path == path
    monkeypatch.chdir("/")
    assert resuming.corpus_options(run.spec).corpus == path
    (tmp_path / "moved").mkdir()
    (tmp_path / "abab.txt").rename(tmp_path / "moved" / "abab.txt")
    monkeypatch.chdir(tmp_path / "moved")  # the run and its text have moved together
    assert resuming.corpus_options(run.spec).corpus == "abab.txt"


def test_the_text_of_a_run_may_have_a_new_location(run):
    options = resuming.resumed_options(run.spec, given(corpus="moved/abab.txt", data_dir="tfds"))
    found = resuming.corpus_options(run.spec, "moved/abab.txt", "tfds")
    assert (found.corpus, found.data_dir) == ("moved/abab.txt", "tfds")
    corpus = fake_runs.make_corpus("moved/abab.txt")
    resuming.check_corpus(run.spec, corpus)
    spec = resuming.resumed_spec(run.spec, options, corpus, "step-00000007")
    assert spec.corpus == runs.CorpusFacts.of(corpus, "moved/abab.txt")
    assert spec.corpus.path == os.path.abspath("moved/abab.txt")
    assert spec.options[CorpusOptions].corpus == "moved/abab.txt"


def test_another_text_is_rejected(run):
    other = fake_runs.make_corpus(text="ab\n" * 9)
    with pytest.raises(UserError, match=r"^corpus=abab\.txt: expected the text .*\(SHA-256 946e69"):
        resuming.check_corpus(run.spec, other)


def test_a_run_that_was_trained_on_the_fallback_corpus_keeps_it(tmp_path):
    spec = fake_runs.make_spec(corpus="plays", fallback_corpus="abab.txt", name="abab.txt")
    assert (spec.corpus.requested, spec.corpus.name) == ("plays", "abab.txt")
    for corpus in ("", "plays"):
        found = resuming.corpus_options(spec, corpus)
        assert (found.corpus, found.fallback_corpus) == ("abab.txt", "")
    corpus = fake_runs.make_corpus("abab.txt")
    resumed = resuming.resumed_spec(spec, spec.options, corpus, "step-00000007")
    assert resumed.corpus == spec.corpus


def test_a_run_without_a_checkpoint_cannot_be_resumed(tmp_path):
    with pytest.raises(UserError, match="^resume: expected a run with a checkpoint in"):
        resuming.check_can_resume(RunFolder(tmp_path / "none"))
