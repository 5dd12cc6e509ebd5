"""Training speed against stock Keras and PyTorch: characters/s, ratios, peak memory.

    make bench-train                      the headline size, 5 rounds, and three batch sizes
    python benchmarks/train_speed.py --grid=calls    several steps in one call
    python benchmarks/train_speed.py --grid=full     hours; goes on where it was ended

Every contender is a process of its own that trains only while it is its turn; turns
of a few seconds alternate round by round, so that all see the same minutes of a noisy
machine. Only steady steps count: the first ones are left out. Where the processors'
time was stolen, by other guests of a virtual machine's host, the turn is taken again.
The same model (Embedding 64, recurrent layers, Dense), data, AdamW and clipping by
global norm 1.0 for all. Read the ratios, which are of medians over rounds. Sizes that
are done are kept in benchmarks/results.json, from which benchmarks/RESULTS.md is
written; `--again` measures them anew.
"""

import argparse
import ast
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # runs from a clone, installed or not
WARM_STEPS, MIN_STEPS, MIN_SECONDS = 3, 5, 3.0
# Where a step takes many seconds, fewer of them tell as much, and caches are warm at its start.
LONG_STEP_SECONDS, LONG_SECONDS = 2.0, 10.0
# Of the processors' time, what may be stolen in a turn, and how often a turn is taken at most.
MAX_STOLEN, MAX_TRIES = 0.03, 4
VOCABULARY_SIZE, EMBEDDING_SIZE = 65, 64
HEADLINE = (512, 1, 64, 100)  # units, layers, batch, window
DEFAULT = [(512, 1, 128, 100), (512, 1, 256, 100), (256, 1, 64, 100)]  # and the headline
CONTENDERS = {
    "ours float32": {"kind": "ours", "precision": "float32"},
    "ours float32, 8 steps a call": {"kind": "ours", "precision": "float32", "steps_per_call": 8},
    "ours min_gru": {"kind": "ours", "precision": "float32", "cell": "min_gru"},
    "ours bfloat16": {"kind": "ours", "precision": "bfloat16"},
    "Keras": {"kind": "keras"},
    "Keras with oneDNN": {"kind": "keras", "onednn": "1"},
    "PyTorch float32": {"kind": "torch"},
    "PyTorch bfloat16": {"kind": "torch", "precision": "bfloat16"},
}


def same_size_min_gru(units: int, layers: int) -> tuple[int, int]:
    """Layers of the same width that give a min_gru about an LSTM's parameters."""

    def lstm(n):
        return 4 * units * (EMBEDDING_SIZE + units + 1) + (n - 1) * 4 * units * (2 * units + 1)

    def min_gru(n):
        return 2 * units * (EMBEDDING_SIZE + 1) + (n - 1) * 2 * units * (units + 1)

    best = min(range(1, 20), key=lambda n: abs(min_gru(n) - lstm(layers)))
    return units, best


def batches(batch_size: int, window_chars: int):
    """The same random ids for everyone: int32 [B, T + 1]."""
    import numpy as np

    shape = (batch_size, window_chars + 1)
    return np.random.default_rng(0).integers(0, VOCABULARY_SIZE, shape).astype("int32")


class Turns:
    """A training's side of the alternation: it stands still until it is asked for a round.

    A line on standard input asks for a round, whose median seconds a step are answered in a line
    of JSON; the end of the input ends the training.
    """

    def __init__(self) -> None:
        self.first_step_seconds = 0.0
        self.ends: list[float] = []
        self.is_ready = False

    def goes_on(self) -> bool:
        """Called at each step's end; whether to take another step."""
        self.ends.append(time.perf_counter())
        if not self.first_step_seconds:
            self.first_step_seconds = time.time() - float(os.environ["BENCH_START"])
        steps = [after - before for before, after in itertools.pairwise(self.ends)]
        if not self.is_ready:
            self.is_ready = len(steps) >= WARM_STEPS or sum(steps) > LONG_SECONDS
            return self._answers({"ready": True}) if self.is_ready else True
        enough = len(steps) >= MIN_STEPS and sum(steps) > MIN_SECONDS
        if not (enough or sum(steps) > LONG_SECONDS):
            return True
        return self._answers({"step_seconds": statistics.median(steps)})

    def _answers(self, found: dict) -> bool:
        print(json.dumps(found), flush=True)
        asked = sys.stdin.readline()
        is_long = self.ends[-1] - self.ends[-2] > LONG_STEP_SECONDS
        # The first step after the others' turns is not counted, unless a step is long.
        self.ends = [time.perf_counter()] if is_long else []
        return bool(asked)


