"""`evaluate` and `compare` from the user's point of view, on a text that contains scripts."""

import dataclasses
import html
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import runs
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.evaluation import breakdown
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.options.groups import (
    AdaptationOptions,
    CorpusOptions,
    EvaluationOptions,
    ReportOptions,
)
from shakespeare_gen.report import (
    charts,
    comparison,
    curves,
    excerpts,
    page,
    tables,
    verdict,
)
from tests import fake_runs
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
    """A run whose text contains scripts in all three splits."""
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
def page_path(hostile_run, figures):
    return hostile_run.folder.evaluation_dir / "evaluation.html"


def test_every_row_states_its_protocol_and_scores_every_text(figures):
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


def test_the_frozen_row_equals_the_loss_on_the_card(figures, hostile_run):
    losses = json.loads(hostile_run.folder.card_path.read_text("utf-8"))["losses"]
    for split, loss in losses.items():
        found = figures["scores"][0]["splits"][split]["nats_per_character"]
        assert found == pytest.approx(loss, abs=1e-4)


@pytest.mark.slow
def test_an_ensemble_is_evaluated_with_every_protocol(figures, hostile_run, tmp_path):
    """Two equal models are as good as one of them, also while they adapt."""
    twin = pathlib.Path(shutil.copytree(hostile_run.path, tmp_path / "twin"))
    options = {"adapt": True, "protocol": "windows", "baselines": False, "sample_chars": 0}
    found = shakespeare_gen.evaluate_run([hostile_run.path, twin], **options)
    rows = {row["protocol"]: row for row in figures["scores"] if row["model"] == "this model"}
    assert [row["protocol"] for row in found["scores"]] == list(rows)
    for row in found["scores"]:
        for split, score in row["splits"].items():
            alone = rows[row["protocol"]]["splits"][split]["nats_per_character"]
            assert score["nats_per_character"] == pytest.approx(alone, abs=2e-4)
    assert found["parameters"] == 2 * figures["parameters"]
    assert found["run"] == f"{hostile_run.path}, {twin}"
    folder = hostile_run.folder.evaluation_dir / "ensembles"
    [made] = folder.glob("2-runs-*/evaluation.html")
    assert f"<h1>{hostile_run.path.name}, twin</h1>" in made.read_text("utf-8")


def test_runs_on_different_texts_are_not_evaluated_together(tmp_path):
    """The validation text of one run could be in the training text of another."""
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for path, text in zip(paths, ("abab\n", "baba\n", "baba\nc"), strict=True):
        fake_runs.write_run(path, text=30 * text)
    with pytest.raises(UserError, match=r"run_dir: expected runs that .* on the same text"):
        shakespeare_gen.evaluate_run(paths[:2])
    with pytest.raises(UserError, match=r"run_dir: expected runs with the same tokenizer"):
        shakespeare_gen.evaluate_run(f"{paths[1]},{paths[2]}")


def test_the_figures_are_also_written_to_a_file(figures, hostile_run):
    saved = json.loads((hostile_run.folder.evaluation_dir / "evaluation.json").read_text("utf-8"))
    assert saved["scores"] == figures["scores"]
    assert saved["copying"]["generated"]["characters"] > 700
    assert len(saved["nats_by_position"]) == 256


def test_the_page_is_small_and_self_contained(page_path):
    text = page_path.read_text("utf-8")
    assert page_path.stat().st_size < MAX_PAGE_BYTES
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", text.replace("&#34;", ""))
    assert "@import" not in text
    assert text.count("<script") == 2  # the data and the script of the page
    assert "prefers-color-scheme" in text or "color-scheme: light dark" in text


def test_a_page_with_the_longest_heatmap_stays_small():
    """50,000 tokens with 5 candidates each, in addition to plots of a few hundred kilobytes."""
    vocabulary = [chr(1000 + i) for i in range(300)]
    [field] = [f for f in dataclasses.fields(ReportOptions) if f.name == "heatmap_chars"]
    n = field.metadata["maximum"]
    ids = np.random.default_rng(0).integers(0, 300, (n, 5)).astype(np.int32)
    reading = Reading(ids[:, 0], np.full(n, 30.0), ids, np.full((n, 5), 0.001))
    data = page.heatmap(reading, [vocabulary[i] for i in ids[:, 0]], vocabulary, n)
    assert len(data.encode()) < 4_000_000


