"""Executes notebooks and stores their outputs in them.

    python -m notebooks.execute quickstart research    # or without a name: all of them
    python -m notebooks.execute --small quickstart     # with small budgets; stores nothing

A notebook runs in a folder that is empty, except for a short text `small.txt` with `--small`, and
that is deleted afterwards. Nothing is stored if a cell fails, writes to standard error, which is
shown in red, or has a path or the name of this machine in its output.
"""

import argparse
import contextlib
import getpass
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from notebooks import cells

PACKAGES = ("shakespeare_gen", "tensorflow", "keras", "numpy", "matplotlib")
REPOSITORY = cells.FOLDER.parent
SMALL_CHARS = 40_000
MAX_SHOWN = 600  # characters of a message
CELL_SECONDS = 1800  # no cell takes longer
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|var|Users|content|work|private)/[\w./-]+"
    r"|[\w./\\-]*site-packages[\w./\\-]*|\b[A-Z]:\\\w+"
)


def executed(notebook: Any, files: dict[str, str]) -> Any:
    """The notebook with its outputs; a cell that fails is the last one, and its output says why.

    Args:
      files: the texts of the files in the folder in which it runs, by name.
    """
    import nbclient

    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            pathlib.Path(folder, name).write_text(text, "utf-8")
        client = nbclient.NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": folder}},
        )
        # The kernel imports the package of this repository.
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        with contextlib.suppress(nbclient.exceptions.CellExecutionError):
            client.execute(env={**os.environ, "PYTHONPATH": path})
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs: Sequence[Any]) -> list[Any]:
    """The outputs of a cell with one output for neighbors of the same stream, as it is shown."""
    found: list[Any] = []
    for output in outputs:
        stream = output.get("name") if output.output_type == "stream" else None
        if stream and found and found[-1].get("name") == stream:
            found[-1].text += output.text
        else:
            found.append(output)
    for output in found:
        if output.output_type == "stream":
            output.text = as_shown(output.text)
    return found


def as_shown(text: str) -> str:
    """Text of a stream without what a carriage return overwrites."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def faults(notebook: Any) -> list[str]:
    """What must not be in the outputs of a notebook, one line for each finding."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" or output.get("name") == "stderr":
                text = output.get("text") or f"{output.ename}: {output.evalue}"
                found.append(f"cell {cell.id}: shown in red: {text.strip()[:MAX_SHOWN]}")
            shown = "\n".join(texts(output))
            names = [m[0] for m in ABSOLUTE_PATH.finditer(shown)]
            names += [name for name in names_of_this_machine() if name in shown]
            found += [f"cell {cell.id}: names this machine: {name!r}" for name in names]
    return found


def texts(output: Any) -> Iterator[str]:
    """The texts of an output, without pictures."""
    yield output.get("text", "")
    for kind, value in output.get("data", {}).items():
        if not kind.startswith("image/") or kind == "image/svg+xml":
            yield value if isinstance(value, str) else json.dumps(value)


def names_of_this_machine() -> set[str]:
    """Paths and names that are particular to this machine; short ones could be words."""
    paths = {REPOSITORY, pathlib.Path.home(), pathlib.Path(sys.prefix), tempfile.gettempdir()}
    names = {socket.gethostname(), platform.node(), getpass.getuser()}
    common = {"root", "runner", "localhost", "user", "student"}
    return {str(path) for path in paths if len(str(path)) > 5} | {
        name for name in names - common if len(name) > 5
    }


def record(notebook: Any, seconds: float) -> dict[str, Any]:
    """What made the outputs: the code, versions, and the processor."""
    from shakespeare_gen.system import devices

    return {
        "sources_sha256": cells.sources_sha256(notebook),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "processor": devices.processor(),
        "seconds": round(seconds),
    }


def small_text() -> str:
    """A part of a play that trains and is evaluated in seconds."""
    from shakespeare_gen.data import corpora
    from shakespeare_gen.options.groups import CorpusOptions

    return corpora.load(CorpusOptions(corpus="plays")).validation[:SMALL_CHARS]


def run(name: str, is_small: bool) -> list[str]:
    """Executes a notebook and, unless `is_small`, stores it; returns its faults."""
    notebook = cells.with_first_cells(name, cells.read(name))
    began = time.perf_counter()
    if is_small:
        done = executed(cells.with_small_values(notebook), {"small.txt": small_text()})
    else:
        done = executed(notebook, {})
    seconds = time.perf_counter() - began
    found = faults(done)
    print(f"{name}: {seconds:.0f} s" + "".join(f"\n  {fault}" for fault in found), flush=True)
    if not is_small and not found:
        done.metadata.setdefault(cells.KEY, {})["executed"] = record(done, seconds)
        cells.write(name, done)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its exit code is 1 if a notebook has faults."""
    parser = argparse.ArgumentParser(description="Executes notebooks and stores their outputs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="quickstart …; none: all")
    parser.add_argument("--small", action="store_true", help="small budgets; stores nothing")
    options = parser.parse_args(arguments)
    names = [cells.path_of(name).stem for name in options.names] or cells.names()
    if unknown := [name for name in names if not cells.path_of(name).is_file()]:
        parser.error(f"expected one of {', '.join(cells.names())}, received {', '.join(unknown)}")
    if any([run(name, options.small) for name in names]):
        sys.exit(1)


if __name__ == "__main__":
    main()
