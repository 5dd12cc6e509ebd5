"""Generates text with a trained model; only text goes to standard output.

python -m shakespeare_gen.generate --run_dir=runs/quick --prompt="ROMEO:"
python -m shakespeare_gen.generate --run_dir=runs/quick --interactive
"""

import dataclasses
import hashlib
import pathlib
import secrets
import signal
from collections.abc import Callable

import numpy as np
from absl import logging

from shakespeare_gen import generation, writing
from shakespeare_gen.data import text_files
from shakespeare_gen.errors import Interrupted, UsageError
from shakespeare_gen.generation import Generator, Request, Result
from shakespeare_gen.generation.generator import BATCH_SAMPLES
from shakespeare_gen.generation.stopping import Part
from shakespeare_gen.options import OptionGroup, Options, command_line
from shakespeare_gen.options.groups import (
    EngineOptions,
    GenerationOptions,
    LoadOptions,
    OutputOptions,
    PromptOptions,
    SavedRunsOptions,
    UnknownOptions,
)
from shakespeare_gen.runs import loading
from shakespeare_gen.system import terminal
from shakespeare_gen.system.signals import Interruption
from shakespeare_gen.writing import console, samples
from shakespeare_gen.writing.many_samples import SampleFile
from shakespeare_gen.writing.samples import Source

# Options that do not change the samples, and the seed, which may be that of the file.
FREE_OPTIONS = frozenset({"output_path", "overwrite", "run_dir", "seed"})
FINISHING = "\nFinishing the batch of samples; a second signal stops immediately.\n"


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (
        SavedRunsOptions,
        LoadOptions,
        UnknownOptions,
        EngineOptions,
        PromptOptions,
        OutputOptions,
        *generation.groups(),
    )


def main(options: Options) -> None:
    """The command: writes the prompt and its continuation."""
    output = options[OutputOptions]
    if output.interactive:
        _interact(options)
        return
    path = samples.output_path(output)
    prompt = read_prompt(options[PromptOptions])
    chosen = options[GenerationOptions]
    if path and chosen.num_beams == 1 and chosen.num_samples > BATCH_SAMPLES:
        _write_many(options, prompt, path)
        return
    if options[GenerationOptions].seed < 0:
        options = options.replaced(seed=secrets.randbelow(2**31))
    request = Request.from_options(options, prompt, options[UnknownOptions].unknown)
    is_single = request.generation.num_samples == request.generation.num_beams == 1
    if not is_single:
        request.check_is_finite()
    generator, source = _load(options, prompt, is_single)
    logging.info("seed %d", request.generation.seed)
    if is_single and output.is_standard_output and output.format == "text":
        _stream(generator, request)
        return
    results, stop = _complete(generator, request, is_single)
    samples.write(samples.lines(output.format, request, results, source), output.format, path)
    _finish(request, stop)


def read_prompt(options: PromptOptions) -> str:
    """The prompt from the options, a file, or standard input.

    Raises:
      UserError: the prompt cannot be read or decoded.
    """
    path = options.prompt_path
    if not path:
        return options.prompt
    if path == "-":
        data = terminal.read_standard_input("prompt_path=-", text_files.MAX_NAMED_BYTES)
        return terminal.decoded(data, "prompt_path=-")
    return text_files.read_named(path, "prompt_path=")


def _load(options: Options, prompt: str, is_single: bool) -> tuple[Generator, Source]:
    """The generator, after a check of the prompt, and what it was loaded from."""
    run_dir = options[SavedRunsOptions].run_dir
    found = loading.read_checkpoints(run_dir, options[LoadOptions].checkpoint)
    generator = loading.generator_of(found, options[EngineOptions].engine, is_single)
    path = options[PromptOptions].prompt_path
    name = f"prompt_path={path}" if path else "prompt"
    generator.tokenizer.prepare(prompt, options[UnknownOptions].unknown, name)
    runs = ",".join(run.name for run, _ in found)
    return generator, Source(runs, ",".join(read.place.name for _, read in found))