def dom_of(address, *options):
    """The DOM of a page in a browser, after its scripts have run."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not here")
    return subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", *options, "--dump-dom", address],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    ).stdout


@pytest.fixture(scope="module")
def dom(page_path):
    return dom_of(page_path.as_uri())


@pytest.mark.slow
def test_a_browser_shows_the_heatmap_and_runs_no_script_of_the_text(dom, figures):
    heatmap = re.search(r'<pre class="box" id="heatmap"[^>]*>(.*?)</pre>', dom, re.DOTALL)[1]
    spans = re.findall(r'<span[^>]*data-i="\d+"[^>]*>', heatmap)
    assert len(spans) == min(figures["texts"]["validation"]["characters"], 20_000)
    assert "&lt;" in heatmap
    assert "<title>Evaluation of" in dom
    assert "<img" not in dom


@pytest.mark.slow
def test_a_phone_shows_the_page_without_horizontal_scrolling_and_keys_move_the_inspector(
    page_path, tmp_path
):
    """The wide table once made the whole page scroll, and only a mouse could reach the tokens."""
    script = """
      const { document: inner, KeyboardEvent } = f.contentWindow;
      const box = inner.getElementById("heatmap");
      const press = (key) => box.dispatchEvent(new KeyboardEvent("keydown", { key }));
      box.focus();
      press("ArrowRight"), press("ArrowRight"), press("ArrowDown"), press("ArrowUp");
      document.title = JSON.stringify({
        widths: [inner.documentElement.scrollWidth, inner.documentElement.clientWidth],
        chosen: inner.querySelector(".chosen").dataset.i,
        inspector: inner.getElementById("inspector").innerText,
        wide: [...inner.querySelectorAll(".is-wide .scroll")].map((table) => table.tabIndex),
      });"""
    frame = f'<iframe id=f src="{page_path.as_uri()}" style="width: 360px; height: 800px"></iframe>'
    outer = tmp_path / "outer.html"
    outer.write_text(f"{frame}<script>f.onload = () => {{{script}}}</script>", "utf-8")
    shown = dom_of(outer.as_uri(), "--allow-file-access-from-files", "--virtual-time-budget=4000")
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", shown, re.DOTALL)[1]))
    assert found["widths"][0] == found["widths"][1] < 360
    assert found["chosen"] == "1"
    assert re.search(r"bits: it had a probability of .* %", found["inspector"])
    assert found["inspector"].count("%") == 6  # the token, and five candidates
    assert set(found["wide"]) == {0}  # tables wider than the phone can be reached with the keyboard


def visible_text(markup):
    """The text of a page, without that of the corpus, options and paths."""
    markup = re.sub(
        r"<(script|style|pre|code|dd|h1|title|td)\b.*?</\1>", " ", markup, flags=re.DOTALL
    )
    return html.unescape(re.sub(r"<[^>]*>", " ", markup))


def test_the_page_begins_with_a_verdict_and_every_section_is_in_the_contents(page_path, figures):
    markup = page_path.read_text("utf-8")
    for sentence in verdict.sentences(figures):
        shown = html.escape(sentence, quote=False).replace(" %", "\u00a0%")
        assert 0 < markup.find(shown) < markup.find("<main>")
    contents = re.search(r"<nav.*?</nav>", markup, re.DOTALL)[0]
    linked = re.findall(r'<a href="#(\w+)">', contents)
    assert linked == re.findall(r'<section id="(\w+)"', markup)
    assert len(linked) > 8
    for name in linked:
        assert f'<h2 id="{name}-title">' in markup


def test_the_labels_of_the_page_are_words(page_path):
    """The page once showed the key `looked_at_closely` and the names of constants."""
    assert not re.findall(r"\b\w+_\w+\b", visible_text(page_path.read_text("utf-8")))


def test_the_page_speaks_to_a_screen_reader(page_path):
    markup = page_path.read_text("utf-8")
    assert all(' scope="' in header for header in re.findall(r"<th\b[^>]*>", markup))
    charts_of_the_page = re.findall(r"<svg[^>]*>", markup)
    assert len(charts_of_the_page) == 3
    assert all('role="img" aria-label="' in chart for chart in charts_of_the_page)
    assert markup.count("<details><summary>Values</summary>") == 3
    levels = [int(level) for level in re.findall(r"<h([1-6])\b", markup)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def luminance(color):
    """Relative luminance, as WCAG 2 defines it."""
    shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_texts_stand_out_from_every_background(theme):
    """WCAG AA asks for a contrast of 4.5, also on the strongest color of the heatmap."""
    style = (pathlib.Path(page.__file__).parent / "page.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colors = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in blocks]
    assert colors[0].keys() == colors[1].keys()
    found = colors[theme]
    texts = {"ink": found.keys() - {"ink", "muted", "accent", "line", "bar", "second"}}
    texts |= {"muted": {"paper", "box", "own"}, "accent": {"paper", "box"}}
    for text, backgrounds in texts.items():
        for background in backgrounds:
            pair = sorted(luminance(found[name]) for name in (text, background))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (text, background)


def test_the_excerpts_of_lines_are_colored_by_loss():
    text = "A line of twenty chars.\nAnother line, a hard one.\n"
    bits = np.where(np.arange(len(text)) < 24, 0.5, 3.2)
    bits[text.index("hard")] = 99
    no_candidates = np.zeros((len(text), 1), int)
    reading = Reading(np.zeros(len(text), int), bits * np.log(2), no_candidates, no_candidates)
    rows = breakdown.by_line(reading, list(text))["hardest"]
    hard, easy = excerpts.lines(reading, list(text), rows)
    assert [(run.text, run.style) for run in easy["runs"]] == [("A line of twenty chars.", "h0")]
    assert [(run.text, run.style) for run in hard["runs"]] == [
        ("Another line, a ", "h3"),
        ("h", "h8"),
        ("ard one.", "h3"),
    ]


def test_a_copied_span_is_marked_beside_its_source(page_path, figures):
    markup = page_path.read_text("utf-8")
    copying = re.search(r'<section id="copying".*?</section>', markup, re.DOTALL)[0]
    marked = [html.unescape(text) for text in re.findall(r"<mark>(.*?)</mark>", copying, re.DOTALL)]
    spans = [figures["copying"][kind]["longest_span"] for kind in ("generated", "human")]
    assert marked == [spans[0], spans[0], spans[1], spans[1]]  # each one beside its source


def test_a_very_long_copied_span_is_shortened_on_the_page():
    row = {"longest_span": "ab" * 50_000, "around": ["x", "y"], "around_in_training": ["v", "w"]}
    before, span, after = excerpts.copied_spans(row)["source"]
    assert (before, after) == ("v", "w")
    assert "[…99,400 more characters…]" in span
    assert len(span) < 700


def test_an_excerpt_of_a_unit_marks_where_its_property_holds():
    pieces = list("ab\nab\n")
    outputs = np.array([[0.1], [0.1], [-0.9], [0.1], [0.1], [-0.9]])
    row = {"property": "after a line end", "unit": 0, "correlation": -1.0, "begin": 0}
    runs_of_styles = excerpts.unit(row, pieces, outputs)["runs"]
    assert [(run.text, run.style) for run in runs_of_styles] == [
        ("ab", "against2"),
        ("⏎\n", "with4 holds"),
    ] * 2


def test_the_loss_curve_has_both_losses_in_bits():
    rows = [
        {"epoch": epoch, "loss": np.log(2) * bits, "validation_loss": np.log(2) * 3}
        for epoch, bits in ((1, 4.0), (2, 2.0))
    ]
    chart = charts.training(rows)
    assert [line.label for line in chart.lines] == ["training", "validation"]
    assert chart.rows == [["1", "4.000", "3.000"], ["2", "2.000", "3.000"]]
    (x, high), (right, low) = (
        map(float, point.split(",")) for point in chart.lines[0].points.split()
    )
    assert (x, right) == (0, 100)
    assert 0 < high < 50 < low < 100  # from the top
    assert [label for _, label in chart.x_ticks] == ["1", "2"]


@pytest.mark.slow
def test_metrics_that_no_run_can_have_written_do_not_break_the_page(hostile_run, tmp_path):
    """Huge numbers cannot be drawn: their logarithm or their float does not exist."""
    path = pathlib.Path(shutil.copytree(hostile_run.path, tmp_path / "run"))
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
        for row in ({"epoch": 10**400, "loss": 1.0}, {"epoch": 3, "loss": 1e300}):
            metrics.write(json.dumps({**row, "step": 1}) + "\n")
    found = shakespeare_gen.evaluate_run(path, baselines=False, sample_chars=0)
    assert [row["epoch"] for row in found["training"]] == [1, 2]


def test_charts_of_any_run_can_be_drawn():
    assert charts.training([]) is None
    assert charts.loss_by_position([]) is None
    one = charts.training([{"epoch": 3, "loss": 0.0}])
    assert one.x_ticks == [("50", "3")]
    many = charts.training([{"epoch": i, "loss": 1 / i} for i in range(1, 30_001)])
    assert len(many.lines[0].points) < 10_000
    assert (many.rows[0][0], many.rows[-1][0]) == ("1", "30,000")


def figures_for_the_verdict(frozen=2.0, adapting=None, **changes):
    """A model and the baselines of a text of 65 symbols, in bits per character."""
    bits = {("uniform", "frozen"): 6.02, ("1-gram", "frozen"): 4.83}
    bits |= {("Kneser-Ney 6-gram", "frozen"): 2.25, ("PPMd, order 8", "adapting"): 2.0}
    if changes.pop("without_baselines", False):
        bits = {}
    bits[("this model", "frozen")] = frozen
    if adapting:
        bits[("this model + n-grams", "adapting")] = adapting
    usual = {"characters": 20_000, "share_in_loops": 0.0}
    copied = {"share_in_spans_of_50": 0.0, "longest_span_chars": 30}
    return {
        "scores": [
            {"model": model, "protocol": protocol, "splits": {"both": {"bits_per_character": loss}}}
            for (model, protocol), loss in bits.items()
        ],
        "copying": {"generated": copied, "human": copied},
        "loops": {"generated": usual, "human": usual},
        **changes,
    }


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({}, "needs 2.00 bits per character on the validation and test text, 11 % fewer than the"),
        ({}, r"best baseline, Kneser-Ney 6-gram \(2.25\)\."),
        ({"frozen": 2.26}, "2.26 bits .* about as many as the best baseline, Kneser-Ney"),
        ({"frozen": 3.0}, "33 % more than the best baseline, Kneser-Ney"),
        ({"frozen": 4.7}, "2.1 times as many as the best baseline, Kneser-Ney"),
        ({"frozen": 4.9}, r"no better than the frequencies of single tokens \(4.83\)"),
        ({"frozen": 7.5}, r"no better than guessing every token .* \(6.02\): nothing"),
        (
            {"adapting": 1.9},
            r"n-grams, it needs 1.90, 5 % fewer than the .* PPMd, order 8 \(2.00\)",
        ),
        ({"without_baselines": True}, "no baseline was scored, so it is unknown whether"),
    ],
)
def test_the_verdict_compares_the_loss_with_baselines_of_the_same_protocol(losses, expected):
    sentence, _ = verdict.sentences(figures_for_the_verdict(**losses))
    assert re.search(expected, sentence)
    assert ("PPMd" in sentence) == ("adapting" in losses)  # it learns from the text


def shares(name, generated, human, **others):
    return {"generated": {name: generated, **others}, "human": {name: human, **others}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "copies no long passage .* 30 characters, .* and it never loops"),
        (
            {"copying": shares("share_in_spans_of_50", 0.4, 0.01)},
            "it copies its training text .40.0 % .*human text: 1.0 %",
        ),
        ({"copying": shares("share_in_spans_of_50", 0.02, 0)}, "copies its .* now and then .2.0 %"),
        ({"copying": shares("share_in_spans_of_50", 0.5, 0.6)}, "copies no more than human text"),
        ({"copying": None}, "may or may not copy, because its training text was not available"),
        ({"loops": shares("share_in_loops", 0.3, 0, characters=9000)}, r"it loops \(30.0 %"),
        ({"loops": shares("share_in_loops", 0.01, 0, characters=9000)}, "it loops rarely"),
        (
            {"loops": shares("share_in_loops", 0.3, 0.4, characters=9000)},
            "loops no more than human",
        ),
        ({"loops": shares("share_in_loops", 0, 0, characters=40)}, "40 characters, too few to"),
        ({"loops": None, "copying": None}, "No text was generated, so it is unknown"),
    ],
)
def test_the_verdict_says_whether_the_model_copies_or_loops(changes, expected):
    _, sentence = verdict.sentences(figures_for_the_verdict(**changes))
    assert re.search(expected, sentence)


def test_a_token_is_only_called_a_character_if_it_is_one():
    """The page once said that characters are predicted, also for a tokenizer of words."""
    assert page.token({"test": {"characters": 9, "tokens": 9}}) == "one character"
    assert "several characters" in page.token({"test": {"characters": 9, "tokens": 4}})


def test_any_text_can_be_scored(hostile_run, tmp_path):
    place = tmp_path / "mine.txt"
    place.write_text("SPEAKER 1:\nThis is line 3.\n", encoding="utf-8")
    options = {"baselines": False, "sample_chars": 0, "text_path": str(place)}
    found = shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
    assert list(found["scores"][0]["splits"]) == ["text"]
    assert found["scores"][0]["splits"]["text"]["characters"] == 27
    assert (
        len(list(hostile_run.folder.evaluation_dir.glob("texts/mine.txt-*/evaluation.html"))) == 1
    )
    place.write_text("SPEAKER é:\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"text_path=.*mine.txt: .* received 'é' at 8; try"):
        shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
    found = shakespeare_gen.evaluate_run(str(hostile_run.path), **options, unknown="nearest")
    counted = {"characters": 11, "tokens": 11, "unknown": 0, "left_out_or_replaced": 1}
    assert found["texts"]["text"] == counted
    place.write_bytes("SPEAKER é:\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"mine.txt: expected utf-8, .* try `encoding=cp1252`"):
        shakespeare_gen.evaluate_run(str(hostile_run.path), **options, encoding="utf-8")
    shakespeare_gen.evaluate_run(str(hostile_run.path), **options, unknown="skip")
    with pytest.raises(UserError, match=r"none.txt: cannot be read"):
        shakespeare_gen.evaluate_run(
            str(hostile_run.path), **{**options, "text_path": str(tmp_path / "none.txt")}
        )
    assert not list(hostile_run.folder.evaluation_dir.glob("texts/none.txt*"))
    place.write_text("S", encoding="utf-8")
    with pytest.raises(UserError, match="expected 2 tokens of text, received 1"):
        shakespeare_gen.evaluate_run(str(hostile_run.path), **options, protocol="windows")
    found = shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
    assert found["scores"][0]["splits"]["text"]["standard_error_nats"] is None


def test_reports_of_two_texts_with_the_same_file_name_are_separate(hostile_run, tmp_path):
    """The second one once overwrote the first."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chapter.txt").write_text(f"SPEAKER 1:\nThis {name}", "utf-8")
        options = {"baselines": False, "sample_chars": 0, "unknown": "skip"}
        path = tmp_path / name / "chapter.txt"
        shakespeare_gen.evaluate_run(hostile_run.path, text_path=path, **options)
    folder = hostile_run.folder.evaluation_dir / "texts"
    assert len(list(folder.glob("chapter.txt-*/evaluation.json"))) == 2


