"""The format `keras`: a `.keras` file of stock layers, which Keras loads without this package.

    model.keras model.py tokenizer.py generate.py config.json tokenizer.json README.md

LSTM, GRU and simple recurrent networks read sequences; other models one token in a call.
"""

import pathlib

import numpy as np

from shakespeare_gen.exporting import folders
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.system import devices


class KerasExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        subject.check_is_network()

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        devices.start()
        from shakespeare_gen.exporting import keras_model

        is_layered = keras_model.has_layers(subject)
        if is_layered:
            model = keras_model.layered(subject)
        else:
            model = keras_model.stepwise(subject.trace())
        model.save(path / "model.keras")
        folders.copy_program("keras_model.py", path / "model.py")
        folders.write_common(subject, path, "keras", quantize, time="time" if is_layered else "1")

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


EXPORTER = KerasExporter()
