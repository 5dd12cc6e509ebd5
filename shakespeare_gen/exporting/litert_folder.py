"""The format `litert`: a graph of builtin operations for LiteRT, with the signatures `read` and
`step`, for one row.

    model.tflite model.py tokenizer.py generate.py config.json tokenizer.json README.md

With `float16`, all float32 constants are stored in half precision; with `int8`, products are
computed with weights in int8 (dynamic range quantization). The converter has a scale per row for
the weights of a product, and one for a table, whose columns are therefore scaled here.
"""

import pathlib
import tempfile

import numpy as np

from shakespeare_gen.exporting import folders, saved_model_folder
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.system import devices, logs


class LiteRTExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        subject.check_is_network()

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        (path / "model.tflite").write_bytes(_converted(subject, quantize))
        folders.copy_program("litert_model.py", path / "model.py")
        folders.write_common(subject, path, "litert", quantize)

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


def _converted(subject: Subject, quantize: str) -> bytes:
    """The content of the file."""
    devices.start()
    import tensorflow as tf

    from shakespeare_gen.exporting.tensorflow_functions import Functions, ScaledTables

    xp = ScaledTables() if quantize == "int8" else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, "saved_model")
        functions = Functions(subject, batch_size=1, has_variables=False, xp=xp)
        saved_model_folder.save(functions, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(folder), signature_keys=["read", "step"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        with devices.filtered_stderr(), logs.every_error_only():
            return converter.convert()


EXPORTER = LiteRTExporter()
