"""A corpus beyond memory: the speed of `prepare`, and of training on its shards, with their memory.

    python -m benchmarks.big_corpora --gigabytes=20 --folder=/tmp/big
    python -m benchmarks.big_corpora --folder=/tmp/big --parts=prepare --max_seconds=300

Writes a synthetic text of that size (shuffled speeches of tiny_shakespeare, numbered), and measures

- `read`: `cat` of the text, and `gzip -dc` of a part of it;
- `prepare`: the text, and the part with `gzip`, as a ratio to these. It is killed (SIGKILL) after
  `--killed_after_seconds`, and continued; after `--max_seconds` it is killed, and the next call of
  this program continues. The seconds of all its starts are added up;
- `train`: on the shards and on a part of the text in memory, alternating.

Each part may be a call of its own, with `--parts`; what was measured is kept in `measured.json` in
the folder, and the last line of each call is a table of all of it. `--parts=delete` deletes the
folder. Memory is the peak of the largest process, in 10^6 bytes; see `benchmarks.measuring`.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.measuring import Measured, measured
from shakespeare_gen.data import corpora
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import devices

PARTS = ("write", "read", "prepare", "train", "delete")
_GIGABYTES = flags.DEFINE_float("gigabytes", 20.0, "size of the text")
_PART_MEGABYTES = flags.DEFINE_integer("part_megabytes", 200, "size of the part in memory")
_FOLDER = flags.DEFINE_string("folder", "/tmp/big_corpora", "folder for all files")
_PARTS = flags.DEFINE_list("parts", [*PARTS], f"what to do: {', '.join(PARTS)}")
_MAX_SECONDS = flags.DEFINE_float("max_seconds", float("inf"), "after which `prepare` is killed")
_KILLED_AFTER_SECONDS = flags.DEFINE_float(
    "killed_after_seconds", 60.0, "when `prepare` is killed for the first time; 0: never"
)
_STEPS = flags.DEFINE_integer("steps", 100, "steps of each training")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "trainings of each kind")
SPEECHES_PER_BLOCK = 60_000
NUM_BLOCKS = 8  # different orders of the speeches
DIGITS = 10


def write_text(path: pathlib.Path, num_bytes: int) -> None:
    """Writes shuffled speeches with a number each.

    The blocks of speeches repeat after `NUM_BLOCKS`, with other numbers: shuffling all of them
    would take longer than preparing the text.
    """
    speeches = [speech.encode() for speech in corpora.load(CorpusOptions()).train.split("\n\n")]
    rng = np.random.default_rng(0)
    blocks = [_block(speeches, rng) for _ in range(NUM_BLOCKS)]
    written = number = 0
    with path.open("wb") as file:
        while written < num_bytes:
            data, places = blocks[number % NUM_BLOCKS]
            _write_numbers(data, places, number * SPEECHES_PER_BLOCK)
            written += file.write(data[: num_bytes - written].data)
            number += 1


def _block(speeches: list[bytes], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Speeches in a random order with room for their numbers, and where that room is."""
    chosen = [speeches[i] + b" " for i in rng.integers(0, len(speeches), SPEECHES_PER_BLOCK)]
    ends = np.cumsum([len(speech) + DIGITS + 2 for speech in chosen])
    data = b"".join(speech + b"0" * DIGITS + b"\n\n" for speech in chosen)
    return np.frombuffer(data, np.uint8).copy(), ends - DIGITS - 2


def _write_numbers(data: np.ndarray, places: np.ndarray, first: int) -> None:
    numbers = np.arange(first, first + len(places))
    for digit in reversed(range(DIGITS)):
        data[places + digit] = ord("0") + numbers % 10
        numbers //= 10


def main(_) -> None:
    """Does the parts that were asked for."""
    folder = pathlib.Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    does = {"write": _write, "read": _read, "prepare": _prepare, "train": _train}
    for name in PARTS:
        if name in _PARTS.value and name in does:
            does[name](folder)
    print(_table(_kept(folder)), flush=True)
    if "delete" in _PARTS.value:
        shutil.rmtree(folder)