def test_a_text_that_has_moved_is_found_by_its_hash(hostile_run, tmp_path):
    """A relative `corpus` once tied a run to its working directory."""
    path = pathlib.Path(hostile_run.spec.corpus.path)
    moved = path.rename(tmp_path / "moved.txt")
    options = {"baselines": False, "sample_chars": 0, "output_dir": tmp_path / "out"}
    try:
        with pytest.raises(UserError, match="expected"):
            shakespeare_gen.evaluate_run(hostile_run.path, **options)
        found = shakespeare_gen.evaluate_run(hostile_run.path, **options, corpus=moved)
    finally:
        moved.rename(path)
    assert found["scores"][0]["splits"]["validation"]["characters"] > 500


def test_the_test_text_can_be_skipped(hostile_run, tmp_path):
    found = shakespeare_gen.evaluate_run(
        str(hostile_run.path),
        include_test=False,
        baselines=False,
        sample_chars=0,
        heatmap_chars=0,
        output_dir=str(tmp_path),
    )
    assert list(found["scores"][0]["splits"]) == ["validation"]
    markup = (tmp_path / "evaluation.html").read_text("utf-8")
    assert "on the validation text" in markup
    assert not re.findall('id="(heatmap|samples|copying|loops)"', markup)


def test_a_corpus_other_than_that_of_the_run_is_rejected(hostile_run, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(hostile_run.path, moved)
    place = pathlib.Path(hostile_run.spec.options[CorpusOptions].corpus)
    text = place.read_text("utf-8")
    place.write_text(text + "One line more.\n", "utf-8")
    try:
        with pytest.raises(UserError, match="expected the text that the run was trained on"):
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
        PYTHONIOENCODING="ascii",  # the name of a column, ±, once ended the command
    )
    assert done.returncode == 0, done.stderr
    assert b" +- " in done.stdout
    assert b"Kneser-Ney" in done.stdout
    assert b"Repetition and drift" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(b"The model needs ")  # the verdict
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
    assert "--units" not in table  # both runs have 16
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()
    found = json.loads((tmp_path / "curves.json").read_text("utf-8"))
    assert [group["runs"] for group in found] == [[str(hostile_run.path)], [str(abab_run.path)]]
    assert [group["options"]["window_chars"] for group in found] == [32, 20]
    assert found[0]["figures"]["validation, frozen, nats"] == hostile_run.losses["validation"]
    twice = run_command("shakespeare_gen.compare", f"--run_dir={abab_run.path},{abab_run.path}")
    assert (twice.returncode, twice.stderr.count(b"\n")) == (2, 1)


