"""Finished samples: as text or JSON lines, on standard output or in a file.

    path = output_path(options)                  # before the samples are generated
    write(lines(options.format, request, results, source), options.format, path)

Headings of samples go to standard error; only text and records go to standard output.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from absl import logging

from shakespeare_gen.generation import Request, Result
from shakespeare_gen.options.groups import OutputOptions
from shakespeare_gen.system import storage, terminal


@dataclasses.dataclass(frozen=True)
class Source:
    """What generated the samples: the run folder and its checkpoint; several, between commas."""

    run: str
    checkpoint: str


def output_path(options: OutputOptions) -> pathlib.Path | None:
    """The file of the option `output_path`; None: standard output.

    Raises:
      UserError: the file exists and may not be replaced, or cannot be created.
    """
    if options.is_standard_output:
        return None
    label = f"output_path={options.output_path}"
    return storage.new_file(label, options.output_path, options.overwrite, "try `overwrite`")


def lines(
    format: str, request: Request, results: Sequence[Result], source: Source, first: int = 0
) -> list[str]:
    """Every sample, with a line end: prompt and continuation, or a JSON object in ASCII.

    Args:
      first: the number of samples before `results`.
    """
    if format == "text":
        return [f"{request.prompt}{result.text}\n" for result in results]
    numbered = enumerate(results, first)
    return [json.dumps(_record(request, number, r, source)) + "\n" for number, r in numbered]


def _record(request: Request, number: int, result: Result, source: Source) -> dict:
    return {
        "run": source.run,
        "checkpoint": source.checkpoint,
        "seed": request.generation.seed,
        "sample": number + 1,
        "prompt": request.prompt,
        **result.to_json(),
    }


def separator(format: str) -> str:
    """What is between two samples: a blank line between texts."""
    return "\n" if format == "text" else ""


def write(samples: Sequence[str], format: str, path: pathlib.Path | None) -> None:
    """Writes samples, with a blank line between texts.

    Args:
      path: see `output_path`.

    Raises:
      UserError: the file cannot be written.
    """
    is_text, between = format == "text", separator(format)
    if path:
        storage.write(path, between.join(samples).encode("utf-8"))
        logging.info("%s: wrote %d sample%s", path, len(samples), "s"[: len(samples) - 1])
        return
    for i, sample in enumerate(samples):
        if i:
            terminal.write(between)
        if is_text and len(samples) > 1:
            terminal.report_line(f"--- sample {i + 1} ---")
        terminal.write(sample)
