"""The format html without a browser: its scripts in Node against the package itself.

WABT is looked for in the folder that WABT_DIR names: `npm install wabt` there.
"""

import json
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest

from shakespeare_gen import export
from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting import job
from shakespeare_gen.exporting.html_file import assembler, bundle, content, node, page, quantization
from shakespeare_gen.exporting.html_file.content import Content
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.generation import Generator
from shakespeare_gen.options import Options
from shakespeare_gen.runs import loading
from tests import fake_runs
from tests.conftest import REPOSITORY

ENGINE = REPOSITORY / "shakespeare_gen" / "exporting" / "html_file" / "engine"
HOSTILE = "</script><img src=x onerror=\"document.title='hit'\">&amp;\n"
TEXT = "O, she doth teach the torches to burn bright!\nIt seems she hangs upon\n\nthe cheek.\n" * 2
SMALL = {"text": TEXT, "units": 10, "embedding_size": 6}
TRANSFORMER = {"text": TEXT, "model": "transformer", "width": 24, "num_heads": 2}
MODELS = {
    "lstm": SMALL,
    "lstm, 2 layers, one-hot": {**SMALL, "embedding_size": 0, "num_layers": 2},
    "gru": {**SMALL, "cell": "gru", "num_layers": 2, "residual": True},
    "simple_rnn": {**SMALL, "cell": "simple_rnn"},
    "min_gru": {**SMALL, "cell": "min_gru", "num_layers": 2},
    "min_lstm": {**SMALL, "cell": "min_lstm"},
    "handcrafted": {**SMALL, "cell": "handcrafted"},
    "transformer": {**TRANSFORMER, "num_layers": 2, "context_tokens": 12},
    "transformer, tied": {**TRANSFORMER, "tied_embeddings": True, "mlp": "gelu"},
    "unknown id": {**SMALL, "unknown_id": True, "min_count": 3},
    "bytes": {**SMALL, "text": TEXT + "é\x03\n", "tokens": "bytes"},
    "words": {**SMALL, "text": TEXT + "naïve, naïve\x03\n", "tokens": "words"},
    "hostile": {**SMALL, "text": HOSTILE},
}
SAMPLINGS = (
    {},
    {"temperature": 0.0},
    {"temperature": 0.6, "top_k": 5},
    {"top_p": 0.8},
    {"top_k": 9, "top_p": 0.7},
    {"min_p": 0.1},
    {"typical_p": 0.7},
    {"mirostat_tau": 2.5},
    {"repetition_penalty": 1.4},
    {"frequency_penalty": 0.4, "presence_penalty": -0.3, "repeat_window": 9},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 1, "repeat_window": 5},
    {"until_line": True},
    {"until_speaker": True},
    {"stop": ["he", "torches to burn"]},
)
QUICK = ("lstm", "words")
PROMPTS = ("she", "", "O, she\n", "the “torches”…", "burn\n\nIt se")

needs_node = pytest.mark.skipif(node.find() is None, reason="expected node on PATH")


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs = {
        name: fake_runs.write_run(folder / f"run-{i}", **options)
        for i, (name, options) in enumerate(MODELS.items())
    }
    found = {name: subject_of(run) for name, run in runs.items()}
    return {**found, "ensemble": subject_of(runs["gru"], runs["transformer"])}


def subject_of(*runs):
    return Subject.of(loading.read_checkpoints([str(run.path) for run in runs]))


def written(subject, folder):
    """The path of the page, and a generator with the weights of the page."""
    path = folder / "page.html"
    path.write_text(page.render(Content.of(subject)), "utf-8")
    return path, Generator(content.model_of(*page.read(path)), subject.tokenizer)


def answers(path, requests, is_plain=False):
    return node.run(path, requests, is_plain).answers


def completion(prompt, seed, length, options):
    request = {"prompt": prompt, "seed": seed, "max_tokens": length, **options}
    return {"method": "complete", "values": {"request": request}}