def train_keras_model(make_model, ids, turns: Turns, steps_per_call: int = 1) -> dict:
    """Fits `make_model()` on `ids` for as long as rounds are asked for."""
    import keras
    import tensorflow as tf

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = not turns.goes_on()

    model = make_model()
    optimizer = keras.optimizers.AdamW(0.002, weight_decay=0.01, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False, steps_per_execution=steps_per_call)
    inputs, targets = tf.constant(ids[:, :-1]), tf.constant(ids[:, 1:])
    data = tf.data.Dataset.range(10_000).map(lambda _: (inputs, targets)).repeat()
    model.fit(
        data, verbose=0, callbacks=[Clock()], shuffle=False, epochs=1_000, steps_per_epoch=10_000
    )
    return {"parameters": model.count_params(), "steps_per_call": steps_per_call}


def train_ours(
    turns, units, layers, batch, window, precision, cell="lstm", steps_per_call=1
) -> dict:
    """Our network and training model, as `train` builds them."""
    from shakespeare_gen import devices

    devices.start()
    from shakespeare_gen import model

    if cell == "min_gru":
        units, layers = same_size_min_gru(units, layers)

    def make_model():
        network = model.build(
            VOCABULARY_SIZE,
            cell=cell,
            units=units,
            num_layers=layers,
            embedding_size=EMBEDDING_SIZE,
            precision=precision,
        )
        return model.TrainingModel(network)

    return train_keras_model(make_model, batches(batch, window), turns, steps_per_call)


def train_keras(turns, units, layers, batch, window) -> dict:
    """Stock `keras.layers.LSTM` under `fit`."""
    import keras

    def make_model():
        ids = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE)(ids)
        for _ in range(layers):
            x = keras.layers.LSTM(units, return_sequences=True)(x)
        return keras.Model(ids, keras.layers.Dense(VOCABULARY_SIZE)(x))

    return train_keras_model(make_model, batches(batch, window), turns)


def train_torch(turns, units, layers, batch, window, precision="float32") -> dict:
    """`torch.nn.LSTM` in an eager loop, all threads; bfloat16 under autocast."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE)
            self.lstm = torch.nn.LSTM(EMBEDDING_SIZE, units, layers, batch_first=True)
            self.logits = torch.nn.Linear(units, VOCABULARY_SIZE)

        def forward(self, ids):
            return self.logits(self.lstm(self.embedding(ids))[0])

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), 0.002, weight_decay=0.01)
    ids = torch.from_numpy(batches(batch, window).astype("int64"))
    while True:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(ids[:, :-1])
        loss = torch.nn.functional.cross_entropy(
            logits.float().reshape(-1, VOCABULARY_SIZE), ids[:, 1:].reshape(-1)
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if not turns.goes_on():
            return {"parameters": sum(p.numel() for p in model.parameters()), "steps_per_call": 1}


def child(kind: str, size: list[int], options: dict) -> None:
    """One contender's process: a line of JSON for each round, then one for all of them."""
    train = {"ours": train_ours, "keras": train_keras, "torch": train_torch}[kind]
    turns = Turns()
    found = train(turns, *size, **options)
    found["first_step_seconds"] = turns.first_step_seconds
    # Not `ru_maxrss`, which begins with what the parent had.
    status = pathlib.Path("/proc/self/status").read_text("utf-8")
    found["peak_mib"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps(found), flush=True)


def ticks() -> list[int]:
    """The processors' time so far, by use, as Linux counts it; zeros elsewhere."""
    stat = pathlib.Path("/proc/stat")
    return (
        [int(n) for n in stat.read_text().split("\n")[0].split()[1:9]] if stat.exists() else [0] * 8
    )


def stolen_share(before: list[int], after: list[int]) -> float:
    """The share of the time between two `ticks` that the host gave to others."""
    spent = [b - a for a, b in zip(before, after, strict=True)]
    return spent[7] / max(sum(spent), 1)