def test_a_damaged_run_on_a_glob_is_skipped(hostile_run, tmp_path):
    """One unreadable folder once ended the comparison of all others."""
    shutil.copytree(hostile_run.path, tmp_path / "run-intact")
    (tmp_path / "run-damaged").mkdir()
    (tmp_path / "run-damaged" / "config.json").write_text("{", encoding="utf-8")
    done = run_command("shakespeare_gen.compare", f"--run_dir={tmp_path}/run-*")
    assert done.returncode == 0, done.stderr
    assert b"skipping a run: " in done.stderr
    for named in (f"{tmp_path}/run-damaged,{tmp_path}/run-intact", f"{tmp_path}/run-d*"):
        done = run_command("shakespeare_gen.compare", f"--run_dir={named}")
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


def test_runs_with_the_same_name_are_distinguished(hostile_run, tmp_path):
    places = [tmp_path / name / "final" for name in ("a", "b")]
    for place in places:
        shutil.copytree(hostile_run.path, place)
    every = [runs.open_run(place) for place in places]
    assert [group.name for group in comparison.compare(every)] == ["a/final", "b/final"]
    with pytest.raises(UsageError, match="expected different runs"):
        comparison.compare([every[0], every[0]])


def test_names_of_runs_are_not_formulas(tmp_path):
    rows = [{"epoch": 1, "step": 7, "loss": 2.0}, {"epoch": 2, "step": 14, "loss": 1.0}]
    result = comparison.Result(fake_runs.write_run(tmp_path / "run", epochs=()), rows, {}, 1)
    groups = [comparison.Group("a$^b", [result], {}), comparison.Group("_b$", [result] * 2, {})]
    [svg] = curves.of_runs(groups, ("svg",))
    assert b">a$^b<" in svg
    assert b"> _b$ (2 seeds)<" in svg
    assert b">Learning curves of 3 runs<" in svg
    assert curves.of_run("a$^b", rows, [{"step": 7, "loss": 2.0}]).startswith(b"\x89PNG")


