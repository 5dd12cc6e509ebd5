"""Writes text with a trained model; only text goes to standard output.

python -m shakespeare_gen.generate --run_dir=runs/quick --prompt="ROMEO:"
"""

import pathlib
import secrets
import signal
import sys
from dataclasses import asdict

from shakespeare_gen.errors import Interrupted, UsageError, UserError
from shakespeare_gen.options import command_line, groups
from shakespeare_gen.system.signals import Interruption


def main(
    run_config: groups.RunOptions,
    load_config: groups.LoadOptions,
    prompt_config: groups.PromptOptions,
    sampling_config: groups.SamplingOptions,
    generation_config: groups.GenerationOptions,
) -> None:
    """The command: streams the prompt and what follows it."""
    prompt = read_prompt(prompt_config.prompt, prompt_config.prompt_path)
    from absl import logging

    options = asdict(generation_config)
    if options["seed"] < 0:
        options["seed"] = secrets.randbelow(2**31)
    is_single = options["num_samples"] == options["num_beams"] == 1
    generator = load_generator(run_config.run_dir, load_config.checkpoint, is_single)
    logging.info("seed %d", options["seed"])
    options |= asdict(sampling_config)
    if not is_single:
        results = generator.generate(prompt, unknown=load_config.unknown, **options)
        _show_samples(prompt, results)
        return
    try:
        # Not wherever Python is: in a destructor the signal would be lost.
        with Interruption() as interruption, interruption.deferred():
            check = interruption.check
            state = generator.read(prompt, load_config.unknown, check=check)
            _show_stream(prompt, generator.stream(start=state, **options), check)
    except Interrupted as stop:
        print(flush=True)
        # Ctrl-C is the end that was meant for a text without end.
        if options["length"] >= 0 or stop.signal_number != signal.SIGINT:
            raise


def load_generator(run_dir: str, checkpoint: str = "best", single_stream: bool = False):
    """A `generation.Generator` of the best or last checkpoint of a run.

    Args:
      run_dir: a run folder, or several with commas between them: their
        probabilities are averaged.
      checkpoint: `best` or `last`.
      single_stream: see `devices.start`; where TensorFlow runs already, it does nothing.

    Raises:
      UserError: there is no run, or their vocabularies differ.
    """
    from shakespeare_gen import runs
    from shakespeare_gen.runs import checkpoints

    paths = [run_dir] if pathlib.Path(run_dir).exists() else run_dir.split(",")
    if not all(paths):
        raise UsageError(f"--run_dir: expected run folders between commas, received {run_dir!r}")
    every = [runs.Run(path) for path in paths]
    found = [checkpoints.read(run, checkpoint) for run in every]
    vocabulary = _common_vocabulary(every)
    # What was read is checked; only now comes TensorFlow, which takes seconds to import.
    from shakespeare_gen.system import devices

    devices.start(single_stream)
    from shakespeare_gen import generation

    for run, read in zip(every, found, strict=True):
        _log(run, read)
    networks = [checkpoints.load_network(*pair) for pair in zip(every, found, strict=True)]
    return generation.Generator(networks, vocabulary)


def _common_vocabulary(every: list):
    first = every[0].read_vocabulary()
    for run in every[1:]:
        other = run.read_vocabulary()
        if other != first:
            here = "".join(sorted(set(first.characters) - set(other.characters)))[:40]
            there = "".join(sorted(set(other.characters) - set(first.characters)))[:40]
            raise UserError(
                f"--run_dir: expected runs of one vocabulary; {every[0].path} alone has "
                f"{here!r}, {run.path} alone has {there!r}, "
                f"unknown ids: {first.has_unknown_id} and {other.has_unknown_id}"
            )
    return first


def _log(run, checkpoint) -> None:
    from absl import logging

    from shakespeare_gen.models import loss_units

    loss = checkpoint.progress.best_validation_loss
    best = "" if loss is None else f"; best validation loss {loss_units.describe(loss)}"
    logging.info("%s: %s%s", run.path, checkpoint.place.name, best)


def read_prompt(prompt: str, prompt_path: str) -> str:
    """The prompt of `--prompt`, a file, or standard input where it is piped in."""
    if any("\ud800" <= c <= "\udfff" for c in prompt):
        raise UserError(f"--prompt: expected utf-8, received {prompt[:40]!r}")
    if prompt or not prompt_path:
        return prompt
    try:
        data = (
            sys.stdin.buffer.read()
            if prompt_path == "-"
            else pathlib.Path(prompt_path).read_bytes()
        )
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except OSError as error:
        raise UserError(f"--prompt_path={prompt_path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"--prompt_path={prompt_path}: expected utf-8, received byte "
            f"0x{error.object[error.start]:02x} at {error.start}"
        ) from None


def _show_stream(prompt: str, pieces, check) -> None:
    for i, piece in enumerate(pieces):
        check()
        # The prompt is repeated once it is known to be readable.
        print(prompt + piece if i == 0 else piece, end="", flush=True)
    print()


def _show_samples(prompt: str, results: list) -> None:
    for i, result in enumerate(results):
        print(f"{'' if i == 0 else chr(10)}--- sample {i + 1} ---\n{prompt}{result.text}")


if __name__ == "__main__":
    command_line.run(main, *groups.GENERATE_GROUPS)
