"""Training speed compared with stock Keras and PyTorch: characters/s, ratios, peak memory.

    make bench-train                      the headline size, 5 rounds, and three batch sizes
    python benchmarks/train_speed.py --grid=batches  larger batches, several steps per call
    python benchmarks/train_speed.py --grid=transformer  the sizes of gpt_baby.cfg and gpt.cfg
    python benchmarks/train_speed.py --grid=full     hours; continues after an interruption

Each contender runs in its own process and trains only during its turns. Turns of a few seconds
alternate round by round, so that all contenders are affected equally by a noisy machine. The first
steps are not counted. A turn is repeated if other guests of the virtual machine's host stole
processor time. All use the same model (Embedding 64, recurrent layers, Dense; or the transformer of
`transformers.py`), data, AdamW and clipping by a global norm of 1.0. Compare the ratios, which are
computed from medians over rounds. Finished sizes are stored in benchmarks/results.json, from which
benchmarks/RESULTS.md is written; `--again` measures them again.
"""

import argparse
import ast
import json
import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # runs from a clone, installed or not
from benchmarks import transformers  # noqa: E402
from benchmarks.turns import PRODUCT_WIDTH, Contender, Machine, Turns  # noqa: E402

VOCABULARY_SIZE, EMBEDDING_SIZE = 65, 64
HEADLINE = (512, 1, 64, 100)  # units, layers, batch, window
TRANSFORMERS = [(128, 4, 12, 64), (384, 6, 8, 256)]  # width, layers, batch, window
DEFAULT = [(512, 1, 128, 100), (512, 1, 256, 100), (256, 1, 64, 100)]  # plus the headline
CONTENDERS = {
    "ours float32": {"kind": "ours", "precision": "float32"},
    "ours float32, 8 steps a call": {"kind": "ours", "precision": "float32", "steps_per_call": 8},
    "ours float32, batch 128": {"kind": "ours", "precision": "float32", "batch": 128},
    "ours float32, batch 256": {"kind": "ours", "precision": "float32", "batch": 256},
    "ours min_gru": {"kind": "ours", "precision": "float32", "cell": "min_gru"},
    "ours bfloat16": {"kind": "ours", "precision": "bfloat16"},
    "Keras": {"kind": "keras"},
    "Keras with oneDNN": {"kind": "keras", "onednn": "1"},
    "PyTorch float32": {"kind": "torch"},
    "PyTorch bfloat16": {"kind": "torch", "precision": "bfloat16"},
    "ours transformer float32": {"kind": "our transformer", "precision": "float32"},
    "ours transformer bfloat16": {"kind": "our transformer", "precision": "bfloat16"},
    "PyTorch transformer float32": {"kind": "torch transformer"},
    "PyTorch transformer bfloat16": {"kind": "torch transformer", "precision": "bfloat16"},
}
TORCH = ("PyTorch float32", "PyTorch transformer float32")  # the base of ratios


def same_size_min_gru(units: int, layers: int) -> tuple[int, int]:
    """The units of a min_gru with about as many parameters as an LSTM."""

    def lstm(n):
        return 4 * units * (EMBEDDING_SIZE + units + 1) + (n - 1) * 4 * units * (2 * units + 1)

    def min_gru(n):
        return 2 * units * (EMBEDDING_SIZE + 1) + (n - 1) * 2 * units * (units + 1)

    best = min(range(1, 20), key=lambda n: abs(min_gru(n) - lstm(layers)))
    return units, best


def batches(batch_size: int, window_chars: int):
    """The same random ids for all contenders: int32 [B, T + 1]."""
    import numpy as np

    shape = (batch_size, window_chars + 1)
    return np.random.default_rng(0).integers(0, VOCABULARY_SIZE, shape).astype("int32")


def train_keras_model(make_model, ids, turns: Turns, steps_per_call: int = 1) -> dict:
    """Fits `make_model()` on `ids` until no more rounds are requested."""
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
    """The network and training model of this package, as `train` builds them."""
    from shakespeare_gen.system import devices

    devices.start()
    from shakespeare_gen import models
    from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec
    from shakespeare_gen.training.model import TrainingModel

    if cell == "min_gru":
        units, layers = same_size_min_gru(units, layers)

    def make_model():
        options = RecurrentOptions(
            cell=cell, units=units, num_layers=layers, embedding_size=EMBEDDING_SIZE
        )
        return TrainingModel(models.build(RecurrentSpec(VOCABULARY_SIZE, options), precision))

    return train_keras_model(make_model, batches(batch, window), turns, steps_per_call)