def test_comparing_runs_needs_no_tensorflow(tmp_path):
    for seed in (0, 1):
        fake_runs.write_run(tmp_path / f"s{seed}", epochs=(), seed=seed)
    code = (
        "import sys; from shakespeare_gen.__main__ import main\n"
        f"main(['compare', '--run_dir={tmp_path}/s0', '--run_dir={tmp_path}/s[1-9]'])"
    )
    check = f"try:\n    {code.splitlines()[1]}\nexcept SystemExit:\n    pass"
    code = f"{code.splitlines()[0]}\n{check}\nprint('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path, text=True
    )
    assert done.stdout.endswith("False\n")
    assert re.search(r"seeds +2", done.stdout)
    written = {f"learning_curves.{kind}" for kind in ("png", "svg", "json")}
    assert {path.name for path in tmp_path.iterdir()} == {"s0", "s1", *written}


def printed(found, width):
    """The tables as a terminal of `width` columns shows them."""
    from rich.console import Console

    console = Console(width=width, file=io.StringIO())
    for table in found:
        console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "num_tables"), [(200, 1), (80, 2), (40, 9)])
def test_a_narrow_terminal_gets_every_column_in_several_tables(figures, width, num_tables):
    """Columns that did not fit were once left out."""
    found = tables.scores(figures, width)
    assert len(found) == num_tables
    columns = [str(column.header) for table in found for column in table.columns]
    assert [c for c in columns if c not in ("model", "protocol")] == [
        *("validation", "test", "both", "±", "bits/char", "top 1", "top 5", "bits/byte", "PPL")
    ]
    text = printed(found, width)
    assert "…" not in text
    assert text.count("Nats per") == 1
    if width >= 80:
        for row in figures["scores"]:
            assert f"{row['splits']['both']['nats_per_character']:.4f}" in text


