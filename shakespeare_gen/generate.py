"""Writes text with a trained model; only text goes to standard output.

python -m shakespeare_gen.generate --run_dir=runs/quick --prompt="ROMEO:"
"""

import pathlib
import secrets
import sys
from dataclasses import asdict

from shakespeare_gen import cli, config
from shakespeare_gen.errors import UserError


def main(
    run_config: config.RunConfig,
    prompt_config: config.PromptConfig,
    sampling_config: config.SamplingConfig,
    generation_config: config.GenerationConfig,
) -> None:
    """The command: streams the prompt and what follows it."""
    prompt = read_prompt(prompt_config.prompt, prompt_config.prompt_path)
    from absl import logging

    seed = generation_config.seed if generation_config.seed >= 0 else secrets.randbelow(2**31)
    generator = load_generator(run_config.run_dir, generation_config.checkpoint)
    logging.info("seed %d", seed)
    pieces = generator.stream(
        prompt,
        generation_config.length,
        generation_config.num_samples,
        generation_config.stop,
        seed,
        prompt_config.unknown,
        **asdict(sampling_config),
    )
    if generation_config.num_samples == 1:
        _show_stream(prompt, pieces)
    else:
        _show_samples(prompt, list(pieces))


def load_generator(run_dir: str, checkpoint: str = "best"):
    """A `generation.Generator` of the run's best or last checkpoint."""
    from absl import logging

    from shakespeare_gen import checkpoints, metrics, runs

    run = runs.Run(run_dir)
    found = checkpoints.read(run, checkpoint)
    # What was read is checked; only now comes TensorFlow, which takes seconds to import.
    from shakespeare_gen import devices

    devices.start()
    from shakespeare_gen import generation

    loss = found.progress.best_validation_loss
    logging.info(
        "%s: %s%s",
        run.path,
        found.place.name,
        "" if loss is None else f"; best validation loss {metrics.describe(loss)}",
    )
    return generation.Generator(checkpoints.load_network(run, found), run.read_vocabulary())


def read_prompt(prompt: str, prompt_path: str) -> str:
    """The prompt of `--prompt`, a file, or standard input where it is piped in."""
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


def _show_stream(prompt: str, pieces) -> None:
    for i, piece in enumerate(pieces):
        # The prompt is repeated once it is known to be readable.
        print(prompt + piece[0] if i == 0 else piece[0], end="", flush=True)
    print()


def _show_samples(prompt: str, pieces: list[list[str]]) -> None:
    for i, row in enumerate(zip(*pieces, strict=True)):
        print(f"{'' if i == 0 else chr(10)}--- sample {i + 1} ---\n{prompt}{''.join(row)}")


if __name__ == "__main__":
    cli.run(
        main, config.RunConfig, config.PromptConfig, config.SamplingConfig, config.GenerationConfig
    )