@needs_node
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in (*MODELS, "ensemble")
    ],
)
def test_the_same_seed_writes_the_text_of_the_package(subjects, name, tmp_path):
    path, generator = written(subjects[name], tmp_path)
    cases = [
        (PROMPTS[(i + seed) % len(PROMPTS)], seed, 40, options)
        for i, options in enumerate(SAMPLINGS)
        for seed in range(3)
    ]
    expected = []
    for prompt, seed, length, options in cases:
        try:
            prompt = generator.tokenizer.prepare(prompt, "nearest")
        except UserError:
            prompt = generator.tokenizer.prepare(prompt, "skip")
        given = {"temperature": 1.0, **options, "seed": seed, "length": length}
        expected.append(generator.generate(prompt, **given)[0].text)
    found = [answer["text"] for answer in answers(path, [completion(*case) for case in cases])]
    assert found == expected


@needs_node
@pytest.mark.parametrize("is_plain", [False, True], ids=["WebAssembly", "plain"])
@pytest.mark.parametrize("name", ["lstm", "gru", "transformer", "words"])
def test_scores_and_next_tokens_are_those_of_the_package(subjects, name, is_plain, tmp_path):
    path, generator = written(subjects[name], tmp_path)
    text = "she doth\nteach"
    score, following = answers(
        path,
        [
            {"method": "score", "values": {"text": text}},
            {"method": "next", "values": {"prompt": text, "k": 4}},
        ],
        is_plain,
    )
    nats = [token["log_probability"] for token in score["result"]]
    np.testing.assert_allclose(nats, generator.score(text), rtol=1e-4, atol=1e-4)
    assert "".join(token["text"] for token in score["result"]) == text
    expected = generator.next_tokens(text, 4)
    assert [token["text"] for token in following["result"]] == [label for label, _ in expected]
    found = [token["probability"] for token in following["result"]]
    np.testing.assert_allclose(found, [p for _, p in expected], rtol=1e-3, atol=1e-6)


@needs_node
def test_a_text_that_begins_like_an_earlier_one_is_read_from_there(subjects, tmp_path):
    path, generator = written(subjects["lstm"], tmp_path)
    prompts = [TEXT, TEXT[:40], TEXT + "she ", TEXT]
    found = answers(path, [completion(prompt, 3, 30, {}) for prompt in prompts])
    for prompt, answer in zip(prompts, found, strict=True):
        [expected] = generator.generate(prompt, length=30, seed=3, temperature=1.0)
        assert answer["text"] == expected.text


@needs_node
def test_sums_of_long_rows_do_not_overflow(tmp_path):
    run = fake_runs.write_run(tmp_path / "run", **{**SMALL, "units": 1100, "cell": "simple_rnn"})
    path, generator = written(subject_of(run), tmp_path)
    # Random weights of this size make the network chaotic: rounding grows with every token.
    [answer] = answers(path, [{"method": "score", "values": {"text": "sh"}}])
    nats = [token["log_probability"] for token in answer["result"]]
    np.testing.assert_allclose(nats, generator.score("sh"), rtol=1e-4)


@needs_node
def test_a_bias_of_logits(subjects, tmp_path):
    path, generator = written(subjects["lstm"], tmp_path)
    only = generator.tokenizer.encode("e")[0].item()
    [answer] = answers(path, [completion("she", 1, 5, {"logit_bias": {str(only): 1000}})])
    assert answer["text"] == "eeeee"


@needs_node
def test_words_are_cut_as_in_the_package(tmp_path):
    run = fake_runs.write_run(
        tmp_path / "run",
        **{**SMALL, "tokens": "words", "text": "it's don’t  É Éa x2 _a ² a²\n" * 2},
    )
    path, generator = written(subject_of(run), tmp_path)
    # Letters, digits, blanks, marks and what is none of these, around each other.
    samples = "aÉ7² _'’.-\n\t\x85\u0301\u3000\u0903中٣ⅷ😀\x03"
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(samples), 12)) for _ in range(100)]
    found = answers(path, [{"method": "score", "values": {"text": text}} for text in texts])
    for text, answer in zip(texts, found, strict=True):
        pieces = generator.tokenizer.pieces(generator.tokenizer.encode(text))
        assert [token["text"] for token in answer["result"]] == pieces, text


def test_the_weights_of_a_page_are_near_those_of_the_model(subjects, tmp_path):
    subject = subjects["lstm"]
    path, _ = written(subject, tmp_path)
    found = content.model_of(*page.read(path)).weights
    for name, weight in subject.weights.items():
        step = np.abs(weight).max() / quantization.LARGEST
        np.testing.assert_allclose(found[name], weight, atol=step / 2 + 1e-6)
    np.testing.assert_array_equal(found["logits/bias"], subject.weights["logits/bias"])


