"""What a notebook shows: the live curve, surprise maps, and figures as tables."""

import base64
import itertools
import json
import re
import sys
import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from absl import logging as absl_logging

import shakespeare_gen
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.generation import Generator
from shakespeare_gen.report import curves, live_curve
from shakespeare_gen.runs import open_run
from tests.fake_runs import write_run

SVG = "{http://www.w3.org/2000/svg}"
SMALL = dict(units=8, embedding_size=4, window_chars=20, batch_size=16, warmup_steps=2)


class FakeHandle:
    """The handle of an output that can be updated; `contents` are all it ever showed."""

    def __init__(self, data):
        self.contents = [data]

    def update(self, data, raw, metadata):
        assert raw
        self.contents.append(data)


@pytest.fixture
def shown(monkeypatch):
    """The outputs of a notebook, in a process that takes itself for its kernel."""
    handles = []

    def display(data, raw, metadata, display_id):
        assert raw
        assert display_id is True
        handles.append(FakeHandle(data))
        return handles[-1]

    ipython = types.ModuleType("IPython")
    ipython.version_info = (9, 0)  # matplotlib looks at it
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    logger = absl_logging.get_absl_logger()
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    before = absl_logging.get_verbosity()
    yield handles
    absl_logging.set_verbosity(before)


@pytest.mark.slow
def test_training_in_a_notebook_updates_one_curve_and_one_sample(
    shown, abab_path, tmp_path, capsys
):
    run = shakespeare_gen.train_model(
        corpus=str(abab_path),
        run_dir=str(tmp_path / "run"),
        epochs=2,
        sample_every_steps=5,
        **SMALL,
    )
    figure, sample = shown
    assert base64.b64decode(figure.contents[-1]["image/png"]).startswith(b"\x89PNG")
    last_step = run.metrics()[-1]["step"]
    assert re.fullmatch(rf"run: {last_step} steps in 0:\d\d min", figure.contents[-1]["text/plain"])
    assert figure.contents[0]["text/plain"].startswith(f"run: step 0 of {last_step}")
    number, text = run.samples()[-1]
    assert number == 2
    assert f"after step {last_step}:\n\n{text}" in sample.contents[-1]["text/plain"]
    output = capsys.readouterr()
    assert output.err == ""
    assert re.findall(r"^epoch (\d)/2: training", output.out, re.MULTILINE) == ["1", "2"]
    assert "%|" not in output.out
    assert text not in output.out


@pytest.mark.slow
def test_runs_of_several_seeds_share_a_curve(shown, abab_path, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, "live", lambda title, found: drawn.append(found) or b"")
    shakespeare_gen.train_model(
        corpus=str(abab_path), run_dir=str(tmp_path / "run"), epochs=1, seeds=[3, 4], **SMALL
    )
    assert [output for handle in shown for output in handle.contents[0] if "/png" in output]
    assert [curve.name for curve in drawn[-1]] == ["run-seed-3", "run-seed-4"]
    assert all(len(curve.epochs) == 1 for curve in drawn[-1])


def test_drawing_takes_a_small_share_of_the_time(shown, tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(live_curve.time, "monotonic", lambda: next(clock) * 0.01)
    monkeypatch.setattr(curves, "live", lambda title, found: b"")
    run = write_run(tmp_path / "run")
    with live_curve.shown() as watch:
        for step in range(2000):
            watch(run, step, 2000)
    [figure] = (handle for handle in shown if "image/png" in handle.contents[0])
    assert 3 <= len(figure.contents) < 50


def test_nothing_is_shown_outside_a_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "live", lambda title, found: pytest.fail("drawn"))
    with live_curve.shown() as watch:
        watch(write_run(tmp_path / "run"), 1, 2)


def test_the_live_curve_is_a_picture_before_the_first_row(tmp_path):
    assert curves.live("$x_", [curves.Curve("_run", [], [], 7.0)] * 2).startswith(b"\x89PNG")


@pytest.fixture
def generator(tmp_path):
    run = write_run(tmp_path / "run", text="<ab> & c\n\tI")
    return shakespeare_gen.load_generator(run, engine="numpy")


def test_a_surprise_map_has_the_bits_of_every_token(generator):
    text = "<a>\n\n\tb & cI"
    found = shakespeare_gen.surprise_map(generator, text, before="ab")
    assert "".join(found.tokens) == text
    expected = -generator.score(text, start=generator.read("ab")) / np.log(2)
    np.testing.assert_allclose(found.bits, expected, rtol=1e-5)
    assert found.mean_bits == pytest.approx(expected.mean(), rel=1e-5)
    best, probability = generator.next_tokens("ab", k=1)[0]
    assert found.candidates[0][0] == (best, pytest.approx(probability, rel=1e-5))


