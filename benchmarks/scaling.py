"""Time and memory against text size, units, streams and workers, with the lines of theory.

    make bench-scaling                                   # all of it, about ten minutes
    python -m benchmarks.scaling --max_minutes=4         # a part; the next call continues
    python -m benchmarks.scaling --max_minutes=0         # draws the figure and prints the table

Each point is a process of its own, whose peak memory is that of its own pages (`RssAnon`; see
`benchmarks.measuring`). Points that are in benchmarks/scaling.json are not measured again
(`--again`). The figure is benchmarks/scaling.png. The lines are not fits: each has the form that
theory gives and goes through one of the points: the last one where work fills the cores
(operations, all cores busy), else the first one.

Knows the theory of one recurrent layer, an LSTM, with AdamW.
"""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from absl import app, flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import big_corpora, measuring
from shakespeare_gen.system import devices

REPOSITORY = pathlib.Path(__file__).parent.parent
RESULTS = REPOSITORY / "benchmarks" / "scaling.json"
FIGURE = REPOSITORY / "benchmarks" / "scaling.png"
_MAX_MINUTES = flags.DEFINE_float("max_minutes", 60.0, "no point is begun after this time")
_AGAIN = flags.DEFINE_bool("again", False, "measure all points again")
_CHILD = flags.DEFINE_string("child", "", "number of streams; for the processes of this program")

MEGABYTES = (1, 10, 100, 300)
UNITS = (64, 128, 256, 512, 1024)
STREAMS = (1, 4, 16, 64, 256, 1024)
WORKERS = (1, 2, 3)
BATCH, WINDOW, EMBEDDING, VOCABULARY = 64, 100, 64, 75
STREAM_UNITS, STREAM_CHARS = 256, 300
TEXT_UNITS, WORKER_UNITS = 128, 512
HELD_OUT_CHARS = 20_000
FLOAT_BYTES = 4
# Weights, gradients, and the two moments of AdamW.
ARRAYS_PER_WEIGHT = 4
# For each unit and character, kept for the backward pass: four gates, c and h, and the gradients of
# the gates.
KEPT_PER_UNIT = 10
# A character of an ASCII text in memory, at the peak of tokenization: the text, its ids as they are
# computed (int32) and as they are kept (uint8).
BYTES_PER_CHARACTER = 1 + 4 + 1
BLUE, ORANGE, GRAY = "#1f5a9e", "#c8701d", "#5f594f"


class Point(NamedTuple):
    """What is measured: the kind, and its size."""

    kind: str
    size: int

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.size}"


def points() -> Iterator[Point]:
    """All points, so that each kind soon has some."""
    every = {"shards": MEGABYTES, "memory": MEGABYTES, "units": UNITS}
    every |= {"streams": STREAMS, "workers": WORKERS}
    for place in range(max(map(len, every.values()))):
        for kind, sizes in every.items():
            yield from (Point(kind, size) for size in sizes[place : place + 1])


def measure(point: Point, folder: pathlib.Path) -> dict[str, float]:
    """Characters/s, and the memory of the largest process in megabytes."""
    if point.kind == "streams":
        return _generated(point.size)
    if point.kind in ("shards", "memory"):
        return _trained(
            folder, _text(folder, point.size), point.kind == "shards", f"--units={TEXT_UNITS}"
        )
    text = _text(folder, MEGABYTES[0])
    if point.kind == "units":
        return _trained(folder, text, False, f"--units={point.size}")
    workers = (f"--num_local_workers={point.size}",) if point.size > 1 else ()
    return _trained(folder, text, False, f"--units={WORKER_UNITS}", *workers)


def _text(folder: pathlib.Path, megabytes: int) -> pathlib.Path:
    path = folder / f"{megabytes}.txt"
    if not path.exists():
        big_corpora.write_text(path, megabytes * 10**6)
    return path


def _trained(
    folder: pathlib.Path, text: pathlib.Path, in_shards: bool, *options: str
) -> dict[str, float]:
    """Trains for as many steps as take some seconds."""
    fraction = f"--validation_fraction={HELD_OUT_CHARS / text.stat().st_size:.9f}"
    of_text = (fraction, "--test_fraction=0")
    corpus, run = text, folder / "run"
    if in_shards:
        corpus = text.with_suffix(".shards")
        _command(
            "prepare", f"--corpus={text}", f"--output_dir={corpus}", "--layout=shards", *of_text
        )
        of_text = ()
    shutil.rmtree(run, ignore_errors=True)
    used = _command(
        "train",
        *(f"--corpus={corpus}", f"--run_dir={run}", *of_text, *options),
        *(f"--batch_size={BATCH}", f"--window_chars={WINDOW}", f"--embedding_size={EMBEDDING}"),
        *("--steps_per_epoch=40", "--epochs=1", "--sample_every_epochs=0", "--precision=float32"),
    )
    [row] = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return {"speed": row["characters_per_second"], "megabytes": round(used.own_megabytes)}


