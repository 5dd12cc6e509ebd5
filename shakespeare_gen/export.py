"""Writes a model in the format of other programs, loads it again there, and compares.

python -m shakespeare_gen.export --run_dir=runs/quick --format=numpy --output_path=quick-numpy
"""

from shakespeare_gen.exporting.formats import FORMATS, ExportOptions
from shakespeare_gen.exporting.proof import Proof
from shakespeare_gen.options import OptionGroup, Options, command_line
from shakespeare_gen.options.groups import CorpusLocationOptions, LoadOptions, SavedRunsOptions
from shakespeare_gen.system import extras, terminal


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return SavedRunsOptions, LoadOptions, ExportOptions, CorpusLocationOptions


def main(options: Options) -> None:
    """The command: writes the export and prints its proof."""
    from shakespeare_gen.exporting import job
    from shakespeare_gen.exporting.subject import Subject
    from shakespeare_gen.runs import loading

    chosen = options[ExportOptions]
    if extra := FORMATS[chosen.format].extra:
        extras.require(extra, f"format={chosen.format}")
    run_dir, checkpoint = options[SavedRunsOptions].run_dir, options[LoadOptions].checkpoint
    subject = Subject.of(loading.read_checkpoints(run_dir, checkpoint))
    path, proof = job.run(subject, options)
    terminal.show(report(str(path), proof))


def report(path: str, proof: Proof) -> str:
    """The figures of a proof, for the terminal."""
    increase = proof.nats_after - proof.nats_before
    read = f", {proof.read_rate:,.0f} in calls with many tokens" if proof.read_rate else ""
    rows = {
        "loaded with": proof.runtime,
        "bytes": f"{proof.size_bytes:,}",
        "read": f"{proof.num_chars:,} characters of {proof.text}",
        "largest logit error": f"{proof.largest_error:.2g}",
        "nats per character": f"{proof.nats_before:.5f} before, {proof.nats_after:.5f} after "
        f"({increase:+.5f})",
        "characters/s": f"{proof.step_rate:,.0f} one at a time{read}",
    }
    return "\n".join([path, *(f"  {name:20} {value}" for name, value in rows.items()), ""])


if __name__ == "__main__":
    command_line.run(main, *groups())
