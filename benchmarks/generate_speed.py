"""Generation: characters/s, time to the first text, peak memory; compared with two others.

    make bench-generate
    python benchmarks/generate_speed.py --rounds=5

Each measurement runs in its own process, contenders alternate round by round, and the first chunks
are not counted in characters/s. The time to the first text begins with the process and includes all
imports. `compiled` and `NumPy` are the two engines of this package. All use the same network
(Embedding 64, LSTM layers, Dense 65) with random weights and temperature 0.8. `tutorial` is a
one-step Keras model in a tf.function, called from Python for each character, with StringLookup and
tf.random.categorical; PyTorch is an eager loop over nn.LSTM and torch.multinomial. `bound` is the
rate at which one core can repeatedly read the weights that a character needs; the last column is
the share of this bound that a single stream reaches.

The transformers of flags/gpt_baby.cfg and flags/gpt.cfg generate with the cache of keys and values
in both engines; `recomputed` is the same network, compiled too, which reads the whole window for
each character. Writes benchmarks/GENERATION.md.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import string
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # runs from a clone, installed or not
from benchmarks import transformers  # noqa: E402

CHARACTERS = sorted(string.ascii_letters + string.digits + " \n.")
EMBEDDING_SIZE, TEMPERATURE, SECONDS = 64, 0.8, 2.0
CHUNK_TOKENS = 50  # per call of the peers
FILTERS = {"top_k": 40, "top_p": 0.95, "min_p": 0.01}
CONTENDERS = {
    "compiled": {"kind": "compiled"},
    "compiled, filters": {"kind": "compiled", "options": FILTERS},
    "NumPy": {"kind": "numpy"},
    "tutorial": {"kind": "tutorial"},
    "PyTorch": {"kind": "torch"},
}
# Width, layers, streams, context.
TRANSFORMERS = [(128, 4, 1, 64), (128, 4, 16, 64), (384, 6, 1, 256), (384, 6, 16, 256)]


def weight_bytes(units: int, layers: int) -> int:
    """Bytes of weights that are read per character; the first layer's input is a table row."""
    inner = 4 * units * units * (2 * layers - 1)
    return 4 * (inner + units * len(CHARACTERS))


