"""Generates text with a trained model; only text goes to standard output.

python -m shakespeare_gen.generate --run_dir=runs/quick --prompt="ROMEO:"
"""

import dataclasses
import secrets
import signal
from collections.abc import Callable, Iterator

from absl import logging

from shakespeare_gen import generation
from shakespeare_gen.errors import Interrupted, UserError
from shakespeare_gen.generation.request import Request
from shakespeare_gen.options import OptionGroup, Options, command_line
from shakespeare_gen.options.groups import (
    EngineOptions,
    GenerationOptions,
    LoadOptions,
    PromptOptions,
    SavedRunsOptions,
    UnknownOptions,
)
from shakespeare_gen.runs import loading
from shakespeare_gen.system import terminal
from shakespeare_gen.system.signals import Interruption


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (
        SavedRunsOptions,
        LoadOptions,
        UnknownOptions,
        EngineOptions,
        PromptOptions,
        *generation.groups(),
    )


def main(options: Options) -> None:
    """The command: writes the prompt and its continuation."""
    prompt = read_prompt(options[PromptOptions])
    unknown = options[UnknownOptions].unknown
    if options[GenerationOptions].seed < 0:
        options = options.replaced(seed=secrets.randbelow(2**31))
    request = Request.from_options(options, prompt, unknown)
    is_single = request.generation.num_samples == request.generation.num_beams == 1
    if not is_single:
        request.check_is_finite()
    generator = loading.load(options, single_stream=is_single)
    path = options[PromptOptions].prompt_path
    generator.tokenizer.prepare(prompt, unknown, f"prompt_path={path}" if path else "prompt")
    logging.info("seed %d", request.generation.seed)
    if is_single:
        _stream(generator, request)
    else:
        [results] = generator.generate_batch([request])
        _show_samples(prompt, results)


def read_prompt(options: PromptOptions) -> str:
    """The prompt from the options, a file, or standard input.

    Raises:
      UserError: the prompt cannot be read, or is not UTF-8.
    """
    if not options.prompt_path:
        return options.prompt
    data = terminal.read_input("prompt_path", options.prompt_path)
    try:
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"prompt_path={options.prompt_path}: expected utf-8, received byte "
            f"0x{data[error.start]:02x} at {error.start}"
        ) from None


def _stream(generator: "generation.Generator", request: Request) -> None:
    try:
        # Deferred: a signal that Python raises within a destructor would be lost.
        with Interruption() as interruption, interruption.deferred():
            check = interruption.check
            state = generator.read(request.prompt, request.unknown, check=check)
            rest = dataclasses.replace(request, prompt="", start=state)
            _show_stream(request.prompt, generator.stream_request(rest), check)
    except Interrupted as stop:
        terminal.write("\n")
        # Ctrl-C is the intended way to end text of unlimited length.
        if request.generation.length >= 0 or stop.signal_number != signal.SIGINT:
            raise


def _show_stream(prompt: str, pieces: Iterator[str], check: Callable[[], None]) -> None:
    for i, piece in enumerate(pieces):
        check()
        # Shown together with the first piece: until then the prompt may still be rejected.
        terminal.write(prompt + piece if i == 0 else piece)
    terminal.write("\n")


def _show_samples(prompt: str, results: list) -> None:
    for i, result in enumerate(results):
        separator = "\n" if i else ""
        terminal.write(f"{separator}--- sample {i + 1} ---\n{prompt}{result.text}\n")


if __name__ == "__main__":
    command_line.run(main, *groups())