class Contender:
    """A child process, from the outside. An error of its own ends it, and is kept."""

    def __init__(self, name: str, size: tuple) -> None:
        options = dict(CONTENDERS[name])
        kind = options.pop("kind")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(HERE.parent)}
        environment["BENCH_START"] = str(time.time())
        if kind == "keras":  # as TensorFlow comes, or with the switch we set
            environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
            if onednn := options.pop("onednn", None):
                environment["TF_ENABLE_ONEDNN_OPTS"] = onednn
        command = [sys.executable, __file__, "--child", kind, json.dumps(size), json.dumps(options)]
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 the child's
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=self.errors, text=True
        )
        self.error = ""
        self.turns: list[tuple[float, float]] = []  # share of time stolen, seconds a step
        self._read()

    def take_turn(self) -> None:
        """One round: the turn in which the least was stolen."""
        tries: list[tuple[float, float]] = []
        while not self.error and len(tries) < MAX_TRIES:
            before = ticks()
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            if found := self._read():
                tries.append((stolen_share(before, ticks()), found["step_seconds"]))
                if tries[-1][0] <= MAX_STOLEN:
                    break
        self.turns += [min(tries)] if tries else []

    def result(self, size: tuple) -> dict:
        """Ends the process; medians over the rounds."""
        self.process.stdin.close()
        found = {} if self.error else self._read()
        self.process.wait()
        if self.error:
            return {"error": self.error}
        stolen, seconds = zip(*self.turns, strict=True)
        step_seconds = statistics.median(seconds) / found.pop("steps_per_call")
        speed = size[2] * size[3] / step_seconds
        return {"characters_per_second": speed, **found, "most_stolen": max(stolen)}

    def _read(self) -> dict:
        if line := self.process.stdout.readline():
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        self.error = f"exit code {code}: {self.errors.read().strip().splitlines()[-1:]}"[:200]
        return {}


def measure_size(size: tuple, names: list[str], rounds: int) -> dict[str, dict]:
    """Alternates the contenders `rounds` times; medians by contender."""
    contenders = {name: Contender(name, size) for name in names}
    for number in range(rounds):
        first = number % len(names)  # whoever begins a round is not always the same
        for name in names[first:] + names[:first]:
            contenders[name].take_turn()
            print(
                f"{size} round {number + 1} {name}: stolen, s a call {contenders[name].turns[-1:]}",
                file=sys.stderr,
                flush=True,
            )
    return {name: contender.result(size) for name, contender in contenders.items()}