def exported(subject, folder, **values):
    given = {"format": "html", "output_path": str(folder / "page.html"), **values}
    return job.run(subject, Options.parse(export.groups(), given))


@pytest.mark.parametrize("has_node", [pytest.param(True, marks=needs_node), False])
def test_an_export_is_proved(subjects, has_node, tmp_path, monkeypatch):
    if not has_node:
        monkeypatch.setattr(node, "find", lambda: None)
    path, proof = exported(subjects["gru"], tmp_path, max_loss_increase=1)
    assert proof.size_bytes == path.stat().st_size
    assert proof.runtime.startswith("Node" if has_node else "NumPy")
    assert 0 < proof.largest_error < 1
    assert abs(proof.nats_after - proof.nats_before) < 0.1


def test_an_export_that_costs_too_much_is_refused(subjects, tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "LARGEST", 1)
    with pytest.raises(UserError, match="max_loss_increase: expected at most 0.005 nats"):
        exported(subjects["lstm"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_the_page_cannot_hold_is_refused(tmp_path):
    run = fake_runs.write_run(tmp_path / "run", epochs=(), model="ngram")
    subject = Subject((run,), ())
    with pytest.raises(UserError, match="expected a neural network, found model=ngram"):
        content.check(subject)


def test_no_text_of_a_corpus_ends_an_element(subjects, tmp_path):
    path, _ = written(subjects["hostile"], tmp_path)
    text = path.read_text("utf-8")
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 6
    description, _ = page.read(path)
    assert set("</script>") <= set(description["tokenizer"]["characters"])


def test_a_page_names_nothing_outside(subjects, tmp_path):
    path, _ = written(subjects["lstm"], tmp_path)
    text = path.read_text("utf-8")
    assert set(re.findall(r"https?://[^\"'\s)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"\s(?:src|href)=\"(?!data:|#)[^\"]*\"", text)


def test_modules_are_joined_in_order_without_collisions():
    sources = {
        "main.js": 'import { value as x } from "./a.js";\n',
        "a.js": "export const a = 1;\nconst own = 2;\n",
        "b.js": 'import {\n  a,\n} from "./a.js";\nconst own = 3;\nexport class B {}\n',
        "c.js": 'import { B } from "./b.js";\nimport { a } from "./a.js";\n',
        "loop.js": 'import { a } from "./loop.js";\n',
        "markup.js": 'const text = "</SCRIPT>";\n',
        "other.js": "export default 1;\n",
    }
    names = re.findall(r'^modules\["(.*?)"\] =', bundle.bundle("c.js", sources), re.MULTILINE)
    assert names == ["a.js", "b.js", "c.js"]
    given = bundle.imported("b.js", sources)
    assert re.findall(r'^modules\["(.*?)"\] =', bundle.bundle("c.js", sources, given), re.M) == [
        "c.js"
    ]
    for name in ("main.js", "loop.js", "markup.js", "other.js"):
        with pytest.raises(ValueError, match="expected"):
            bundle.bundle(name, sources)


def test_the_kernel_is_what_wabt_makes_of_its_source():
    folder = os.environ.get("WABT_DIR", "")
    if not (node.find() and pathlib.Path(folder, "node_modules", "wabt").is_dir()):
        pytest.skip("wabt is not here; WABT_DIR names the folder where npm installed it")
    program = """
    require("wabt")().then((wabt) => {
      const text = require("fs").readFileSync(0, "utf8");
      const module = wabt.parseWat("kernel.wat", text, { simd: true });
      module.resolveNames();
      module.validate();
      const { buffer } = module.toBinary({ canonicalize_lebs: true });
      process.stdout.write(JSON.stringify([...buffer]));
    });
    """
    text = (ENGINE / "kernel.wat").read_text("utf-8")
    done = subprocess.run(
        ["node", "-e", program], input=text, cwd=folder, capture_output=True, text=True, check=True
    )
    assert assembler.assemble(text) == bytes(json.loads(done.stdout))


def test_what_the_assembler_does_not_know_is_an_error():
    with pytest.raises(ValueError, match=r"expected a supported instruction, received i64\.add"):
        assembler.assemble("(module (func (param $a i32) (i64.add)))")