def _write_many(options: Options, prompt: str, path: pathlib.Path) -> None:
    """Writes samples to a file as they are complete; continues an unfinished file."""
    output, unknown = options[OutputOptions], options[UnknownOptions].unknown
    first = options.replaced(seed=max(options[GenerationOptions].seed, 0))
    Request.from_options(first, prompt, unknown).check_is_sampled()
    generator, source = _load(options, prompt, is_single=False)
    description = {
        "prompt": prompt,
        "source": dataclasses.asdict(source),
        "weights": _weights_sha256(generator),
        "options": {name: v for name, v in options.by_name().items() if name not in FREE_OPTIONS},
    }
    seed = options[GenerationOptions].seed
    with SampleFile.open(path, description, seed) as file, Interruption(FINISHING) as interruption:
        if file.seed < 0:
            file.start(secrets.randbelow(2**31))
        logging.info("seed %d", file.seed)
        request = Request.from_options(options.replaced(seed=file.seed), prompt, unknown)
        num_samples = request.generation.num_samples
        try:
            with interruption.deferred():
                for results in generator.sample_batches(request, file.num_done):
                    found = samples.lines(output.format, request, results, source, file.num_done)
                    file.append(found, samples.separator(output.format))
                    interruption.check()
        except Interrupted as stop:
            done = f"{file.num_done:,} of {num_samples:,} samples"
            message = f"interrupted after {done}; run the command again to continue"
            raise Interrupted(stop.signal_number, message) from None
    logging.info("%s: wrote %s samples", path, f"{num_samples:,}")


def _weights_sha256(generator: Generator) -> str:
    """Distinguishes runs whose folders and checkpoints have the same names."""
    digest = hashlib.sha256()
    for name, weight in sorted(generator.model.weights.items()):
        digest.update(name.encode() + np.asarray(weight).tobytes())
    return digest.hexdigest()


def _interact(options: Options) -> None:
    """Writes in a session; the prompt is its first text."""
    if options[PromptOptions].prompt_path == "-":
        raise UsageError(
            "prompt_path: expected a file with `interactive`, which reads lines from standard "
            "input, received -"
        )
    prompt = read_prompt(options[PromptOptions])
    if "unknown" not in options.given:  # an unknown quotation mark must not stop a writer
        options = options.replaced(unknown="skip")
    settings = writing.checked(options.only(writing.groups()))
    generator, _ = _load(options, prompt, is_single=True)
    session = writing.Session(generator, settings)
    session.add(prompt)
    console.run(session)


def _stream(generator: Generator, request: Request) -> None:
    """Writes one text while it is generated."""
    unwritten = [request.prompt]

    def show(part: Part) -> None:
        # Shown together with the first piece: until then the prompt may still be rejected.
        terminal.write("".join([*unwritten, part.text]))
        unwritten.clear()

    stop = _generate(generator, request, show)
    terminal.write("\n")
    _finish(request, stop)


def _complete(
    generator: Generator, request: Request, is_single: bool
) -> tuple[list[Result], Interrupted | None]:
    """All samples; of a single one that is interrupted, its beginning."""
    if not is_single:
        return generator.generate_batch([request])[0], None
    parts: list[Part] = []
    stop = _generate(generator, request, parts.append)
    if stop and not parts:
        return [], stop
    reason = parts[-1].finish_reason if parts else None
    return [Result.of_parts(parts, reason or ("interrupted" if stop else "length"))], stop


def _generate(
    generator: Generator, request: Request, take: Callable[[Part], None]
) -> Interrupted | None:
    """Generates one text; returns the signal that ended it, if there was one."""
    try:
        # Deferred: a signal that Python raises within a destructor would be lost.
        with Interruption() as interruption, interruption.deferred():
            check = interruption.check
            state = generator.read(request.prompt, request.unknown, check=check)
            rest = dataclasses.replace(request, prompt="", start=state)
            for part in generator.stream_parts(rest):
                check()
                take(part)
    except Interrupted as stop:
        return stop
    return None


def _finish(request: Request, stop: Interrupted | None) -> None:
    """Ends an interrupted command, unless Ctrl-C is the intended way to end the text."""
    if stop and (request.generation.length >= 0 or stop.signal_number != signal.SIGINT):
        raise stop


if __name__ == "__main__":
    command_line.run(main, *groups())
