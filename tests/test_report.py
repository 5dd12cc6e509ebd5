"""`evaluate`, `plot` and `inspect` as a person meets them, on a text that wants to be a script."""

import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import runs
from shakespeare_gen.data.corpora import Corpus
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.evaluation import corpus_statistics
from shakespeare_gen.options import groups
from shakespeare_gen.report import comparison, plots, tables
from tests.conftest import REPOSITORY
from tests.test_commands import run as run_command

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
OPTIONS = {
    "baselines": True,
    "sample_chars": 800,
    "adapt": True,
    "mix": True,
    "protocol": "windows",
}
MAX_PAGE_BYTES = 5_000_000


@pytest.fixture(scope="module")
def hostile_run(small_text, tmp_path_factory):
    """A run whose text holds scripts, in all three splits."""
    folder = tmp_path_factory.mktemp("hostile")
    text = "".join(f"{speech}\n\n{HOSTILE}\n\n" for speech in small_text.split("\n\n"))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    return shakespeare_gen.train_model(
        corpus=str(folder / "text.txt"),
        validation_fraction=0.2,
        test_fraction=0.2,
        run_dir=str(folder / "run"),
        units=16,
        embedding_size=8,
        window_chars=32,
        batch_size=16,
        epochs=2,
        sample_every_epochs=0,
    )


@pytest.fixture(scope="module")
def figures(hostile_run):
    return shakespeare_gen.evaluate_run(str(hostile_run.path), **OPTIONS)


@pytest.fixture(scope="module")
def page(hostile_run, figures):
    return hostile_run.evaluation_dir / "evaluation.html"


def test_every_row_names_its_protocol_and_scores_every_text(figures):
    rows = [(row["model"], row["protocol"]) for row in figures["scores"]]
    assert rows[:4] == [
        ("this model", "frozen"),
        ("this model", "windows of 256"),
        ("this model", "adapting"),
        ("this model + n-grams", "adapting"),
    ]
    assert ("uniform", "frozen") in rows
    assert {name for name, protocol in rows[4:] if protocol == "adapting"} >= {
        "PPMd, order 8",
        "lzma",
        "bz2",
        "zlib",
    }
    assert len(set(rows)) == len(rows)
    for row in figures["scores"]:
        splits = row["splits"]
        assert list(splits) == ["validation", "test", "both"]
        nats, chars = (
            [splits[s][key] for s in splits] for key in ("nats_per_character", "characters")
        )
        assert chars[0] + chars[1] == chars[2]
        assert nats[2] == pytest.approx(np.average(nats[:2], weights=chars[:2]), rel=1e-5)


def test_the_frozen_row_is_the_loss_of_training(figures, hostile_run):
    losses = json.loads(hostile_run.card_path.read_text("utf-8"))["losses"]
    for split, loss in losses.items():
        found = figures["scores"][0]["splits"][split]["nats_per_character"]
        assert found == pytest.approx(loss, abs=1e-4)


def test_the_figures_are_a_file_too(figures, hostile_run):
    saved = json.loads((hostile_run.evaluation_dir / "evaluation.json").read_text("utf-8"))
    assert saved["scores"] == figures["scores"]
    assert saved["copying"]["generated"]["characters"] > 700
    assert len(saved["nats_by_position"]) == 256


def test_the_page_is_one_small_file_that_needs_no_other(page):
    text = page.read_text("utf-8")
    assert page.stat().st_size < MAX_PAGE_BYTES
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", text.replace("&#34;", ""))
    assert "@import" not in text
    assert text.count("<script") == 2  # the data and ours
    assert "prefers-color-scheme" in text or "color-scheme: light dark" in text


def test_a_page_of_the_longest_heatmap_stays_small():
    """50,000 characters of 5 candidates each, beside pictures of a few hundred kilobytes."""
    from shakespeare_gen.data.tokenizers.characters import Vocabulary
    from shakespeare_gen.evaluation.likelihood import Reading
    from shakespeare_gen.report import page

    vocabulary = Vocabulary("".join(map(chr, range(1000, 1300))))
    n = groups.EvaluationOptions.__dataclass_fields__["heatmap_chars"].metadata["maximum"]
    ids = np.random.default_rng(0).integers(0, 300, (n, 5)).astype(np.int32)
    reading = Reading(ids[:, 0], np.full(n, 30.0), ids, np.full((n, 5), 0.001))
    data = page._for_script(page._heatmap(reading, vocabulary.decode(ids[:, 0]), vocabulary, n))
    assert len(data.encode()) < 4_000_000


