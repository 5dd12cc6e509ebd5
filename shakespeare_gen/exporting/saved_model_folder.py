"""The format `saved_model`: signatures `read` and `step`, for TensorFlow and TensorFlow Serving.

    1/saved_model.pb model.py tokenizer.py generate.py config.json tokenizer.json README.md

The subfolder is the version that TensorFlow Serving expects; its default signature is `read`.
"""

import pathlib

import numpy as np

from shakespeare_gen.exporting import folders
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.system import devices, logs


class SavedModelExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        """Any model can be saved."""

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        save(subject, path / "1", batch_size=None, has_variables=True)
        folders.copy_program("saved_model.py", path / "model.py")
        folders.write_common(subject, path, "saved_model", quantize)

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


def save(subject: Subject, path: pathlib.Path, batch_size: int | None, has_variables: bool) -> None:
    """Writes a SavedModel; see `tensorflow_functions.Functions`."""
    devices.start()
    import tensorflow as tf

    from shakespeare_gen.exporting.tensorflow_functions import Functions

    functions = Functions(subject, batch_size, has_variables)
    signatures = {"serving_default": functions.read, "read": functions.read, "step": functions.step}
    # TensorFlow describes the names of inputs and the durations of its steps.
    with devices.filtered_stderr(), logs.every_error_only():
        tf.saved_model.save(functions, str(path), signatures=signatures)


EXPORTER = SavedModelExporter()