def train_our_transformer(turns, width, layers, batch, window, precision) -> dict:
    """The transformer of this package."""
    from shakespeare_gen.system import devices

    devices.start()
    from shakespeare_gen import models
    from shakespeare_gen.training.model import TrainingModel

    def make_model():
        return TrainingModel(models.build(transformers.spec_of(width, layers, window), precision))

    return train_keras_model(make_model, batches(batch, window), turns)


def train_torch_transformer(turns, width, layers, batch, window, precision="float32") -> dict:
    """The same transformer in PyTorch."""
    model = transformers.torch_network(width, layers, window)
    return train_torch_model(model, batches(batch, window), turns, precision)


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
    """`torch.nn.LSTM`."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE)
            self.lstm = torch.nn.LSTM(EMBEDDING_SIZE, units, layers, batch_first=True)
            self.logits = torch.nn.Linear(units, VOCABULARY_SIZE)

        def forward(self, ids):
            return self.logits(self.lstm(self.embedding(ids))[0])

    return train_torch_model(Model(), batches(batch, window), turns, precision)


def train_torch_model(model, ids, turns: Turns, precision: str) -> dict:
    """Trains in an eager loop with all threads; bfloat16 under autocast."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    optimizer = torch.optim.AdamW(model.parameters(), 0.002, weight_decay=0.01)
    ids = torch.from_numpy(ids.astype("int64"))
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
    """The process of a contender: prints a line of JSON per round, then a summary."""
    train = {
        "ours": train_ours,
        "keras": train_keras,
        "torch": train_torch,
        "our transformer": train_our_transformer,
        "torch transformer": train_torch_transformer,
    }[kind]
    turns = Turns()
    found = train(turns, *size, **options)
    found["first_step_seconds"] = turns.first_step_seconds
    found["characters_per_call"] = size[2] * size[3] * found.pop("steps_per_call")
    # Not `ru_maxrss`, which starts from the value of the parent process.
    status = pathlib.Path("/proc/self/status").read_text("utf-8")
    found["peak_mib"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps(found), flush=True)


def start(name: str, size: tuple) -> Contender:
    """The process of a contender, ready for its turns."""
    options = dict(CONTENDERS[name])
    kind = options.pop("kind")
    units, layers, batch, window = size
    size = (units, layers, options.pop("batch", batch), window)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(HERE.parent)}
    if kind == "keras":  # TensorFlow with its default settings, or with oneDNN enabled
        environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
        if onednn := options.pop("onednn", None):
            environment["TF_ENABLE_ONEDNN_OPTS"] = onednn
    command = [sys.executable, __file__, "--child", kind, json.dumps(size), json.dumps(options)]
    return Contender(command, environment)


def measure_size(size: tuple, names: list[str], rounds: int) -> dict:
    """Alternates the contenders `rounds` times; returns medians by contender, and the machine."""
    machine = Machine()
    contenders = {name: start(name, size) for name in names}
    for number in range(rounds):
        first = number % len(names)  # rotates the contender that begins a round
        for name in names[first:] + names[:first]:
            contenders[name].take_turn(machine)
            seconds = contenders[name].step_seconds[-1:]
            print(f"{size} round {number + 1} {name}: {seconds} s", file=sys.stderr, flush=True)
    medians = {name: contender.result() for name, contender in contenders.items()}
    for m in medians.values():
        if "error" not in m:
            m["characters_per_second"] = m.pop("characters_per_call") / m.pop("step_seconds")
    return {"rounds": rounds, "medians": medians, "machine": machine.describe()}