def _kept(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "measured.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _keep(folder: pathlib.Path, **found: Any) -> None:
    (folder / "measured.json").write_text(json.dumps(_kept(folder) | found, indent=1) + "\n")


def _write(folder: pathlib.Path) -> None:
    """The text, and a part of it, plain and with `gzip`."""
    text, part = folder / "text.txt", folder / "part.txt"
    began = time.perf_counter()
    write_text(text, int(_GIGABYTES.value * 1e9))
    seconds = time.perf_counter() - began
    with text.open("rb") as file:
        part.write_bytes(file.read(_PART_MEGABYTES.value * 10**6))
    subprocess.run(["gzip", "--keep", "--force", str(part)], check=True)
    _keep(folder, write=_row(Measured(seconds, 0, 0), text))


def _read(folder: pathlib.Path) -> None:
    text, part = folder / "text.txt", folder / "part.txt"
    _keep(folder, cat=_row(measured("cat", str(text)), text))
    unpacked = min(measured("gzip", "-dc", f"{part}.gz") for _ in range(3))
    _keep(folder, gzip=_row(unpacked, part))


def _row(used: Measured, text: pathlib.Path) -> dict[str, Any]:
    return used._asdict() | {"bytes": text.stat().st_size, "machine": _machine()}


def _machine() -> str:
    return f"{devices.processor()}, {devices.num_cores()} cores, load {os.getloadavg()[0]:.1f}"


def _prepare(folder: pathlib.Path) -> None:
    """Prepares the text, in several calls if need be, and once the packed part."""
    if "prepare" not in _kept(folder) and _KILLED_AFTER_SECONDS.value:
        _prepare_text(folder, _KILLED_AFTER_SECONDS.value)
    if not _kept(folder).get("prepare", {}).get("is_finished"):
        _prepare_text(folder, _MAX_SECONDS.value)
    if "prepare_gz" not in _kept(folder):
        part, place = folder / "part.txt", folder / "of_gz"
        shutil.rmtree(place, ignore_errors=True)
        used = _prepared(pathlib.Path(f"{part}.gz"), place, float("inf"))
        _keep(folder, prepare_gz=_row(used, part))


def _prepare_text(folder: pathlib.Path, max_seconds: float) -> None:
    """Begins or continues, and keeps the sum of all starts."""
    text, before = folder / "text.txt", _kept(folder).get("prepare", {})
    used = _prepared(text, folder / "shards", max_seconds)
    seconds = [*before.get("starts", []), used.seconds]
    total = Measured(
        sum(seconds),
        max(used.megabytes, before.get("megabytes", 0)),
        max(used.own_megabytes, before.get("own_megabytes", 0)),
        used.is_finished,
    )
    _keep(folder, prepare=_row(total, text) | {"starts": seconds})


def _prepared(path: pathlib.Path, folder: pathlib.Path, max_seconds: float) -> Measured:
    flags_ = [f"--corpus={path}", f"--output_dir={folder}", "--layout=shards"]
    command = [sys.executable, "-m", "shakespeare_gen.prepare", *flags_]
    return measured(*command, max_seconds=max_seconds)


def _train(folder: pathlib.Path) -> None:
    """Alternating rounds, kept one by one."""
    for _ in range(_ROUNDS.value):
        pair = {
            name: _trained(folder / corpus, folder / "run")
            for name, corpus in (("shards", "shards"), ("memory", "part.txt"))
        }
        _keep(folder, train=[*_kept(folder).get("train", []), pair])


def _trained(corpus: pathlib.Path, run: pathlib.Path) -> dict[str, float]:
    """Trains for one epoch."""
    shutil.rmtree(run, ignore_errors=True)
    flags_ = [f"--corpus={corpus}", f"--run_dir={run}", f"--steps_per_epoch={_STEPS.value}"]
    flags_ += ["--epochs=1", "--units=256", "--batch_size=64", "--sample_every_epochs=0"]
    if corpus.is_file():
        flags_ += ["--validation_fraction=0.005", "--test_fraction=0.001"]
    used = measured(sys.executable, "-m", "shakespeare_gen.train", *flags_)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speed = rows[-1]["characters_per_second"]
    return {"speed": speed, "megabytes": used.megabytes, "own_megabytes": used.own_megabytes}


def _table(kept: dict[str, Any]) -> str:
    """All that was measured, as a table in Markdown, and the ratios."""
    names = {
        "write": "writing the text",
        "cat": "`cat`",
        "gzip": "`gzip -dc` of a part",
        "prepare": "`prepare`",
        "prepare_gz": "`prepare` of the part with `.gz`",
    }
    lines = ["| | GB | seconds | MB/s of text | peak memory, MB |", "|---|---|---|---|---|"]
    for name, shown in names.items():
        if row := kept.get(name):
            starts = row.get("starts", [])
            calls = f" ({len(starts)} starts)" if len(starts) > 1 else ""
            shown += "" if row["is_finished"] else ", unfinished"
            cells = (f"{row['bytes'] / 1e9:g}", f"{row['seconds']:,.0f}{calls}", _speed(row))
            lines.append(f"| {shown} | {' | '.join(cells)} | {row['megabytes']:,.0f} |")
    if kept.get("prepare", {}).get("is_finished") and "cat" in kept:
        whole = float(_speed(kept["prepare"]))
        ratios = [f"{whole / float(_speed(kept[name])):.2f} of {name}" for name in ("cat", "gzip")]
        lines.append(f"\nprepare: {', '.join(ratios)}; {kept['prepare']['machine']}")
    return "\n".join([*lines, *_training_lines(kept.get("train", []))])


def _speed(row: dict[str, Any]) -> str:
    return f"{row['bytes'] / 1e6 / row['seconds']:.0f}"


def _training_lines(pairs: list[dict[str, dict[str, float]]]) -> list[str]:
    lines = []
    for name in ("shards", "memory") if pairs else ():
        speeds = ", ".join(f"{pair[name]['speed']:,.0f}" for pair in pairs)
        whole, own = (max(p[name][k] for p in pairs) for k in ("megabytes", "own_megabytes"))
        lines.append(
            f"train, {name}: {speeds} characters/s; peak memory {whole:,.0f} MB, of which the "
            f"process's own {own:,.0f} MB"
        )
    if pairs:
        ratio = statistics.median(
            pair["shards"]["speed"] / pair["memory"]["speed"] for pair in pairs
        )
        lines.append(f"train: shards {ratio:.2f} of memory (median of {len(pairs)} pairs)")
    return lines


if __name__ == "__main__":
    app.run(main)
