"""The notebooks: their format, their outputs, and their execution with small budgets."""

import os
import subprocess
import sys

import nbformat
import pytest

from notebooks import cells, execute, set_address
from tests.conftest import REPOSITORY

NAMES = cells.names()
each = pytest.mark.parametrize("name", NAMES)


@pytest.mark.slow
@each
def test_a_notebook_runs_with_small_budgets(name):
    assert execute.run(name, is_small=True) == []


@pytest.mark.slow
def test_the_notebooks_run_with_the_versions_of_colab():
    """In an environment of its own. CI runs it as a job beside the other tests."""
    if reason := os.environ.get("SKIP_NOTEBOOKS_COLAB"):
        pytest.skip(f"SKIP_NOTEBOOKS_COLAB={reason}")
    # The environment of these tests must not reach that one.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["make", "notebooks-colab"],
        capture_output=True,
        check=False,
        cwd=REPOSITORY,
        env=environment,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_the_outputs_belong_to_the_sources(name):
    notebook = cells.read(name)
    executed = notebook.metadata[cells.KEY]["executed"]
    assert executed["sources_sha256"] == cells.sources_sha256(notebook), (
        f"run: python -m notebooks.execute {name}"
    )
    assert {*executed["versions"]} >= {"python", "tensorflow", "keras", "numpy"}
    assert executed["processor"]
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code" and c.source]
    assert counts == [*range(1, len(counts) + 1)]


@each
def test_the_outputs_are_fit_to_be_shown(name):
    """Nothing is red, names a machine, or is a list of the lines of a progress bar."""
    notebook = cells.read(name)
    assert execute.faults(notebook) == []
    outputs = [output for c in notebook.cells for output in c.get("outputs", [])]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert not any("\r" in o.get("text", "") for o in outputs)


@each
def test_a_notebook_has_the_cells_of_the_format(name):
    notebook = cells.read(name)
    before = nbformat.writes(notebook)
    assert nbformat.writes(cells.with_first_cells(name, notebook)) == before, (
        "run: python -m notebooks.set_address"
    )
    cells.with_small_values(notebook)  # there is one cell of parameters, which has these names
    assert cells.small(notebook)
    nbformat.validate(notebook)


def test_other_code_is_not_that_of_the_outputs():
    notebook = cells.read(NAMES[0])
    before = cells.sources_sha256(notebook)
    [parameters] = cells.tagged(notebook, cells.PARAMETERS)
    parameters.source += "\n"
    assert cells.sources_sha256(notebook) != before


def test_small_values_belong_to_parameters():
    notebook = cells.read(NAMES[0])
    notebook.metadata[cells.KEY]["small"] = {"NOT_A_PARAMETER": 1}
    with pytest.raises(ValueError, match="expected names of the parameters cell"):
        cells.with_small_values(notebook)


@pytest.fixture
def copied_notebooks(tmp_path, monkeypatch):
    """The folder of a copy of all notebooks, in which no address is set."""
    for name in ("address.txt", "set_up_cell.py", *(f"{name}.ipynb" for name in NAMES)):
        (tmp_path / name).write_bytes((cells.FOLDER / name).read_bytes())
    monkeypatch.setattr(cells, "FOLDER", tmp_path)
    set_address.main([""])
    return tmp_path


def test_the_address_is_kept_in_one_place(copied_notebooks):
    """Badges and set-up cells follow it; outputs stay valid."""
    before = {name: cells.path_of(name).read_bytes() for name in NAMES}
    hashes = [cells.sources_sha256(cells.read(name)) for name in NAMES]
    url = "https://github.com/someone/fork.of-it"
    set_address.main([url])
    for name, sha256 in zip(NAMES, hashes, strict=True):
        badge, set_up = cells.read(name).cells[:2]
        assert f"/github/someone/fork.of-it/blob/main/notebooks/{name}.ipynb)" in badge.source
        assert f'\nREPOSITORY = "{url}"  # @param' in set_up.source
        assert cells.sources_sha256(cells.read(name)) == sha256
    set_address.main([""])
    assert {name: cells.path_of(name).read_bytes() for name in NAMES} == before


def test_colab_opens_no_other_host(copied_notebooks):
    """Its links are made of the names on one host; the set-up cell installs from any."""
    set_address.main(["https://git.example.org/someone/texts"])
    badge, set_up = cells.read(NAMES[0]).cells[:2]
    assert "colab-badge" not in badge.source
    assert 'REPOSITORY = "https://git.example.org/someone/texts"' in set_up.source


def test_an_address_is_a_url(copied_notebooks, capsys):
    with pytest.raises(SystemExit):
        set_address.main(["someone/fork"])
    assert "address: expected https://…, received someone/fork" in capsys.readouterr().err
    assert cells.address() == ""


def run_set_up(folder, source):
    """Runs the set-up cell in a folder, in an environment without this package."""
    code = "import sys; sys.path = [p for p in sys.path if 'shakespeare_gen' not in p]\n"
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"{code}{source}\nimport shakespeare_gen as s\nprint(s.__file__)",
        ],
        capture_output=True,
        check=False,
        cwd=folder,
        text=True,
    )


def test_the_set_up_cell_finds_the_package_in_a_clone():
    done = run_set_up(REPOSITORY / "notebooks", cells.set_up())
    assert done.stdout.strip() == str(REPOSITORY / "shakespeare_gen" / "__init__.py"), done.stderr


def test_the_set_up_cell_says_what_to_do_without_an_address(tmp_path, copied_notebooks):
    done = run_set_up(tmp_path, cells.set_up())
    assert "Enter the address of its repository above" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("shown", "is_fault"),
    [
        ("runs/quickstart: step-00000440-epoch-0022", False),
        ("see https://example.org/usr/share", False),
        ("Read /home/someone/book.txt: 12 bytes", True),
        ("/usr/lib/python3/dist.py:12: UserWarning", True),
        (r"C:\Users\someone", True),
        ("  File .venv/lib/site-packages/keras/x.py", True),
        (str(REPOSITORY), True),
    ],
)
def test_paths_of_a_machine_are_faults(shown, is_fault):
    output = nbformat.v4.new_output("stream", text=shown)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])
    assert bool(execute.faults(notebook)) == is_fault


def test_what_is_red_is_a_fault():
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="careful"),
        nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[]),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs)])
    assert [fault.partition(": ")[2] for fault in execute.faults(notebook)] == [
        "shown in red: careful",
        "shown in red: ValueError: no",
    ]


@pytest.mark.slow
def test_a_cell_that_fails_is_a_fault():
    """Without a traceback of hundreds of lines; the cells after it do not run."""
    sources = ("print('before')", "raise ValueError('no')", "print('after')")
    new_cells = [nbformat.v4.new_code_cell(source) for source in sources]
    done = execute.executed(nbformat.v4.new_notebook(cells=new_cells), {})
    [fault] = execute.faults(done)
    assert fault.endswith(": shown in red: ValueError: no")
    assert not done.cells[2].outputs


def test_a_progress_bar_is_stored_as_it_ends():
    parts = ["10 %", "\r50 %\r\nepoch 1\n90", " %", "\r    \rdone\n"]
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=part) for part in parts]
    [joined] = execute.joined(outputs)
    assert joined.text == "50 %\nepoch 1\ndone\n"


def test_an_unknown_notebook_is_reported(capsys):
    with pytest.raises(SystemExit):
        execute.main(["quickstart", "nothing"])
    assert "received nothing" in capsys.readouterr().err