@pytest.fixture(scope="module")
def dom(page):
    """What a browser made of the page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not here")
    return subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    ).stdout


@pytest.mark.slow
def test_a_browser_shows_the_heatmap_and_runs_no_script_of_the_text(dom, figures):
    heatmap = re.search(r'<pre class="box" id="heatmap">(.*?)</pre>', dom, re.DOTALL)[1]
    spans = re.findall(r'<span[^>]*data-i="\d+"[^>]*>', heatmap)
    assert len(spans) == min(figures["texts"]["validation"]["characters"], 20_000)
    assert "&lt;" in heatmap
    assert "<title>Evaluation of" in dom
    assert "<img" not in dom


def test_any_text_can_be_scored(hostile_run, tmp_path):
    place = tmp_path / "mine.txt"
    place.write_text("SPEAKER 1:\nThis is line 3.\n", encoding="utf-8")
    options = {"baselines": False, "sample_chars": 0, "text_path": str(place)}
    found = shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
    assert list(found["scores"][0]["splits"]) == ["text"]
    assert found["scores"][0]["splits"]["text"]["characters"] == 27
    assert (hostile_run.evaluation_dir / "texts" / "mine.txt" / "evaluation.html").exists()
    place.write_text("SPEAKER é:\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"--text_path=.*mine.txt: .* received 'é' at 8; try"):
        shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
    found = shakespeare_gen.evaluate_run(str(hostile_run.path), **options, unknown="nearest")
    counted = {"characters": 11, "unknown": 0, "left_out_or_replaced": 1}
    assert found["texts"]["text"] == counted
    place.write_bytes("SPEAKER é:\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"mine.txt: expected utf-8, .* try --encoding=cp1252"):
        shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
    shakespeare_gen.evaluate_run(
        str(hostile_run.path), **options, unknown="skip", encoding="cp1252"
    )
    with pytest.raises(UserError, match=r"none.txt: can't be read"):
        shakespeare_gen.evaluate_run(
            str(hostile_run.path), **{**options, "text_path": str(tmp_path / "none.txt")}
        )
    assert not (hostile_run.evaluation_dir / "texts" / "none.txt").exists()
    place.write_text("S", encoding="utf-8")
    with pytest.raises(UserError, match="expected 2 characters of text, received 1"):
        shakespeare_gen.evaluate_run(str(hostile_run.path), **options, protocol="windows")
    found = shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
    assert found["scores"][0]["splits"]["text"]["standard_error_nats"] is None


def test_test_text_can_be_left_alone(hostile_run, tmp_path):
    found = shakespeare_gen.evaluate_run(
        str(hostile_run.path),
        include_test=False,
        baselines=False,
        sample_chars=0,
        output_dir=str(tmp_path),
    )
    assert list(found["scores"][0]["splits"]) == ["validation"]
    assert (tmp_path / "evaluation.html").exists()


def test_another_corpus_than_the_runs_is_refused(hostile_run, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(hostile_run.path, moved)
    place = pathlib.Path(hostile_run.read_config()["corpus"]["corpus"])
    text = place.read_text("utf-8")
    place.write_text(text + "One line more.\n", "utf-8")
    try:
        with pytest.raises(UserError, match="expected the corpus .* it was trained on"):
            shakespeare_gen.evaluate_run(str(moved))
    finally:
        place.write_text(text, "utf-8")


@pytest.mark.slow
def test_the_commands_print_tables_and_one_line_errors(hostile_run, abab_run, tmp_path):
    done = run_command(
        "shakespeare_gen.evaluate",
        f"--run_dir={hostile_run.path}",
        "--sample_chars=400",
        f"--output_dir={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    assert b"Kneser-Ney" in done.stdout
    assert b"Loops and drift" in done.stdout
    none = run_command("shakespeare_gen.evaluate", f"--run_dir={tmp_path / 'none'}")
    assert (none.returncode, none.stderr.count(b"\n")) == (1, 1)
    wrong = run_command("shakespeare_gen.evaluate", f"--run_dir={hostile_run.path}", "--mix")
    assert (wrong.returncode, wrong.stderr.count(b"\n")) == (2, 1)

    both = f"--run_dir={hostile_run.path},{abab_run.path}"
    done = run_command("shakespeare_gen.compare", both, f"--output={tmp_path / 'curves'}")
    assert done.returncode == 0, done.stderr
    table = done.stdout.decode()
    assert re.search(r"--window_chars +32 +20", table)
    assert "test, frozen, nats" in table
    assert "--units" not in table  # both have 16
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()
    twice = run_command("shakespeare_gen.compare", f"--run_dir={abab_run.path},{abab_run.path}")
    assert (twice.returncode, twice.stderr.count(b"\n")) == (2, 1)

    corpus = hostile_run.read_config()["corpus"]["corpus"]
    done = run_command("shakespeare_gen.describe", f"--corpus={corpus}")
    assert done.returncode == 0, done.stderr
    assert b"flags/own_text.cfg" in done.stdout
    none = run_command("shakespeare_gen.describe", f"--corpus={tmp_path / 'none.txt'}")
    assert (none.returncode, none.stderr.count(b"\n")) == (1, 1)


def test_an_inspection_finds_what_was_planted():
    rng = np.random.default_rng(0)
    block, shared = ("".join(rng.choice(list("abcdefg \n"), size)) for size in (300, 120))
    noise = ["".join(rng.choice(list("abcdefg \n"), 1000)) for _ in range(4)]
    train = noise[0] + block + noise[1] + block + shared + "é"
    found = corpus_statistics.inspect(Corpus("planted", train, noise[2] + shared, noise[3] + "€"))
    assert found["splits"]["validation"]["shared_with_train"] == pytest.approx(120 / 1120)
    assert found["splits"]["test"]["shared_with_train"] == 0
    assert found["splits"]["test"]["shared_with_validation"] == 0
    assert found["splits"]["train"]["not_ascii"] == pytest.approx(1 / len(train))
    facts = found["facts"]
    assert facts["encoding"] == "utf-8, clean"
    damaged = corpus_statistics.inspect(Corpus("damaged", "a\ufffdb\x07" * 9, "", ""), "cp1252")
    assert damaged["facts"]["encoding"] == (
        "cp1252: 9 undecodable places, 1 kinds of control characters"
    )
    misread = "Café, “naïve”".encode().decode("cp1252", "replace").replace("\ufffd", "")
    misread = corpus_statistics.inspect(Corpus("misread", misread, "", ""), "cp1252")
    assert "look like UTF-8 read as something else" in misread["facts"]["encoding"]
    real = corpus_statistics.inspect(Corpus("real", "Café, “naïve”, Ärger, ßß", "", ""), None)
    assert real["facts"]["encoding"] == "Unicode, from no file, clean"
    assert "--corpus=planted" in facts["recipe"]
    assert facts["characters that training lacks"] == "1: '€'"
    assert facts["characters seen fewer than 10 times"] == "1: 'é' 1"
    assert facts["share of training text in repeated blocks of 100"] == f"{300 / len(train):.1%}"
    assert facts["longest block that stands there twice"].startswith(
        "300 characters, first at 1,000"
    )
    bits = [row["validation_bits"] for row in found["entropy"]]
    assert bits[0] == pytest.approx(np.log2(9), abs=0.1)
    falling = [row["training_bits"] for row in found["entropy"]]
    assert falling == sorted(falling, reverse=True)


def test_the_entropy_of_a_text_is_that_of_its_counts():
    ids = np.array([0, 1] * 500)
    assert corpus_statistics.conditional_entropy(ids, 0) == pytest.approx(np.log(2))
    assert corpus_statistics.conditional_entropy(ids, 1) == pytest.approx(0, abs=0.01)  # the start


@pytest.mark.parametrize("recipe", corpus_statistics.RECIPES, ids=lambda recipe: recipe.path)
def test_the_recipes_that_are_recommended_are_the_files(recipe):
    flags = dict(re.findall(r"^--(\w+)=(.*)$", (REPOSITORY / recipe.path).read_text(), re.M))
    assert int(flags["epochs"]) == recipe.epochs
    defaults = groups.ModelOptions()
    for name, value in recipe.model.items():
        assert str(value) == flags.get(name, str(getattr(defaults, name))), name


def test_a_short_text_is_inspected_too():
    found = corpus_statistics.inspect(Corpus("short", "abc", "", ""))
    assert list(found["splits"]) == ["train"]
    assert found["entropy"][0]["validation_bits"] is None


def test_runs_of_one_name_are_told_apart(hostile_run, tmp_path):
    places = [tmp_path / name / "final" for name in ("a", "b")]
    for place in places:
        shutil.copytree(hostile_run.path, place)
    every = [runs.Run(str(place)) for place in places]
    assert list(comparison.compare(every)) == ["a/final", "b/final"]
    with pytest.raises(UsageError, match="expected different runs"):
        comparison.compare([every[0], every[0]])


def test_names_of_runs_are_no_formulas():
    rows = [{"epoch": 1, "loss": 2.0, "validation_loss": 2.1}, {"epoch": 2, "loss": 1.0}]
    [svg] = plots.learning_curves({"a$^b": rows, "_b$": rows}, ("svg",))
    assert b"training, _b$" in svg
    assert b"validation, a$^b" in svg


@pytest.mark.parametrize(("width", "last"), [(200, "perpl."), (98, "top 1"), (40, "both")])
def test_a_narrow_terminal_gets_fewer_figures_but_whole_ones(figures, width, last):
    table = tables.scores(figures, width)
    assert str(table.columns[-1].header).startswith(last)


def test_text_in_tables_is_text(capsys):
    """Names and excerpts once were markup to the terminal: `[a-z]` vanished, `[/b]` ended in a
    traceback, `:smile:` became a face."""
    name = "texts/[a-z]*[/b]:smile:.txt"
    tables.show(*tables.inspection(corpus_statistics.inspect(Corpus(name, name * 40, "", ""))))
    shown = capsys.readouterr().out
    assert f"Corpus {name}" in shown


@pytest.mark.parametrize("text", ["ab" * 1500, "ab%%%c" * 800])
def test_a_run_of_few_characters_and_one_that_ends_at_once_are_evaluated(tmp_path, text):
    """Fewer characters than candidates; samples of no character at all."""
    place = tmp_path / "text.txt"
    place.write_text(text, encoding="utf-8")
    run = shakespeare_gen.train_model(
        corpus=str(place),
        run_dir=str(tmp_path / "run"),
        units=8,
        embedding_size=4,
        window_chars=16,
        epochs=1,
        sample_every_epochs=0,
        document_separator="%%%",
    )
    found = shakespeare_gen.evaluate_run(str(run.path), sample_chars=400, adapt=True)
    assert found["scores"][0]["splits"]["both"]["top_5_accuracy"] == pytest.approx(1)
    assert found["style"]["human"] is not None


def test_a_text_of_one_character_trains_nothing(tmp_path):
    """It once ended in a traceback of Keras."""
    place = tmp_path / "text.txt"
    place.write_text("aaaa" * 500, encoding="utf-8")
    with pytest.raises(UserError, match="at least 2 different characters, received 'a' alone"):
        shakespeare_gen.train_model(
            corpus=str(place), validation_fraction=0.5, run_dir=str(tmp_path / "run")
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapt_tune": True}, "--adapt_tune: expected --adapt"),
        ({"adapt_rate": 0.1}, "--adapt_rate: expected --adapt"),
        ({"adapt": True, "adapt_tune": True, "adapt_rate": 0.1}, "--adapt_tune: expected no"),
        ({"adapt": True, "adapt_decay": -0.5}, "--adapt_decay: expected 0 to 1, or -1"),
        ({"window_stride": 300}, "--window_stride: expected at most --window_chars=256"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        groups.EvaluationOptions(**options)


def test_a_step_that_runs_away_is_refused(hostile_run, tmp_path):
    options = {"adapt": True, "baselines": False, "sample_chars": 0, "output_dir": str(tmp_path)}
    with pytest.raises(UserError, match="expected a step that keeps the loss finite"):
        shakespeare_gen.evaluate_run(str(hostile_run.path), adapt_rate=100.0, **options)


def test_without_its_corpus_a_run_still_scores_a_text(hostile_run, tmp_path):
    place = pathlib.Path(hostile_run.read_config()["corpus"]["corpus"])
    mine = tmp_path / "mine.txt"
    mine.write_text("SPEAKER 1:\n", encoding="utf-8")
    place.rename(tmp_path / "away")
    options = {"output_dir": str(tmp_path / "out")}
    try:
        with pytest.raises(UserError, match="run: --corpus=.*found none; --text_path=FILE"):
            shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
        found = shakespeare_gen.evaluate_run(str(hostile_run.path), text_path=str(mine), **options)
    finally:
        (tmp_path / "away").rename(place)
    assert [row["model"] for row in found["scores"]] == ["this model"]
    assert found["copying"] is None
    assert len(found["samples"]) == 3


def test_the_pictures_of_the_page_take_its_colour():
    svg = plots.loss_by_position([3.0, 2.0, 1.5, 1.4])
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "#000000" not in svg
