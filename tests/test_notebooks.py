import json

import pytest

from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, small_text):
    """On a small corpus: only the cell tagged `parameters` is changed."""
    import nbclient
    import nbformat

    text_path = tmp_path / "small.txt"
    text_path.write_text(small_text, encoding="utf-8")
    notebook = nbformat.read(path, as_version=4)
    [parameters] = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    parameters.source += (
        f"\ncorpus = {str(text_path)!r}\nrun_dir = {str(tmp_path / 'run')!r}\n"
        "options = dict(epochs=2, units=16, batch_size=8, window_chars=16)\n"
    )
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = json.dumps([c.get("outputs", []) for c in notebook.cells])
    assert "image/png" in outputs
    assert "--- temperature 0.8" in outputs
    assert "Kneser-Ney" in outputs
    assert "%|" in outputs, "no progress bar"
    assert "validation: " in outputs
    assert '"stderr"' not in outputs  # shown in red
    assert (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_is_committed_without_outputs(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)
