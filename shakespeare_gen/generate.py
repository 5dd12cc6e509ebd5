"""Generates text with a trained model; only text goes to standard output.

python -m shakespeare_gen.generate --run_dir=runs/quick --prompt="ROMEO:"
python -m shakespeare_gen.generate --run_dir=runs/quick --interactive
"""

import dataclasses
import secrets
import signal
from collections.abc import Callable

from absl import logging

from shakespeare_gen import generation, writing
from shakespeare_gen.data import text_files
from shakespeare_gen.errors import Interrupted, UsageError
from shakespeare_gen.generation import Generator, Request, Result
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
from shakespeare_gen.writing.samples import Source


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
