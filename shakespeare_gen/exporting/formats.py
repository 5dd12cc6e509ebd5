"""The registry of formats, and the options of an export.

    FORMATS["onnx"].exporter().write(subject, "int8", path)

Imports the module of a format only when it is used. Knows nothing about runs.
"""

import abc
import dataclasses
import importlib
import pathlib
from typing import TYPE_CHECKING, Any

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options import OptionGroup, option

if TYPE_CHECKING:
    from shakespeare_gen.exporting.proof import ReadBack
    from shakespeare_gen.exporting.subject import Subject

AUTO = "auto"
QUANTIZATIONS = (AUTO, "none", "float16", "int8")


class Exporter(abc.ABC):
    """Writes one format and reads it again."""

    @abc.abstractmethod
    def check(self, subject: "Subject", quantize: str) -> None:
        """Raises `UserError` if the format cannot hold the model; called before anything else."""

    @abc.abstractmethod
    def write(self, subject: "Subject", quantize: str, path: pathlib.Path) -> None:
        """Writes the export.

        Args:
          quantize: one of the quantizations of the format.
          path: an empty folder, or a file that does not exist; see `Format.is_file`.
        """

    @abc.abstractmethod
    def read_back(self, path: pathlib.Path, ids: Any) -> "ReadBack":
        """Loads an export in its own runtime and reads ids [N], starting without any text."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
      summary: what it is, for the help page.
      module: defines `EXPORTER`, an `Exporter`.
      quantizations: what it offers, the default first.
      is_file: whether it is a single file instead of a folder.
      extra: the extra of the packages that it needs; empty: none.
    """

    summary: str
    module: str
    quantizations: tuple[str, ...] = ("none",)
    is_file: bool = False
    extra: str = ""

    def exporter(self) -> Exporter:
        """The exporter; imports its module."""
        return importlib.import_module(self.module).EXPORTER


_HERE = "shakespeare_gen.exporting"
FORMATS: dict[str, Format] = {
    "numpy": Format("Python code that needs NumPy alone", f"{_HERE}.numpy_folder"),
    "onnx": Format(
        "a graph for ONNX Runtime", f"{_HERE}.onnx_folder", ("none", "int8"), extra="onnx"
    ),
    "litert": Format(
        "a graph for LiteRT (TensorFlow Lite), on phones",
        f"{_HERE}.litert_folder",
        ("none", "float16", "int8"),
        extra="litert",
    ),
    "saved_model": Format("a TensorFlow SavedModel", f"{_HERE}.saved_model_folder"),
    "keras": Format("a Keras file of stock layers", f"{_HERE}.keras_folder"),
    "safetensors": Format(
        "the weights by name, with a config that names everything", f"{_HERE}.safetensors_folder"
    ),
    "hub": Format("a folder for a model hub, with a model card", f"{_HERE}.hub_folder"),
    "html": Format(
        "the writing page as one file, with the model inside",
        f"{_HERE}.html_file.exporter",
        ("int8",),
        is_file=True,
    ),
}


class ExportOptions(OptionGroup):
    """What is written, and where."""

    TITLE = "Export"

    format: str = option(
        "numpy",
        "; ".join(f"{name}: {kind.summary}" for name, kind in FORMATS.items()),
        choices=FORMATS,
    )
    output_path: str = option("", "new folder for the export; with html, new file")
    overwrite: bool = option(False, "replace an export in output_path")
    quantize: str = option(
        AUTO,
        "how the weights are stored: none as float32; auto: the default of the format",
        choices=QUANTIZATIONS,
    )
    max_loss_increase: float = option(
        0.005,
        "refuse an export that costs more than this, in nats per character of held-out text",
        minimum=0,
    )
    text_path: str = option(
        "", "text to prove the export with; empty: the validation text of the run"
    )

    @property
    def chosen_quantization(self) -> str:
        """`quantize`, or the default of the format."""
        offered = FORMATS[self.format].quantizations
        return offered[0] if self.quantize == AUTO else self.quantize

    def check_combinations(self) -> None:
        offered = FORMATS[self.format].quantizations
        if self.quantize not in (AUTO, *offered):
            raise UsageError(
                f"quantize: expected {' or '.join(offered)} with `format={self.format}`, "
                f"received {self.quantize}"
            )
