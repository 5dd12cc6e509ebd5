"""One export, from options to its proof.

proof = run(subject, options)
"""

import pathlib

from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting import held_out, output, proof
from shakespeare_gen.exporting.formats import FORMATS, ExportOptions
from shakespeare_gen.exporting.proof import Proof
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import CorpusLocationOptions


def run(subject: Subject, options: Options) -> tuple[pathlib.Path, Proof]:
    """Writes an export, proves it, and returns its path and figures.

    Raises:
      UserError: the format cannot hold the model, the export cannot be written, or it costs more
        than `max_loss_increase`; nothing is left behind.
    """
    chosen = options[ExportOptions]
    kind = FORMATS[chosen.format]
    path = output.checked(chosen.output_path, kind.is_file, chosen.overwrite)
    exporter = kind.exporter()
    exporter.check(subject, chosen.chosen_quantization)
    text = held_out.find(subject, chosen.text_path, options[CorpusLocationOptions])
    with output.written(path, kind.is_file) as new:
        exporter.write(subject, chosen.chosen_quantization, new)
        read = exporter.read_back(new, text.ids)
        found = proof.compare(subject, text, read, output.size_bytes(new))
        _check(found, chosen)
    return path, found


def _check(found: Proof, chosen: ExportOptions) -> None:
    increase = found.nats_after - found.nats_before
    if not increase <= chosen.max_loss_increase:
        raise UserError(
            f"max_loss_increase: expected at most {chosen.max_loss_increase:g} nats per character "
            f"more on {found.text}, found {increase:+.5f} ({found.nats_before:.5f} before, "
            f"{found.nats_after:.5f} after); nothing was written"
        )