def table(size: tuple, medians: dict[str, dict], rounds: int, where: str) -> str:
    """One size's results as Markdown, with ratios to Keras and PyTorch float32."""
    units, layers, batch, window = size
    worst = max(m.get("most_stolen", 0.0) for m in medians.values())
    lines = [
        f"### {units} units, {layers} layer{'s' * (layers > 1)}, batch {batch}, {window} steps"
        f" ({rounds} round{'s' * (rounds > 1)})",
        "",
        f"{where}; in the worst of the turns {worst:.0%} of the time was stolen.",
        "",
        "| | parameters | characters/s | x Keras | x PyTorch | first step, s | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]

    def ratio(speed, name):
        base = medians.get(name, {}).get("characters_per_second")
        return f"{speed / base:.2f}" if base else ""

    for name, m in medians.items():
        if "error" in m:
            lines.append(f"| {name} | {m['error'].replace('|', '/')} | | | | | |")
            continue
        speed = m["characters_per_second"]
        lines.append(
            f"| {name} | {m['parameters']:,.0f} | {speed:,.0f} | {ratio(speed, 'Keras')} | "
            f"{ratio(speed, 'PyTorch float32')} | {m['first_step_seconds']:.1f} | "
            f"{m['peak_mib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def sizes(grid: str, has_bfloat16: bool) -> list[tuple[tuple, list[str], int]]:
    """(size, contenders, rounds) of a grid."""
    everyone = [name for name in CONTENDERS if "call" not in name]
    main = ["ours float32", "Keras", "Keras with oneDNN", "PyTorch float32"]
    chosen = [(HEADLINE, everyone, 5)]
    if grid == "headline":
        return chosen
    if grid == "default":
        return chosen + [(size, main, 5) for size in DEFAULT]
    if grid == "calls":
        calls = ["ours float32", "ours float32, 8 steps a call"]
        small = [(units, 1, 32, 64) for units in (64, 256, 512)]
        recipes = [(units, 1, 64, 128) for units in (256, 512)]
        return [(size, calls, 5) for size in small + recipes]
    peers = ["ours float32", "Keras", "PyTorch float32"]
    if has_bfloat16:  # elsewhere it is emulated, and takes hours
        peers += ["ours bfloat16", "PyTorch bfloat16"]
    full = [
        (units, layers, batch, window)
        for units in (256, 512, 1024)
        for layers in (1, 2)
        for batch in (64, 128)
        for window in (100, 256)
    ]
    return [(size, main if size in DEFAULT else peers, 5) for size in full]


def is_done(found: dict | None, contenders: list[str], rounds: int) -> bool:
    """Whether a kept size has all `contenders`, in as many rounds and without errors."""
    if not found or found["rounds"] < rounds:
        return False
    return all("error" not in found["medians"].get(name, {"error": ""}) for name in contenders)


def summary(kept: dict[str, dict]) -> str:
    """One line a size: our speed and its ratios."""
    lines = [
        "| units | layers | batch | steps | characters/s | x Keras | x PyTorch | peak MiB "
        "| Keras's | PyTorch's | stolen |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    names = ("ours float32", "Keras", "PyTorch float32")
    for key in sorted(kept, key=ast.literal_eval):
        ours, keras, torch = (kept[key]["medians"].get(name, {}) for name in names)
        if not all("characters_per_second" in m for m in (ours, keras, torch)):
            continue
        speed = ours["characters_per_second"]
        cells = [*map(str, ast.literal_eval(key)), f"{speed:,.0f}"]
        cells += [f"{speed / peer['characters_per_second']:.2f}" for peer in (keras, torch)]
        cells += [f"{m['peak_mib']:,.0f}" for m in (ours, keras, torch)]
        cells += [f"{max(m.get('most_stolen', 0.0) for m in (ours, keras, torch)):.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_page(path: pathlib.Path, kept: dict[str, dict]) -> None:
    """Every size that was measured: a line each, then a table each."""
    head = (
        "# Training speed\n\n"
        "Made by `benchmarks/train_speed.py`. Characters/s are medians over rounds in which the "
        "contenders alternate, hours apart from one size to the next: compare within a line or a "
        "table only.\n\n## Ours in float32\n\n"
    )
    tables = "\n".join(kept[key]["table"] for key in sorted(kept, key=ast.literal_eval))
    path.write_text(f"{head}{summary(kept)}\n## Everyone\n\n{tables}", "utf-8")


def main() -> None:
    """Measures a grid and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    grids = ("headline", "default", "calls", "full")
    parser.add_argument("--grid", choices=grids, default="default")
    parser.add_argument("--rounds", type=int, default=0, help="0: as the grid says")
    parser.add_argument(
        "--contenders",
        default="",
        help="comma-separated; a size that is measured again has no others then; empty: as the "
        "grid says",
    )
    parser.add_argument("--again", action="store_true", help="measure sizes that are done anew")
    parser.add_argument("--output_dir", default=str(HERE))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        kind, size, options = flags.child
        child(kind, json.loads(size), json.loads(options))
        return
    from shakespeare_gen import devices

    hardware = devices.hardware()
    place = pathlib.Path(flags.output_dir)
    store = place / "results.json"
    kept = json.loads(store.read_text("utf-8")) if store.exists() else {}
    write_page(place / "RESULTS.md", kept)  # of what is done already
    has_bfloat16 = devices.choose_precision("auto") == "bfloat16"
    for size, contenders, rounds in sizes(flags.grid, has_bfloat16):
        rounds = flags.rounds or rounds
        contenders = flags.contenders.split(",") if flags.contenders else contenders
        if not flags.again and is_done(kept.get(str(size)), contenders, rounds):
            continue
        medians = measure_size(size, contenders, rounds)
        where = (
            f"{hardware['processor']}, {hardware['threads']} threads, {time.strftime('%Y-%m-%d')}"
        )
        text = table(size, medians, rounds, where)
        kept[str(size)] = {"rounds": rounds, "medians": medians, "table": text}
        store.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        print(text, flush=True)
        write_page(place / "RESULTS.md", kept)


if __name__ == "__main__":
    main()
