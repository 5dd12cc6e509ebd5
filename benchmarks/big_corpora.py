"""A corpus beyond memory: the speed of `prepare`, and of training on its shards, with their memory.

    python -m benchmarks.big_corpora --gigabytes=20 --folder=/tmp/big

Writes a synthetic text of that size (shuffled speeches of tiny_shakespeare), and measures

- reading it with `cat`, and `gzip -dc` of a part of it;
- `prepare` of the text and of the part with `gzip`, as a ratio to these;
- training on the shards and on a part of the text in memory, alternating.

The text is deleted at the end. Memory is the peak of the largest process, mapped files included.
"""

import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import numpy as np
from absl import app, flags

from shakespeare_gen.data import corpora
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import devices

_GIGABYTES = flags.DEFINE_float("gigabytes", 20.0, "size of the text")
_PART_MEGABYTES = flags.DEFINE_integer("part_megabytes", 200, "size of the part in memory")
_FOLDER = flags.DEFINE_string("folder", "/tmp/big_corpora", "folder for all files")
_STEPS = flags.DEFINE_integer("steps", 100, "steps of each training")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "trainings of each kind")
SPEECHES_PER_BLOCK = 60_000
POLL_SECONDS = 0.2


class Measured(NamedTuple):
    """The duration of a command, and the peak memory of its largest process."""

    seconds: float
    megabytes: float


def write_text(path: pathlib.Path, num_bytes: int) -> None:
    """Writes shuffled speeches, with a number each, so that most lines are different."""
    speeches = corpora.load(CorpusOptions()).train.split("\n\n")
    rng, written = np.random.default_rng(0), 0
    with path.open("wb") as file:
        while written < num_bytes:
            order = rng.integers(0, len(speeches), SPEECHES_PER_BLOCK)
            data = "\n\n".join([f"{speeches[i]} {n}" for n, i in enumerate(order, written)])
            written += file.write(data.encode()[: num_bytes - written])


def measured(*command: str) -> Measured:
    """Runs a command without its output."""
    began, peak = time.perf_counter(), 0.0
    with open(os.devnull, "wb") as nothing:
        process = subprocess.Popen(command, stdout=nothing, stderr=subprocess.PIPE)
        reader = threading.Thread(target=process.communicate)  # its log would block it
        reader.start()
        while reader.is_alive():
            reader.join(POLL_SECONDS)
            peak = max([peak, *map(peak_megabytes, family(process.pid))])
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return Measured(time.perf_counter() - began, peak)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in family(int(child)))]


def peak_megabytes(pid: int) -> float:
    """The peak resident memory of a process; 0 if it has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1000 if found else 0.0


def prepared(path: pathlib.Path, folder: pathlib.Path) -> Measured:
    """Runs `prepare`."""
    shutil.rmtree(folder, ignore_errors=True)
    flags_ = [f"--corpus={path}", f"--output_dir={folder}", "--layout=shards"]
    return measured(sys.executable, "-m", "shakespeare_gen.prepare", *flags_)


def trained(corpus: pathlib.Path, run: pathlib.Path) -> tuple[float, float]:
    """Trains for one epoch; returns characters/s and the memory in megabytes."""
    shutil.rmtree(run, ignore_errors=True)
    flags_ = [f"--corpus={corpus}", f"--run_dir={run}", f"--steps_per_epoch={_STEPS.value}"]
    flags_ += ["--epochs=1", "--units=256", "--batch_size=64", "--sample_every_epochs=0"]
    if corpus.is_file():
        flags_ += ["--validation_fraction=0.005", "--test_fraction=0.001"]
    used = measured(sys.executable, "-m", "shakespeare_gen.train", *flags_)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return rows[-1]["characters_per_second"], used.megabytes


def main(_) -> None:
    """Prints all figures."""
    folder = pathlib.Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    text, part = folder / "text.txt", folder / "part.txt"
    num_bytes, part_bytes = int(_GIGABYTES.value * 1e9), _PART_MEGABYTES.value * 10**6
    try:
        write_text(text, num_bytes)
        with text.open("rb") as file:
            part.write_bytes(file.read(part_bytes))
        measured("gzip", "--keep", "--force", str(part))
        print(f"{devices.processor()}, {devices.num_cores()} cores, load {os.getloadavg()[0]:.1f}")
        report(text, part, folder, num_bytes, part_bytes)
    finally:
        shutil.rmtree(folder)


def report(
    text: pathlib.Path, part: pathlib.Path, folder: pathlib.Path, num_bytes: int, part_bytes: int
) -> None:
    """Measures and prints the figures, in megabytes of text per second."""

    def show(what: str, used: Measured, size: int) -> float:
        speed = size / 1e6 / used.seconds
        print(
            f"{what}: {speed:,.0f} MB/s, {used.seconds:,.0f} s, {used.megabytes:,.0f} MB",
            flush=True,
        )
        return speed

    packed = part.with_suffix(".txt.gz")
    cat = show(f"cat of {num_bytes / 1e9:g} GB", measured("cat", str(text)), num_bytes)
    unpacking = [measured("gzip", "-dc", str(packed))]
    whole = show("prepare", prepared(text, folder / "shards"), num_bytes)
    unpacking.append(measured("gzip", "-dc", str(packed)))
    of_packed = show("prepare of .gz", prepared(packed, folder / "of_gz"), part_bytes)
    gzip = show("gzip -dc", min(unpacking), part_bytes)
    print(f"prepare: {whole / cat:.2f} of cat, {whole / gzip:.2f} of gzip -dc")
    print(f"prepare of .gz: {of_packed / gzip:.2f} of gzip -dc", flush=True)
    speeds: dict[str, list[float]] = {"shards": [], "memory": []}
    used: dict[str, float] = {}
    for _ in range(_ROUNDS.value):
        for name, corpus in (("shards", folder / "shards"), ("memory", part)):
            speed, used[name] = trained(corpus, folder / "run")
            speeds[name].append(speed)
            print(f"train, {name}: {speed:,.0f} characters/s, {used[name]:,.0f} MB", flush=True)
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    print(
        f"train: shards {statistics.median(ratios):.2f} of memory (median of {len(ratios)} pairs)"
    )


if __name__ == "__main__":
    app.run(main)
