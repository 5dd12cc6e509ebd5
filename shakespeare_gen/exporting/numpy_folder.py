"""The format `numpy`: a model in a few lines of Python that need NumPy alone.

    model.py model.npz tokenizer.py generate.py config.json tokenizer.json README.md

`model.py` is written from the operations of the step; see `numpy_code`.
"""

import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np

from shakespeare_gen.exporting import folders
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.numpy_code import Code
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject

WEIGHTS = "model.npz"
_MODEL = '''\
"""{title}

    model = Model()
    logits, state = model.step(np.array([{start_id}], np.int32), model.start())    # [1, {size}]

The weights are in {weights}; see README.md.
"""

import pathlib

import numpy as np

RUNTIME = f"numpy {{np.__version__}}"


class Model:
    """Predicts the next token from those before it."""

    def __init__(self, folder=pathlib.Path(__file__).parent):
        with np.load(folder / "{weights}") as file:
            self.weights = dict(file)

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


class NumpyExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        subject.check_is_network()

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        code = Code(subject.trace())
        np.savez(path / WEIGHTS, **code.constants)  # type: ignore[arg-type]
        (path / "model.py").write_text(source(subject, code), "utf-8")
        folders.write_common(subject, path, "numpy", quantize, folders.Pages(_README))

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


def source(subject: Subject, code: Code) -> str:
    """The content of `model.py`."""
    config = subject.config("numpy", "none")
    parts = [
        f"np.zeros(({', '.join(['batch_size', *map(str, part['shape'][1:])])}), np.float32),"
        for part in config["state"]
    ]
    return _MODEL.format(
        title=f"The language model {subject.name}, in NumPy.",
        start_id=config["start_id"],
        size=config["vocabulary_size"],
        weights=WEIGHTS,
        state=textwrap.indent("\n".join(parts), " " * 12),
        names=_tuple(subject.state_names),
        lines=textwrap.indent("\n".join(code.lines), " " * 8),
        logits=code.logits,
        new_state=_tuple(code.new_state),
    )


def _tuple(items: Sequence[str]) -> str:
    """The items of a tuple, without its parentheses."""
    return ", ".join(items) if len(items) > 1 else f"{items[0]},"


_README = """\
## Python

`model.py` is the whole model: read it. It needs NumPy and `model.npz`, nothing else.

```python
import numpy as np
from model import Model
from tokenizer import Tokenizer

model, tokenizer = Model(), Tokenizer()
state = model.start()
for token in tokenizer.encode({prompt}):
    logits, state = model.step(np.array([token], np.int32), state)
print(tokenizer.decode([int(logits[0].argmax())]))
```

## Other languages

The arrays of `model.npz` are NumPy files in a zip file; `step` in `model.py` says what to compute
with them. It uses products of matrices, elementwise functions and slices.
"""

EXPORTER = NumpyExporter()