def _command(verb: str, *options: str) -> measuring.Measured:
    return measuring.measured(sys.executable, "-m", f"shakespeare_gen.{verb}", *options)


def _generated(num_streams: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scaling", f"--child={num_streams}"]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    return json.loads(found.stdout.splitlines()[-1])


def child(num_streams: int) -> None:
    """Generates with an untrained network, and prints the speed after the first call."""
    devices.start()
    from shakespeare_gen import models
    from shakespeare_gen.data.tokenizers import CharacterTokenizer
    from shakespeare_gen.generation import Generator
    from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec

    tokenizer = CharacterTokenizer("".join(map(chr, range(32, 32 + VOCABULARY))))
    network = RecurrentOptions(units=STREAM_UNITS, embedding_size=EMBEDDING)
    generator = Generator(models.build(RecurrentSpec(tokenizer.size, network)), tokenizer)
    generate = functools.partial(
        generator.generate, length=STREAM_CHARS, num_samples=num_streams, seed=1
    )
    generate()
    began = time.perf_counter()
    generate()
    speed = num_streams * STREAM_CHARS / (time.perf_counter() - began)
    megabytes = round(measuring.memory(os.getpid()).own)
    print(json.dumps({"speed": round(speed), "megabytes": megabytes}))


def num_weights(units: int) -> int:
    """Of the embedding, the recurrent layer and the output layer."""
    recurrent = 4 * units * (EMBEDDING + units + 1)
    return VOCABULARY * EMBEDDING + recurrent + (units + 1) * VOCABULARY


def operations(units: int) -> int:
    """Floating-point operations of training per character: a multiplication and an addition for
    each weight forward, twice as many backward; the embedding only looks up."""
    return 6 * (num_weights(units) - VOCABULARY * EMBEDDING)


def training_megabytes(units: int) -> float:
    """What a network adds to the memory of training."""
    kept = KEPT_PER_UNIT * units * BATCH * WINDOW
    return FLOAT_BYTES * (ARRAYS_PER_WEIGHT * num_weights(units) + kept) / 1e6


def main(_) -> None:
    """Measures what is missing, draws the figure and prints a table."""
    if _CHILD.value:
        child(int(_CHILD.value))
        return
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    if _AGAIN.value:
        results = {}
    measure_missing(results)
    draw(results)
    print(table(results))


def measure_missing(results: dict[str, dict[str, Any]]) -> None:
    """Keeps each point as soon as it is there."""
    begin, folder = time.monotonic(), pathlib.Path(tempfile.mkdtemp(prefix="scaling_"))
    try:
        for point in points():
            if point.name in results or time.monotonic() - begin > 60 * _MAX_MINUTES.value:
                continue
            found = measure(point, folder)
            where = f"{devices.processor()}, {devices.num_cores()} cores"
            results[point.name] = {**found, "where": where}
            RESULTS.write_text(to_json(results), "utf-8")
            print(point.name, found, flush=True)
    finally:
        shutil.rmtree(folder)


def to_json(results: dict[str, dict[str, Any]]) -> str:
    """The results with one point per line."""
    lines = [
        f"{json.dumps(p.name)}: {json.dumps(results[p.name])}"
        for p in points()
        if p.name in results
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def table(results: dict[str, dict[str, Any]]) -> str:
    """All points as a table in Markdown."""
    lines = ["| point | characters/s | own memory, MB |", "|---|---|---|"]
    lines += [
        f"| {name} | {row['speed']:,.0f} | {row['megabytes']:,.0f} |"
        for name, row in results.items()
    ]
    return "\n".join([*lines, "; ".join(sorted({row["where"] for row in results.values()}))])


class Line(NamedTuple):
    """A line of theory: its label, its value by size, relative to that at the size `start`."""

    label: str
    value: Callable[[float], float]
    start: int
    is_added: bool = False  # the difference from the value at `start` counts, not the ratio


class Column(NamedTuple):
    """Two panels of the figure."""

    title: str
    size_label: str
    sizes: Sequence[int]
    is_log: bool = False


COLUMNS = (
    Column(f"training, {TEXT_UNITS} units", "characters of text, millions", MEGABYTES),
    Column("training", "units", UNITS, is_log=True),
    Column(f"generation, {STREAM_UNITS} units", "streams", STREAMS, is_log=True),
    Column(f"training, {WORKER_UNITS} units", "workers on one machine", WORKERS),
)
FIELDS = {"speed": "microseconds per character", "megabytes": "own memory of a process, MB"}


def draw(results: dict[str, dict[str, Any]]) -> None:
    """A column for each of text size, units, streams and workers: microseconds per character above,
    memory below."""
    figure = Figure(figsize=(15, 6.6), layout="constrained")
    panels = figure.subplots(2, 4)
    for place, (column, rows) in enumerate(zip(COLUMNS, _columns(), strict=True)):
        for panel, field, lines in zip(panels[:, place], FIELDS, rows, strict=True):
            for kind, color, own in lines:
                _draw_kind(panel, results, kind, field, color, own)
            _set_scale(panel, column, is_log=column.is_log and field == "speed")
            panel.set(xlabel=column.size_label)
            if panel.has_data():
                panel.legend(fontsize="small")
        panels[0, place].set_title(column.title)
    for panel, label in zip(panels[:, 0], FIELDS.values(), strict=True):
        panel.set_ylabel(label)
    figure.savefig(FIGURE, dpi=90, metadata={"Software": None})


def _columns() -> list[tuple[list[tuple[str, str, Sequence[Line]]], ...]]:
    """For each column, the lines of time and those of memory: kind, color, theory."""
    first = MEGABYTES[0]
    same = Line("theory: constant", lambda size: 1.0, first)
    in_memory = Line(
        f"theory: {BYTES_PER_CHARACTER} bytes a character",
        lambda size: BYTES_PER_CHARACTER * size,
        first,
        is_added=True,
    )
    cost = Line("theory: operations", operations, UNITS[-1])
    network = Line(
        "theory: weights, activations",
        training_megabytes,
        UNITS[0],
        is_added=True,
    )
    alone = Line("theory: 1 / streams", lambda size: 1 / size, STREAMS[0])
    full = Line("theory: all cores busy", lambda size: 1.0, STREAMS[-1])
    state = Line(
        "theory: state, logits",
        lambda size: size * FLOAT_BYTES * (2 * STREAM_UNITS + VOCABULARY) / 1e6,
        STREAMS[0],
        is_added=True,
    )
    shared = Line("theory: the same cores", lambda size: 1.0, 1)
    own_cores = Line("theory: 1 / workers", lambda size: 1 / size, 1)
    rows = Line(
        "theory: activations of its rows",
        lambda size: KEPT_PER_UNIT * WORKER_UNITS * BATCH * WINDOW / size * FLOAT_BYTES / 1e6,
        1,
        is_added=True,
    )
    return [
        (
            [("shards", BLUE, [same]), ("memory", ORANGE, [])],
            [("shards", BLUE, [same]), ("memory", ORANGE, [in_memory])],
        ),
        ([("units", BLUE, [cost])], [("units", BLUE, [network])]),
        ([("streams", BLUE, [alone, full])], [("streams", BLUE, [state])]),
        ([("workers", BLUE, [shared, own_cores])], [("workers", BLUE, [rows])]),
    ]


LABELS = {"shards": "text in shards", "memory": "text in memory"}
STYLES = ("--", ":")


def _draw_kind(
    panel: Axes, results: dict[str, Any], kind: str, field: str, color: str, lines: Sequence[Line]
) -> None:
    """The points of a kind, and its lines."""
    found = {
        p.size: results[p.name][field] for p in points() if p.kind == kind and p.name in results
    }
    if not found:
        return
    if field == "speed":
        found = {size: 1e6 / speed for size, speed in found.items()}
    label = LABELS.get(kind, "measured")
    panel.plot(list(found), list(found.values()), "o", color=color, label=label)
    for line, style in zip(lines, STYLES, strict=False):
        if line.start not in found:
            continue
        sizes = _between(min(found), max(found))
        base, at_start = found[line.start], line.value(line.start)
        values = [
            base + line.value(s) - at_start if line.is_added else base * line.value(s) / at_start
            for s in sizes
        ]
        panel.plot(sizes, values, style, color=color if len(lines) == 1 else GRAY, label=line.label)


def _between(first: float, last: float) -> list[float]:
    steps = 50
    return [first * (last / first) ** (i / steps) for i in range(steps + 1)]


def _set_scale(panel: Axes, column: Column, is_log: bool) -> None:
    if column.sizes[-1] > len(column.sizes):
        panel.set_xscale("log")
        panel.set_xticks([], minor=True)
    panel.set_xticks(column.sizes, [f"{size:,}" for size in column.sizes])
    if is_log:
        panel.set_yscale("log")
    else:
        panel.set_ylim(0, 1.35 * panel.get_ylim()[1])  # room for the legend
    panel.grid(alpha=0.3)


if __name__ == "__main__":
    app.run(main)