def test_a_comparison_of_many_runs_is_wrapped_too(tmp_path):
    units = range(8, 20)
    every = [fake_runs.write_run(tmp_path / f"run-{n}", epochs=(), units=n) for n in units]
    found = tables.comparison(comparison.compare(every), 80)
    assert len(found) > 1
    text = printed(found, 80)
    assert text.count("--units") == len(found)
    for n in units:
        assert re.search(rf"\brun-{n}\b", text)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["ab" * 1500, "ab%%%c" * 800])
def test_runs_with_tiny_vocabularies_or_empty_samples_are_evaluated(tmp_path, text):
    """Fewer characters than candidates; samples without characters."""
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


def test_a_text_of_a_single_character_is_rejected(tmp_path):
    """Training on it once ended in a traceback from Keras."""
    place = tmp_path / "text.txt"
    place.write_text("aaaa" * 500, encoding="utf-8")
    with pytest.raises(UserError, match="at least 2 different tokens, received 'a' only"):
        shakespeare_gen.train_model(
            corpus=str(place), validation_fraction=0.5, run_dir=str(tmp_path / "run")
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapt_tune": True}, "adapt_tune: expected to be used"),
        ({"adapt_rate": 0.1}, "adapt_rate: expected to be used"),
        ({"adapt": True, "adapt_tune": True, "adapt_rate": 0.1}, "adapt_tune: expected to be used"),
        ({"adapt": True, "adapt_decay": -0.5}, "adapt_decay: expected 0 to 1, or -1"),
        ({"window_stride": 300}, "window_stride: expected at most `window_chars=256`"),
    ],
)
def test_options_that_contradict_each_other_are_rejected(options, message):
    with pytest.raises(UsageError, match=message):
        (AdaptationOptions if "window_stride" not in options else EvaluationOptions)(**options)


