"""The format `onnx`: a graph for ONNX Runtime, in Python, JavaScript, Kotlin, Swift and others.

    model.onnx model.py tokenizer.py generate.py config.json tokenizer.json README.md

The graph is written from the recorded step (`onnx_step`), or with ONNX's own recurrent layers
(`onnx_layers`).
"""

import pathlib

import numpy as np

from shakespeare_gen.exporting import folders
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject


class OnnxExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        subject.check_is_network()

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        from shakespeare_gen.exporting import onnx_graph, onnx_layers, onnx_step

        trace = subject.trace()
        model = None if quantize == "int8" else onnx_layers.layered(subject, trace)
        model = model or onnx_step.stepwise(trace, quantize)
        (path / "model.onnx").write_bytes(model.SerializeToString())
        folders.copy_program("onnx_model.py", path / "model.py")
        folders.write_common(
            subject, path, "onnx", quantize, opset=onnx_graph.OPSET, note=_note(quantize)
        )

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


def _note(quantize: str) -> str:
    """What a reader of the README must know about a quantization."""
    if quantize == "none":
        return ""
    return (
        " Products are computed in int8, with one scale for all rows of a batch, so that rows "
        "affect each other slightly."
    )


EXPORTER = OnnxExporter()
