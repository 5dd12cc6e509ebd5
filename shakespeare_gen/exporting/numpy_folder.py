"""The format `numpy`: a model in a few lines of Python that need NumPy alone.

    model.py model.npz tokenizer.py generate.py config.json tokenizer.json README.md

`model.py` is written from the operations of the step, see `numpy_code`; for counted models see
`ngram_code`.
"""

import pathlib
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shakespeare_gen.exporting import folders, ngram_code
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.numpy_code import Code
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject

WEIGHTS = "model.npz"
_MODEL = '''\
"""The language model {title}, in NumPy.

    model = Model()
    logits, state = model.step(np.array([{start_id}], np.int32), model.start())    # [1, {size}]
"""

import pathlib

{imports}

RUNTIME = f"numpy {{np.__version__}}"


class Model:
    """Predicts the next token from those before it."""

    def __init__(self, folder=pathlib.Path(__file__).parent):
{loading}

    def start(self, batch_size=1):
        """The state before any token is read."""
        return (
{state}
        )

    def step(self, ids, state):
        """Reads one token per row: ids [B], state -> logits [B, {size}], state."""
        w = self.weights
        ({names}) = state
{lines}
        return {logits}, ({new_state})
'''


class Loading(NamedTuple):
    """How `model.py` loads its weights.

    Attributes:
      imports: the lines that import NumPy and what else is needed.
      lines: assign `self.weights`, from files in `folder`.
    """

    imports: str
    lines: Sequence[str]


LOADING = Loading(
    "import numpy as np",
    [f'with np.load(folder / "{WEIGHTS}") as file:', "    self.weights = dict(file)"],
)


class NumpyExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        subject.check_has_code()

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        if subject.is_counted:
            weights, text = subject.weights, ngram_code.source(subject, *LOADING)
        else:
            code = Code(subject.trace().outputs)
            weights, text = code.constants, source(subject, code, LOADING)
        np.savez(path / WEIGHTS, **weights)  # type: ignore[arg-type]
        (path / "model.py").write_text(text, "utf-8")
        folders.write_common(subject, path, "numpy", quantize)

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


def source(subject: Subject, code: Code, loading: Loading) -> str:
    """The content of `model.py`."""
    config = subject.config("numpy", "none")
    parts = [
        f"np.zeros(({', '.join(['batch_size', *map(str, part['shape'][1:])])}), np.float32),"
        for part in config["state"]
    ]
    logits, *new_state = code.outputs
    return _MODEL.format(
        title=subject.name,
        start_id=config["start_id"],
        size=config["vocabulary_size"],
        imports=loading.imports,
        loading=textwrap.indent("\n".join(loading.lines), " " * 8),
        state=textwrap.indent("\n".join(parts), " " * 12),
        names=_tuple(subject.state_names),
        lines=textwrap.indent("\n".join(code.lines), " " * 8),
        logits=logits,
        new_state=_tuple(new_state),
    )


def _tuple(items: Sequence[str]) -> str:
    """The items of a tuple, without its parentheses."""
    return ", ".join(items) if len(items) > 1 else f"{items[0]},"


EXPORTER = NumpyExporter()
