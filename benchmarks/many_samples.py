"""Memory and speed of `generate` with many samples, killed once and continued.

    python -m benchmarks.many_samples --num_samples=100000

The command is killed (SIGKILL) after `--killed_after_seconds`, and run again. Then the file is
read: it must have every sample once, in order. Prints the speed and, every ten seconds, the samples
that are written and the memory that belongs to the process.
"""

import json
import pathlib
import shutil
import sys
import tempfile

from absl import app, flags

from benchmarks import measuring
from benchmarks.measuring import Measured, Memory
from shakespeare_gen import pretrained
from shakespeare_gen.system import devices

_RUN_DIR = flags.DEFINE_string("run_dir", pretrained.PREFIX + "tiny-shakespeare", "the model")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 100_000, "number of samples")
_LENGTH = flags.DEFINE_integer("length", 100, "characters of each sample")
_KILLED_AFTER_SECONDS = flags.DEFINE_float("killed_after_seconds", 40.0, "when it is killed")
_SHOWN_SECONDS = 10.0


def main(_) -> None:
    """Runs the command twice, checks the file and prints the figures."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="many_samples_"))
    try:
        path = folder / "samples.jsonl"
        print(f"{devices.processor()}, {devices.num_cores()} cores")
        killed = _run(path, _KILLED_AFTER_SECONDS.value)
        if killed.is_finished:
            raise SystemExit("it ended before it was killed; choose a smaller killed_after_seconds")
        num_done = _num_done(path)
        print(f"killed after {killed.seconds:.0f} s and {num_done:,} samples", flush=True)
        rest = _run(path, float("inf"))
        _check(path)
        num_chars = (_NUM_SAMPLES.value - num_done) * _LENGTH.value
        print(
            f"continued to {_NUM_SAMPLES.value:,} samples in {rest.seconds:.0f} s: "
            f"{num_chars / rest.seconds:,.0f} characters/s with the start; peak memory "
            f"{max(killed.megabytes, rest.megabytes):,.0f} MB, of which the process's own "
            f"{max(killed.own_megabytes, rest.own_megabytes):,.0f} MB"
        )
    finally:
        shutil.rmtree(folder)


def _run(path: pathlib.Path, max_seconds: float) -> Measured:
    shown = 0.0

    def show(seconds: float, now: Memory) -> None:
        nonlocal shown
        if seconds >= shown + _SHOWN_SECONDS:
            shown = seconds
            print(f"{seconds:4.0f} s: {_num_done(path):7,} samples, {now.own:.0f} MB", flush=True)

    command = [sys.executable, "-m", "shakespeare_gen.generate", f"--run_dir={_RUN_DIR.value}"]
    command += [f"--num_samples={_NUM_SAMPLES.value}", f"--length={_LENGTH.value}", "--seed=1"]
    command += [f"--output_path={path}", "--format=jsonl"]
    return measuring.measured(*command, max_seconds=max_seconds, watch=show)


def _num_done(path: pathlib.Path) -> int:
    """The samples that the unfinished file has, by its hidden state."""
    try:
        return json.loads(path.with_name(f".{path.name}.json").read_bytes())["num_done"]
    except (OSError, ValueError, KeyError):
        return 0


def _check(path: pathlib.Path) -> None:
    with path.open(encoding="utf-8") as lines:
        numbers = [json.loads(line)["sample"] for line in lines]
    if numbers != list(range(1, _NUM_SAMPLES.value + 1)):
        raise SystemExit(f"expected the samples 1 to {_NUM_SAMPLES.value}, found others")


if __name__ == "__main__":
    app.run(main)
