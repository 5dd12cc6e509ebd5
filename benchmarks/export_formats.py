"""Size, error, loss and speed of a model in every export format.

    python -m benchmarks.export_formats

Exports the model that ships with the package in each format and quantization, and writes the table
of their proofs to docs/exporting.md. The proof reads the first 2,000 characters of the validation
text, one row at a time, with one thread. Formats are measured one after the other, `--rounds` times
in turn; the speeds are those of the fastest round, because other programs only slow a round down.
"""

import argparse
import dataclasses
import pathlib
import re
import tempfile
import textwrap
import time

from shakespeare_gen import export, pretrained
from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting import job
from shakespeare_gen.exporting.formats import FORMATS
from shakespeare_gen.exporting.proof import Proof
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.options import Options
from shakespeare_gen.runs import loading

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "exporting.md"
SHOWN = ("onnx", "int8")  # whose proof the page shows


def measure(subject: Subject, format: str, quantize: str, flags: argparse.Namespace) -> Proof:
    """The proof of one export, which is deleted; the page shows the code of `numpy`."""
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "format": format,
            "quantize": quantize,
            "output_path": str(pathlib.Path(folder, "export")),
            "corpus": flags.corpus,
            "data_dir": flags.data_dir,
        }
        path, proof = job.run(subject, Options.parse(export.groups(), values))
        if format == "numpy":
            source = (path / "model.py").read_text("utf-8")
            step = textwrap.dedent(source[source.index("    def step") :])
            write("code", f"```python\n{step}```")
        return proof


def write(block: str, text: str) -> None:
    """Replaces a block of the page."""
    pattern = re.compile(rf"(<!-- {block} -->\n).*?(<!-- end of {block} -->)", re.DOTALL)
    page = pattern.sub(lambda m: f"{m[1]}{text}\n{m[2]}", PAGE.read_text("utf-8"))
    PAGE.write_text(page, "utf-8")


def fastest(proofs: list[Proof]) -> Proof:
    """The first proof, with the highest speeds of all."""
    return dataclasses.replace(
        proofs[0],
        step_rate=max(proof.step_rate for proof in proofs),
        read_rate=max(proof.read_rate for proof in proofs),
    )


def row(format: str, quantize: str, proof: Proof) -> str:
    """A row of the table."""
    read = f"{proof.read_rate:,.0f}" if proof.read_rate else ""
    name = f"`{format}`" if quantize == "none" else f"`{format}`, {quantize}"
    return (
        f"| {name} | {proof.runtime} | {proof.size_bytes:,} | {proof.largest_error:.1e} "
        f"| {proof.nats_after - proof.nats_before:+.5f} | {proof.step_rate:,.0f} | {read} |"
    )


def main() -> None:
    """Measures all formats and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", default=pretrained.DEFAULT)
    parser.add_argument("--corpus", default="", help="where the text of the run is")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    subject = Subject.of(loading.read_checkpoints([flags.run_dir]))
    proofs: dict[tuple[str, str], list[Proof]] = {}
    for number in range(flags.rounds):
        for format, kind in FORMATS.items():
            for quantize in kind.quantizations:
                try:
                    proof = measure(subject, format, quantize, flags)
                except UserError as error:
                    print(format, quantize, error, flush=True)
                    continue
                proofs.setdefault((format, quantize), []).append(proof)
                print(number, row(format, quantize, proof), flush=True)
    best = {key: fastest(found) for key, found in proofs.items()}
    first = next(iter(best.values()))
    from shakespeare_gen.system import devices

    lines = [
        f"`python -m benchmarks.export_formats --rounds={flags.rounds}`, {flags.run_dir}, "
        f"{first.num_chars:,} characters of {first.text}, {devices.hardware()['processor']}, one "
        f"thread, {time.strftime('%Y-%m-%d')}. The model in float64 has {first.nats_before:.5f} "
        "nats per character.",
        "",
        "| format | loaded with | bytes | largest logit error | change in nats per character "
        "| characters/s | in calls with many |",
        "|---|---|---|---|---|---|---|",
        *(row(*key, proof) for key, proof in best.items()),
    ]
    write("formats", "\n".join(lines))
    write("proof", "```\n" + export.report("quick-onnx", best[SHOWN]) + "```")


if __name__ == "__main__":
    main()
