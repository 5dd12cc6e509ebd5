"""The format of the notebooks: the cells that all of them share, parameters, and the record of an
execution.

Knows files and cells, but nothing about kernels.
"""

import ast
import hashlib
import json
import pathlib
import re
from typing import Any

import nbformat

FOLDER = pathlib.Path(__file__).parent
KEY = "shakespeare_gen"  # of the metadata: `small` and `executed`
BADGE, SET_UP, PARAMETERS = "badge", "set-up", "parameters"


def names() -> list[str]:
    """The names of all notebooks."""
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def path_of(name: str) -> pathlib.Path:
    """The file of a notebook, with or without its suffix and folder."""
    return FOLDER / f"{pathlib.Path(name).stem}.ipynb"


def read(name: str) -> Any:
    """A notebook as `nbformat` represents it."""
    return nbformat.read(path_of(name), as_version=4)


def write(name: str, notebook: Any) -> None:
    """Writes a notebook; equal notebooks give equal files."""
    path_of(name).write_text(nbformat.writes(notebook) + "\n", "utf-8")


def tagged(notebook: Any, tag: str) -> list[Any]:
    """The cells with a tag."""
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def small(notebook: Any) -> dict[str, Any]:
    """The small values of parameters, for tests."""
    return notebook.metadata.get(KEY, {}).get("small", {})


def assigned(source: str) -> set[str]:
    """The names that the statements of a cell assign."""
    found = ast.walk(ast.parse(source))
    return {n.id for n in found if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def with_small_values(notebook: Any) -> Any:
    """A copy with a cell after the one tagged `parameters` that assigns the small values.

    Raises:
      ValueError: there is not exactly one such cell, or it does not assign one of the values.
    """
    copy = nbformat.from_dict(json.loads(json.dumps(notebook)))
    values = small(notebook)
    [parameters] = tagged(copy, PARAMETERS)
    if unknown := values.keys() - assigned(parameters.source):
        raise ValueError(f"small: expected names of the parameters cell, found {sorted(unknown)}")
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    position = copy.cells.index(parameters) + 1
    copy.cells.insert(position, nbformat.v4.new_code_cell("\n".join(lines), id="small-values"))
    return copy


def sources_sha256(notebook: Any) -> str:
    """The hash of the code that made the outputs: of all code cells but the one for set-up."""
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    set_up = [c.source for c in tagged(notebook, SET_UP)]
    text = json.dumps([source for source in code if source not in set_up])
    return hashlib.sha256(text.encode()).hexdigest()


def address() -> str:
    """The address of the repository in `address.txt`; empty: not set."""
    lines = (FOLDER / "address.txt").read_text("utf-8").splitlines()
    return "".join(line.strip() for line in lines if not line.startswith("#"))


def badge(name: str) -> str:
    """The source of the first cell: a link that opens the notebook in Colab, if there is one."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", address())
    if found is None:
        return (
            "Runs in a clone of the repository, and in [Colab](https://colab.research.google.com): "
            "choose File, Upload notebook."
        )
    colab = "https://colab.research.google.com"
    link = f"{colab}/github/{found[1]}/blob/main/notebooks/{name}.ipynb"
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({link})"


def set_up() -> str:
    """The source of the second cell, which finds or installs the package."""
    source = (FOLDER / "set_up_cell.py").read_text("utf-8").strip()
    return source.replace('REPOSITORY = ""', f"REPOSITORY = {json.dumps(address())}", 1)


def with_first_cells(name: str, notebook: Any) -> Any:
    """`notebook` with the two first cells that all notebooks share; it may lack them."""
    before = tagged(notebook, BADGE) + tagged(notebook, SET_UP)
    count = next((c.execution_count for c in before if c.cell_type == "code"), None)
    for cell in before:
        notebook.cells.remove(cell)
    first = nbformat.v4.new_markdown_cell(badge(name), id=BADGE, metadata={"tags": [BADGE]})
    # Colab shows its title and address only, JupyterLab its first line.
    folded = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": [SET_UP]}
    second = nbformat.v4.new_code_cell(set_up(), id=SET_UP, metadata=folded, execution_count=count)
    notebook.cells[:0] = [first, second]
    return notebook
