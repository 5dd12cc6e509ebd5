"""The format `saved_model`: signatures `read` and `step`, for TensorFlow and TensorFlow Serving.

    1/saved_model.pb model.py tokenizer.py generate.py config.json tokenizer.json README.md

The subfolder is the version that TensorFlow Serving expects; its default signature is `read`.
"""

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from shakespeare_gen.exporting import folders
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.system import devices, logs

if TYPE_CHECKING:
    from shakespeare_gen.exporting.tensorflow_functions import Functions


class SavedModelExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        """Any model can be saved."""

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        devices.start()
        from shakespeare_gen.exporting.tensorflow_functions import Functions

        save(Functions(subject, batch_size=None, has_variables=True), path / "1")
        folders.copy_program("saved_model.py", path / "model.py")
        folders.write_common(subject, path, "saved_model", quantize)

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


def save(functions: "Functions", path: pathlib.Path) -> None:
    """Writes a SavedModel."""
    import tensorflow as tf

    signatures = {"serving_default": functions.read, "read": functions.read, "step": functions.step}
    # TensorFlow describes the names of inputs and the durations of its steps.
    with devices.filtered_stderr(), logs.every_error_only():
        tf.saved_model.save(functions, str(path), signatures=signatures)


EXPORTER = SavedModelExporter()