def timed(step, chars_per_step: int) -> dict:
    """Calls `step` for long enough; returns the characters/s of the median call."""
    step()
    first_text_seconds = time.time() - float(os.environ["BEGAN"])
    step()
    seconds: list[float] = []
    while sum(seconds) < SECONDS or len(seconds) < 5:
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    speed = chars_per_step / statistics.median(seconds)
    return {
        "characters_per_second": speed,
        "first_text_seconds": first_text_seconds,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Peak resident memory of this process; `resource` would include that of its parent."""
    status = pathlib.Path("/proc/self/status").read_text("utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1000


def measure_compiled(units, layers, streams, context=0, options=None) -> dict:
    """The compiled loop of this package."""
    from shakespeare_gen.system import devices

    devices.start(single_stream=streams == 1)
    from shakespeare_gen import models

    return measure_generator(models.build(model_spec(units, layers, context)), streams, options)


def measure_numpy(units, layers, streams, context=0, options=None) -> dict:
    """The NumPy engine of this package."""
    import numpy as np

    from shakespeare_gen import models

    spec, rng = model_spec(units, layers, context), np.random.default_rng(0)
    weights = {
        name: (rng.random(shape, np.float32) - np.float32(0.5)) / np.float32(units**0.5)
        for name, shape in spec.weight_shapes().items()
    }
    return measure_generator(models.from_arrays(spec, weights), streams, options)


def model_spec(units, layers, context):
    """The spec of the network: a transformer if it has a context."""
    from shakespeare_gen import models
    from shakespeare_gen.options import Options

    if context:
        return transformers.spec_of(units, layers, context)
    values = {"units": units, "num_layers": layers, "embedding_size": EMBEDDING_SIZE}
    return models.spec_of(len(CHARACTERS), Options.parse(models.groups(), values))


def measure_recomputed(width, layers, streams, context) -> dict:
    """A transformer that reads the last `context` characters again for each character."""
    from shakespeare_gen.system import devices

    devices.start()
    import tensorflow as tf

    from shakespeare_gen import models

    model = models.build(model_spec(width, layers, context))

    @tf.function(jit_compile=True)
    def chunk(ids):
        for _ in tf.range(CHUNK_TOKENS):
            logits, _ = model.read(ids)
            drawn = tf.random.categorical(logits[:, -1] / TEMPERATURE, 1, tf.int32)
            ids = tf.concat([ids[:, 1:], drawn], 1)
        return ids

    kept = [tf.zeros([streams, context], tf.int32)]

    def step():
        kept[0] = chunk(kept[0])
        kept[0].numpy()

    return timed(step, CHUNK_TOKENS * streams)


def measure_generator(model, streams, options) -> dict:
    """A generator in chunks, as the command streams."""
    from shakespeare_gen.data.tokenizers import CharacterTokenizer
    from shakespeare_gen.generation import Generator, Request, decoding, texts

    tokenizer = CharacterTokenizer("".join(CHARACTERS))
    generator = Generator(model, tokenizer)
    options = {"num_samples": streams, "temperature": TEMPERATURE, **(options or {})}
    request = Request.of("a", length=-1, **options)
    begun = texts.begin(request, generator.read(request.prompt), tokenizer)
    parts = texts.parts(begun, decoding.Decoder(generator.model, tokenizer.forbidden_ids))

    def step():
        # Of a first chunk, which is a small one, the number of characters does not matter.
        next(parts)

    return timed(step, decoding.CHUNK_TOKENS * streams)


def measure_tutorial(units, layers, streams) -> dict:
    """One character per call: strings to ids, a step of the model, ids to strings."""
    import keras
    import tensorflow as tf

    to_id = keras.layers.StringLookup(vocabulary=CHARACTERS, mask_token=None)
    to_character = keras.layers.StringLookup(
        vocabulary=to_id.get_vocabulary(), invert=True, mask_token=None
    )
    ids = keras.Input((None,), dtype="int32")
    states = [[keras.Input((units,)), keras.Input((units,))] for _ in range(layers)]
    x, last = keras.layers.Embedding(len(CHARACTERS) + 1, EMBEDDING_SIZE)(ids), []
    for state in states:
        lstm = keras.layers.LSTM(units, return_sequences=True, return_state=True)
        x, *new = lstm(x, initial_state=state)
        last += new
    logits = keras.layers.Dense(len(CHARACTERS) + 1)(x)
    model = keras.Model([ids, *(part for state in states for part in state)], [logits, *last])

    @tf.function
    def one_step(characters, state):
        logits, *state = model([tf.cast(to_id(characters), tf.int32)[:, None], *state])
        drawn = tf.random.categorical(logits[:, -1] / TEMPERATURE, 1)[:, 0]
        return to_character(drawn), state

    kept = [tf.constant(["a"] * streams), [tf.zeros((streams, units))] * (2 * layers)]
    made: list = []

    def step():
        for _ in range(CHUNK_TOKENS):
            kept[:] = one_step(*kept)
            made.append(kept[0])
        tf.strings.join(made).numpy()
        made.clear()

    return timed(step, CHUNK_TOKENS * streams)


def measure_torch(units, layers, streams) -> dict:
    """`torch.nn.LSTM`, eager, one character per step."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    embedding = torch.nn.Embedding(len(CHARACTERS), EMBEDDING_SIZE)
    lstm = torch.nn.LSTM(EMBEDDING_SIZE, units, layers, batch_first=True)
    logits = torch.nn.Linear(units, len(CHARACTERS))
    kept = [torch.zeros((streams, 1), dtype=torch.long), None]

    def step():
        with torch.inference_mode():
            for _ in range(CHUNK_TOKENS):
                x, kept[1] = lstm(embedding(kept[0]), kept[1])
                probabilities = torch.softmax(logits(x[:, -1]) / TEMPERATURE, -1)
                kept[0] = torch.multinomial(probabilities, 1)
            kept[0].tolist()

    return timed(step, CHUNK_TOKENS * streams)


def bandwidth(num_bytes: int) -> float:
    """Bytes/s at which one core repeatedly reads an array of `num_bytes`."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np

    array = np.ones(num_bytes // 4, np.float32)
    repeats = max(1, (64 << 20) // num_bytes)
    seconds = []
    for _ in range(15):
        began = time.perf_counter()
        for _ in range(repeats):
            np.dot(array, array)
        seconds.append((time.perf_counter() - began) / repeats)
    return num_bytes / statistics.median(seconds)


def child(kind: str, size: list[int], options: dict) -> None:
    """Runs one measurement and prints one JSON line."""
    if kind == "bound":
        num_bytes = weight_bytes(*size[:2])
        print(json.dumps({"characters_per_second": bandwidth(num_bytes) / num_bytes}))
        return
    measure = {
        "compiled": measure_compiled,
        "numpy": measure_numpy,
        "tutorial": measure_tutorial,
        "torch": measure_torch,
        "recomputed": measure_recomputed,
    }[kind]
    print(json.dumps(measure(*size, **options)))


def run_child(kind: str, size: tuple, options: dict) -> dict:
    """Runs one measurement in a new process and reads its result."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "BEGAN": str(time.time())}
    if kind == "tutorial":  # TensorFlow with its default settings
        environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    command = [sys.executable, __file__, "--child", kind, json.dumps(size), json.dumps(options)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        raise SystemExit(f"{kind} {size}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_size(size: tuple, contenders: dict, rounds: int) -> dict[str, dict[str, float]]:
    """Alternates the contenders; returns the medians of each."""
    every: dict[str, list[dict]] = {}
    for number in range(rounds):
        for name, contender in contenders.items():
            options = {key: value for key, value in contender.items() if key != "kind"}
            found = run_child(contender["kind"], size, options)
            every.setdefault(name, []).append(found)
            print(f"{size} round {number + 1} {name}: {found}", file=sys.stderr, flush=True)
    return {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for name, rows in every.items()
    }


def start_rows(size: tuple, measured: dict[str, dict[str, float]]) -> list[str]:
    """The rows of one size in the table of starts."""
    return [
        f"| {size[0]} | {size[1]} | {name} | {found['first_text_seconds']:.2f} | "
        f"{found['peak_mb']:.0f} |"
        for name, found in measured.items()
        if "peak_mb" in found and "filters" not in name
    ]


def row(size: tuple, measured: dict[str, dict[str, float]]) -> str:
    """The table row of one size."""
    units, layers, streams = size
    speeds = {name: found["characters_per_second"] for name, found in measured.items()}
    ours = speeds["compiled"]
    share = f"{ours / speeds['bound']:.0%}" if streams == 1 else ""
    return (
        f"| {units} | {layers} | {streams} | {ours:,.0f} | {speeds['NumPy']:,.0f} | "
        f"{speeds['NumPy'] / ours:.0%} | "
        f"{ours / speeds['tutorial']:.1f} | {ours / speeds['PyTorch']:.1f} | "
        f"{speeds['compiled, filters'] / ours - 1:+.0%} | {speeds['tutorial']:,.0f} | "
        f"{speeds['PyTorch']:,.0f} | {share} |"
    )


def recurrent_tables(layer_counts: list[int], rounds: int):
    """Yields the tables of speeds and of starts after each size of recurrent networks."""
    lines = [
        "| units | layers | streams | compiled | NumPy | NumPy / compiled | compiled x tutorial "
        "| compiled x PyTorch | with top-k, top-p, min-p | tutorial | PyTorch "
        "| share of the bandwidth bound |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    starts = [
        "",
        "One stream, from the start of the process, imports included:",
        "",
        "| units | layers | | seconds to the first text | peak MB |",
        "|---|---|---|---|---|",
    ]
    contenders = {**CONTENDERS, "bound": {"kind": "bound"}}
    for size in itertools.product((256, 512), layer_counts, (1, 64)):
        measured = measure_size(size, contenders, rounds)
        lines.append(row(size, measured))
        starts += start_rows(size, measured) if size[2] == 1 else []
        yield lines + starts


def transformer_tables(rounds: int):
    """Yields the table after each size of transformers."""
    lines = [
        "",
        "Transformers:",
        "",
        "| width | layers | streams | context | compiled | NumPy | recomputed "
        "| compiled x recomputed | NumPy x recomputed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for *size, context in TRANSFORMERS:
        contenders = {
            name: {"kind": name, "context": context} for name in ("compiled", "numpy", "recomputed")
        }
        measured = measure_size(size, contenders, rounds)
        ours, numpy, peer = (found["characters_per_second"] for found in measured.values())
        lines.append(
            f"| {' | '.join(map(str, size))} | {context} | {ours:,.0f} | {numpy:,.0f} | "
            f"{peer:,.0f} | {ours / peer:.0f} | {numpy / peer:.0f} |"
        )
        yield lines


def main() -> None:
    """Measures all sizes and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, nargs="*", default=[1, 2], help="of recurrent ones")
    parser.add_argument("--output", default=str(HERE / "GENERATION.md"))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        kind, size, options = flags.child
        child(kind, json.loads(size), json.loads(options))
        return
    from shakespeare_gen.system import devices

    hardware = devices.hardware()
    head = [
        "# Generation speed",
        "",
        f"`python benchmarks/generate_speed.py --rounds={flags.rounds} "
        f"--layers {' '.join(map(str, flags.layers))}`, "
        f"{hardware['processor']}, {hardware['threads']} threads, {time.strftime('%Y-%m-%d')}. "
        "Total characters/s of all streams, medians over rounds in which the contenders "
        "alternate.",
        "",
    ]
    recurrent: list[str] = []
    for recurrent in recurrent_tables(flags.layers, flags.rounds):
        write(flags.output, head + recurrent)
    for table in transformer_tables(flags.rounds):
        write(flags.output, head + recurrent + table)


def write(path: str, lines: list[str]) -> None:
    """Writes the page as far as it is measured, and prints it."""
    pathlib.Path(path).write_text("\n".join(lines) + "\n", "utf-8")
    print(lines[-1], flush=True)


if __name__ == "__main__":
    main()