def test_a_surprise_map_is_a_picture_with_a_tip_for_every_token(generator):
    text = "<a> & b\nc" + "a" * 100
    root = ElementTree.fromstring(shakespeare_gen.surprise_map(generator, text)._repr_svg_())
    tips = [title.text for title in root.iter(f"{SVG}title")]
    assert len(tips) == len(text)
    assert re.match(r"'<': \d+\.\d bits\. Likely: .* \d+\.\d %", tips[0])
    assert tips[7].startswith("line end: ")
    lines = [element.text for element in root.iter(f"{SVG}text")]
    assert lines[:3] == ["<a> & b", "c" + "a" * 79, "a" * 21]
    width = float(root.get("width"))
    boxes = [b for b in root.iter(f"{SVG}rect") if b.get("x")]
    assert all(float(box.get("x")) + float(box.get("width")) <= width for box in boxes)


def test_the_colors_of_a_surprise_map_follow_the_bits(generator):
    found = shakespeare_gen.surprise_map(generator, "ab")
    certain = type(found)(["a", "b"], np.array([0.5, 7.5], "f"), [[], []])
    root = ElementTree.fromstring(certain._repr_svg_())
    fills = [box.get("fill") for box in root.iter(f"{SVG}rect") if len(box)]
    assert fills[0] == "#fffefb"
    assert fills[1] == "#f3854f"  # --h7 of the page


def test_a_surprise_map_needs_a_text_that_the_model_knows(generator):
    with pytest.raises(UsageError, match="text: expected 1 to 10,000 characters, received 0"):
        shakespeare_gen.surprise_map(generator, "")
    with pytest.raises(UsageError, match="received 10,001"):
        shakespeare_gen.surprise_map(generator, "a" * 10_001)
    with pytest.raises(UserError, match="prompt"):
        shakespeare_gen.surprise_map(generator, "ab?")
    assert shakespeare_gen.surprise_map(generator, "a?b", unknown="skip").tokens == ["a", "b"]


def test_a_model_of_bytes_colors_parts_of_characters(tmp_path):
    run = write_run(tmp_path / "run", text="naïve", tokens="bytes")
    found = shakespeare_gen.surprise_map(shakespeare_gen.load_generator(run), "ï")
    assert "".join(found.tokens) == "ï"
    ElementTree.fromstring(found._repr_svg_())


def test_compared_runs_are_figures_and_a_table(tmp_path):
    runs = [
        write_run(tmp_path / f"<{units}>-seed-{seed}", units=units, seed=seed)
        for units in (8, 16)
        for seed in (0, 1)
    ]
    found = shakespeare_gen.compare_runs(runs)
    assert [group["name"] for group in found["groups"]] == ["<8>", "<16>"]
    assert [group["figures"]["seeds"] for group in found["groups"]] == [2, 2]
    assert found == json.loads(json.dumps(found))
    markup = found._repr_html_()
    assert "&lt;16&gt;</th>" in markup
    assert "mean ± standard deviation" in markup
    cells = re.sub(' style="text-align: (left|right)"', "", markup)
    assert '<td align="left">--units</td><td align="right">8</td>' in cells


def test_a_described_corpus_is_figures_and_tables(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"Line {i} & so on.\n" for i in range(300)), "utf-8")
    found = shakespeare_gen.describe_corpus(corpus=str(path))
    assert found["splits"]["train"]["characters"] > 4000
    assert "--auto_size" not in found["training"]["recipe"]
    markup = found._repr_html_()
    assert markup.count("<table>") == 5
    with pytest.raises(UsageError, match="unknown"):
        shakespeare_gen.describe_corpus(corpus=str(path), units=3)


@pytest.mark.slow
def test_an_evaluated_run_is_figures_and_a_table(abab_run, tmp_path):
    found = shakespeare_gen.evaluate_run(
        abab_run, output_dir=str(tmp_path), sample_chars=0, baselines=False
    )
    assert found["scores"][0]["model"] == "this model"
    assert json.loads((tmp_path / "evaluation.json").read_text("utf-8")) == found
    assert ">this model</td>" in found._repr_html_()
    assert "<p>The model needs " in found._repr_html_()


def test_the_samples_of_a_run_have_their_numbers(tmp_path):
    run = write_run(tmp_path / "run")
    run.folder.append_sample(1, "first", "epoch")
    run.folder.append_sample(5, "second", "step")
    opened = open_run(run.path)
    assert opened.samples()[-1] == (1, "first")
    assert opened.samples("step") == [(5, "second")]
    assert isinstance(shakespeare_gen.load_generator(run), Generator)