def table(size: tuple, found: dict) -> str:
    """The results of one size as Markdown, with ratios to Keras and PyTorch float32."""
    units, layers, batch, window = size
    medians, rounds, machine = found["medians"], found["rounds"], found["machine"]
    lines = [
        f"### {units} units, {layers} layer{'s' * (layers > 1)}, batch {batch}, {window} steps"
        f" ({rounds} round{'s' * (rounds > 1)})",
        "",
        f"{found['where']}. Between the turns a product of {PRODUCT_WIDTH:,} x {PRODUCT_WIDTH:,} "
        f"floats ran at {machine['product_gflops']:.0f} GFLOP/s; in the worst of the turns "
        f"{machine['most_stolen']:.0%} of the time was stolen.",
        "",
        "| | parameters | characters/s | x Keras | x PyTorch | first step, s | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]

    def ratio(speed, *names):
        found = [medians.get(name, {}).get("characters_per_second") for name in names]
        base = next(filter(None, found), None)
        return f"{speed / base:.2f}" if base else ""

    for name, m in medians.items():
        if "error" in m:
            lines.append(f"| {name} | {m['error'].replace('|', '/')} | | | | | |")
            continue
        speed = m["characters_per_second"]
        lines.append(
            f"| {name} | {m['parameters']:,.0f} | {speed:,.0f} | {ratio(speed, 'Keras')} | "
            f"{ratio(speed, *TORCH)} | {m['first_step_seconds']:.1f} | "
            f"{m['peak_mib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def sizes(grid: str, has_bfloat16: bool) -> list[tuple[tuple, list[str]]]:
    """(size, contenders) of a grid; emulated bfloat16 would take hours."""
    ours = ["ours float32", "ours min_gru", "ours bfloat16"]
    stock = ["Keras", "Keras with oneDNN", "PyTorch float32"]
    main = ["ours float32", *stock]
    headline = [(HEADLINE, [*ours, *stock, "PyTorch bfloat16"])]
    if grid == "transformer":
        names = [name for name in CONTENDERS if "transformer" in name]
        names = [name for name in names if has_bfloat16 or "bfloat16" not in name]
        return [(size, names) for size in TRANSFORMERS]
    if grid == "headline":
        return headline
    if grid == "default":
        return headline + [(size, main) for size in DEFAULT]
    if grid == "batches":
        calls = ["ours float32", "ours float32, 8 steps a call"]
        larger = ["ours float32, batch 128", "ours float32, batch 256"]
        small = [((units, 1, 32, 64), calls) for units in (64, 256, 512)]
        return small + [((units, 1, 64, 128), calls + larger) for units in (256, 512)]
    peers = ["ours float32", "Keras", "PyTorch float32"]
    if has_bfloat16:
        peers += ["ours bfloat16", "PyTorch bfloat16"]
    full = [
        (units, layers, batch, window)
        for units in (256, 512, 1024)
        for layers in (1, 2)
        for batch in (64, 128)
        for window in (100, 256)
    ]
    return [(size, main if size in DEFAULT else peers) for size in full]


def is_done(found: dict | None, contenders: list[str], rounds: int) -> bool:
    """Whether a stored size has all `contenders`, with enough rounds and without errors."""
    if not found or found["rounds"] < rounds:
        return False
    return all("error" not in found["medians"].get(name, {"error": ""}) for name in contenders)


def summary(kept: dict[str, dict]) -> str:
    """One row per size: the speed of this package and its ratios."""
    lines = [
        "| units | layers | batch | steps | characters/s | x Keras | x PyTorch | peak MiB "
        "| Keras, MiB | PyTorch, MiB | product, GFLOP/s |",
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
        cells += [f"{kept[key]['machine']['product_gflops']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_page(path: pathlib.Path, kept: dict[str, dict]) -> None:
    """Writes all measured sizes: a summary table, then one table per size."""
    head = (
        "# Training speed\n\n"
        "Generated by `benchmarks/train_speed.py`. Characters/s are medians over rounds in which "
        "the contenders alternate. Different sizes were measured hours apart: compare only values "
        "within a row or a table.\n\n## Summary: this package in float32\n\n"
    )
    tables = "\n".join(
        table(ast.literal_eval(key), kept[key]) for key in sorted(kept, key=ast.literal_eval)
    )
    path.write_text(f"{head}{summary(kept)}\n## Details\n\n{tables}", "utf-8")


def main() -> None:
    """Measures a grid and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    grids = ("headline", "default", "batches", "transformer", "full")
    parser.add_argument("--grid", choices=grids, default="default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--contenders",
        default="",
        help="comma-separated; results of other contenders are dropped for sizes that are measured "
        "again; empty: those of the grid",
    )
    parser.add_argument("--again", action="store_true", help="measure finished sizes again")
    parser.add_argument("--output_dir", default=str(HERE))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        kind, size, options = flags.child
        child(kind, json.loads(size), json.loads(options))
        return
    from shakespeare_gen.system import devices

    hardware = devices.hardware()
    place = pathlib.Path(flags.output_dir)
    store = place / "results.json"
    kept = json.loads(store.read_text("utf-8")) if store.exists() else {}
    write_page(place / "RESULTS.md", kept)  # the sizes measured so far
    has_bfloat16 = devices.choose_precision("auto") == "bfloat16"
    for size, contenders in sizes(flags.grid, has_bfloat16):
        contenders = flags.contenders.split(",") if flags.contenders else contenders
        if not flags.again and is_done(kept.get(str(size)), contenders, flags.rounds):
            continue
        found = measure_size(size, contenders, flags.rounds)
        found["where"] = (
            f"{hardware['processor']}, {hardware['threads']} threads, {time.strftime('%Y-%m-%d')}"
        )
        kept[str(size)] = found
        store.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        print(table(size, found), flush=True)
        write_page(place / "RESULTS.md", kept)


if __name__ == "__main__":
    main()
