"""The format `safetensors`: the weights by the names they have in a checkpoint, with a config.

    model.safetensors model.py tokenizer.py generate.py config.json tokenizer.json README.md

`config.json` has the shape of every weight; `model.py` computes the model with NumPy.
"""

import pathlib

import numpy as np

from shakespeare_gen.exporting import folders, ngram_code, numpy_folder, tracing
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.numpy_code import Code
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.runs import tensors

WEIGHTS = "model.safetensors"
_IMPORTS = "import numpy as np\nfrom safetensors.numpy import load_file"


class SafetensorsExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        subject.check_has_code()

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        write_model(subject, path)
        folders.write_common(subject, path, "safetensors", quantize)

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


def write_model(subject: Subject, path: pathlib.Path) -> None:
    """Writes `model.safetensors`, and `model.py` with the computation from its weights."""
    if subject.is_counted:
        (path / WEIGHTS).write_bytes(tensors.encode(subject.weights))
        loading = numpy_folder.Loading(
            _IMPORTS, [f'self.weights = load_file(folder / "{WEIGHTS}")']
        )
        (path / "model.py").write_text(ngram_code.source(subject, *loading), "utf-8")
        return
    code = Code(subject.trace().outputs)
    prepared = tracing.preparation(subject.model().step_function, subject.weights)
    before = Code(list(prepared.values()), 'w["{}"]')
    extra = {name: code.constants[name] for name in code.constants.keys() - prepared.keys()}
    extra |= before.constants
    (path / WEIGHTS).write_bytes(tensors.encode({**subject.weights, **extra}))
    assignments = [
        f'"{name}": {expression},'
        for name, expression in zip(prepared, before.outputs, strict=True)
        if name in code.constants
    ]
    lines = [
        f'w = load_file(folder / "{WEIGHTS}")',
        *before.lines,
        "self.weights = {",
        *(f"    {assignment}" for assignment in assignments),
        *(f'    "{name}": w["{name}"],' for name in extra),
        "}",
    ]
    loading = numpy_folder.Loading(_IMPORTS, lines)
    (path / "model.py").write_text(numpy_folder.source(subject, code, loading), "utf-8")


EXPORTER = SafetensorsExporter()
