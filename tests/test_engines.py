"""The two engines of a generator, NumPy and TensorFlow, and which of them computes a request."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import threadpoolctl

import shakespeare_gen
from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import generator as generators
from shakespeare_gen.models import FAMILIES
from shakespeare_gen.models.cells import CELLS
from shakespeare_gen.system import devices, threads
from tests import fake_runs
from tests.conftest import REPOSITORY

TEXT = "".join(chr(97 + i % 26) for i in range(200)) + " .,\n"
EVERY_FILTER = {"top_k": 20, "top_p": 0.97, "min_p": 0.001, "repetition_penalty": 1.1}


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory):
    """A folder with random weights for each cell."""
    folder = tmp_path_factory.mktemp("engines")
    for cell in CELLS:
        options = {"cell": cell, "num_layers": 2, "residual": True}
        fake_runs.write_run(folder / cell, (1, 2), text=TEXT, **options)
    return folder


def pair(path):
    """The generators of both engines."""
    return [shakespeare_gen.load_generator(path, engine=e) for e in ("numpy", "tensorflow")]


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_both_engines_agree(run_dirs, cell):
    """In logits to 1e-5, in the most likely text, and in texts of one seed."""
    plain, compiled = pair(run_dirs / cell)
    logits = [np.asarray(g.read(TEXT).logits) for g in (plain, compiled)]
    np.testing.assert_allclose(*logits, atol=1e-5 * np.abs(logits[0]).max())
    for options in ({"temperature": 0.0}, {"seed": 1}, {"seed": 2, **EVERY_FILTER}):
        texts = [g.generate("ab", length=300, **options)[0] for g in (plain, compiled)]
        assert texts[0].text == texts[1].text
        log_p = [text.log_probabilities[:50] for text in texts]  # random weights are chaotic
        np.testing.assert_allclose(*log_p, atol=1e-3)


def test_both_engines_agree_on_an_ensemble(run_dirs):
    paths = ",".join(str(run_dirs / cell) for cell in ("lstm", "min_gru"))
    texts = [g.generate("ab", length=200, seed=1)[0].text for g in pair(paths)]
    assert texts[0] == texts[1]


def test_a_large_request_is_computed_in_tensorflow(run_dirs, monkeypatch):
    """`auto` starts in NumPy, and both engines read each other's states."""
    generator = shakespeare_gen.load_generator(run_dirs / "lstm")
    assert generator.model.uses_numpy
    state = generator.read("abc")
    [small] = generator.generate(start=state, length=50, seed=1)
    made = []
    make = generator.make_compiled
    generator = generators.Generator(
        generator.model, generator.tokenizer, lambda: made.append(make()) or made[-1]
    )
    monkeypatch.setattr(generators, "LARGE_TOKENS", 40)
    [large] = generator.generate(start=state, length=50, seed=1)
    assert large.text == small.text
    assert "".join(generator.stream(start=state, length=50, seed=1)) == small.text
    assert [model.uses_numpy for model in made] == [False]  # loaded once
    long_text = TEXT[:60]
    read = generator.read(long_text)
    assert isinstance(read.logits, np.ndarray)
    plain = shakespeare_gen.load_generator(run_dirs / "lstm", engine="numpy")
    np.testing.assert_allclose(read.logits, plain.read(long_text).logits, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(
        generator.score(long_text), plain.score(long_text), rtol=1e-4, atol=1e-3
    )


def test_with_a_gpu_everything_is_computed_in_tensorflow(run_dirs, monkeypatch):
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    assert not shakespeare_gen.load_generator(run_dirs / "lstm").model.uses_numpy
    assert shakespeare_gen.load_generator(run_dirs / "lstm", engine="numpy").model.uses_numpy


def test_a_family_without_a_numpy_form_is_computed_in_tensorflow(run_dirs, monkeypatch):
    monkeypatch.setitem(
        FAMILIES, "recurrent", dataclasses.replace(FAMILIES["recurrent"], from_arrays=None)
    )
    assert not shakespeare_gen.load_generator(run_dirs / "lstm").model.uses_numpy
    with pytest.raises(UsageError, match="engine=numpy: expected a model that has a NumPy form"):
        shakespeare_gen.load_generator(run_dirs / "lstm", engine="numpy")


def test_an_unknown_engine_is_rejected(run_dirs):
    with pytest.raises(UsageError, match="engine: expected one of auto, numpy, tensorflow"):
        shakespeare_gen.load_generator(run_dirs / "lstm", engine="torch")


def test_the_command_generates_without_tensorflow(run_dirs):
    """Importing TensorFlow takes seconds, and 600 MB."""
    code = (
        "import sys\n"
        "sys.argv = ['generate', '--run_dir=' + sys.argv[1], '--length=40', '--prompt=ab']\n"
        "from shakespeare_gen import generate\n"
        "from shakespeare_gen.options import command_line\n"
        "try:\n"
        "    command_line.run(generate.main, *generate.groups())\n"
        "finally:\n"
        "    found = {'tensorflow', 'keras', 'matplotlib', 'requests'} & set(sys.modules)\n"
        "    assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run_dirs / "lstm")],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == len("ab") + 40 + 1


def test_products_use_one_thread_while_a_step_is_computed():
    """Two threads of OpenBLAS once took sixty times as long beside another busy process."""

    def num_threads():
        infos = threadpoolctl.threadpool_info()
        return [info["num_threads"] for info in infos if info["user_api"] == "blas"]

    before = num_threads()
    assert before  # NumPy has a library of products
    with threads.single_threaded_products(), threads.single_threaded_products():
        assert set(num_threads()) == {1}
    assert num_threads() == before