def test_a_diverging_step_size_is_rejected(hostile_run, tmp_path):
    options = {"adapt": True, "baselines": False, "sample_chars": 0, "output_dir": str(tmp_path)}
    with pytest.raises(UserError, match="expected a step size that keeps the loss finite"):
        shakespeare_gen.evaluate_run(str(hostile_run.path), adapt_rate=100.0, **options)


def test_without_its_corpus_a_run_still_scores_a_text(hostile_run, tmp_path):
    place = pathlib.Path(hostile_run.spec.options[CorpusOptions].corpus)
    mine = tmp_path / "mine.txt"
    mine.write_text("SPEAKER 1:\n", encoding="utf-8")
    place.rename(tmp_path / "away")
    options = {"output_dir": str(tmp_path / "out")}
    try:
        with pytest.raises(UserError, match="corpus=.*found none; `corpus=PATH` or `data_dir`"):
            shakespeare_gen.evaluate_run(str(hostile_run.path), **options)
        found = shakespeare_gen.evaluate_run(str(hostile_run.path), text_path=str(mine), **options)
    finally:
        (tmp_path / "away").rename(place)
    options |= {"corpus": "nowhere.txt", "text_path": mine}
    with pytest.raises(UserError, match=r"nowhere\.txt: expected"):  # a path that is given counts
        shakespeare_gen.evaluate_run(hostile_run.path, **options)
    assert [row["model"] for row in found["scores"]] == ["this model"]
    assert found["copying"] is None
    assert len(found["samples"]) == 3
    markup = (tmp_path / "out" / "evaluation.html").read_text("utf-8")
    assert "because its training text was not available" in markup
    assert 'id="copying"' not in markup


@pytest.mark.slow
def test_evaluations_in_one_process_add_no_memory(hostile_run, tmp_path):
    """Each one once added 40 MB, because functions were traced and compiled again."""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("this machine does not tell the memory of a process (/proc)")

    def megabytes():
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    options = {**OPTIONS, "output_dir": tmp_path}
    for _ in range(2):
        shakespeare_gen.evaluate_run(hostile_run.path, **options)
    before = megabytes()
    for seed in range(6):
        shakespeare_gen.evaluate_run(hostile_run.path, **options, sample_seed=seed)
    assert megabytes() - before < 30
