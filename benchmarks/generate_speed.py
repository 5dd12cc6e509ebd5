"""Generation speed in characters/s: this package, the TensorFlow tutorial's method, PyTorch.

    make bench-generate
    python benchmarks/generate_speed.py --rounds=5

Each measurement runs in its own process, contenders alternate round by round, and the first chunks
are not counted. All use the same network (Embedding 64, LSTM layers, Dense 65) with random weights
and temperature 0.8. `tutorial` is a one-step Keras model in a tf.function, called from Python for
each character, with StringLookup and tf.random.categorical; PyTorch is an eager loop over nn.LSTM
and torch.multinomial. `bound` is the rate at which one core can repeatedly read the weights that a
character needs; the last column is the share of this bound that a single stream reaches. Writes
benchmarks/GENERATION.md.
"""

import argparse
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
CHARACTERS = sorted(string.ascii_letters + string.digits + " \n.")
EMBEDDING_SIZE, TEMPERATURE, SECONDS = 64, 0.8, 2.0
FILTERS = {"top_k": 40, "top_p": 0.95, "min_p": 0.01}
CONTENDERS = {
    "ours": {"kind": "ours"},
    "ours, filters": {"kind": "ours", "options": FILTERS},
    "tutorial": {"kind": "tutorial"},
    "PyTorch": {"kind": "torch"},
}


def weight_bytes(units: int, layers: int) -> int:
    """Bytes of weights that are read per character; the first layer's input is a table row."""
    inner = 4 * units * units * (2 * layers - 1)
    return 4 * (inner + units * len(CHARACTERS))


def timed(step, chars_per_step: int) -> dict:
    """Calls `step` for long enough; returns the characters/s of the median call."""
    began = time.perf_counter()
    step()
    first = time.perf_counter() - began
    step()
    seconds: list[float] = []
    while sum(seconds) < SECONDS or len(seconds) < 5:
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    speed = chars_per_step / statistics.median(seconds)
    return {"characters_per_second": speed, "first_call_seconds": first}


def measure_ours(units, layers, streams, options=None) -> dict:
    """The generator of this package in chunks, as the command streams."""
    from shakespeare_gen.system import devices

    devices.start(single_stream=streams == 1)
    from shakespeare_gen import models
    from shakespeare_gen.data.tokenizers import CharacterTokenizer
    from shakespeare_gen.generation import Generator, Request, decoding, texts
    from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec

    tokenizer = CharacterTokenizer("".join(CHARACTERS))
    network = RecurrentOptions(units=units, num_layers=layers, embedding_size=EMBEDDING_SIZE)
    generator = Generator(models.build(RecurrentSpec(tokenizer.size, network)), tokenizer)
    options = {"num_samples": streams, "temperature": TEMPERATURE, **(options or {})}
    request = Request.of("a", length=-1, **options)
    begun = texts.begin(request, generator.read(request.prompt), tokenizer)
    parts = texts.parts(begun, decoding.Decoder(generator.model, tokenizer.forbidden_ids))
    next(parts)  # the first chunk is a small one
    return timed(lambda: next(parts), decoding.CHUNK_TOKENS * streams)


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
        for _ in range(50):
            kept[:] = one_step(*kept)
            made.append(kept[0])
        tf.strings.join(made).numpy()
        made.clear()

    return timed(step, 50 * streams)


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
            for _ in range(50):
                x, kept[1] = lstm(embedding(kept[0]), kept[1])
                probabilities = torch.softmax(logits(x[:, -1]) / TEMPERATURE, -1)
                kept[0] = torch.multinomial(probabilities, 1)
            kept[0].tolist()

    return timed(step, 50 * streams)


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
    measure = {"ours": measure_ours, "tutorial": measure_tutorial, "torch": measure_torch}[kind]
    print(json.dumps(measure(*size, **options)))


def run_child(kind: str, size: tuple, options: dict) -> dict:
    """Runs one measurement in a new process and reads its result."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if kind == "tutorial":  # TensorFlow with its default settings
        environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    command = [sys.executable, __file__, "--child", kind, json.dumps(size), json.dumps(options)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        raise SystemExit(f"{kind} {size}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_size(size: tuple, rounds: int) -> dict[str, float]:
    """Alternates the contenders; returns median characters/s by contender, and the bound."""
    speeds: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, contender in {**CONTENDERS, "bound": {"kind": "bound"}}.items():
            options = {key: value for key, value in contender.items() if key != "kind"}
            found = run_child(contender["kind"], size, options)
            speeds.setdefault(name, []).append(found["characters_per_second"])
            print(f"{size} round {number + 1} {name}: {found}", file=sys.stderr, flush=True)
    return {name: statistics.median(found) for name, found in speeds.items()}


def row(size: tuple, speeds: dict[str, float]) -> str:
    """The table row of one size."""
    units, layers, streams = size
    ours = speeds["ours"]
    share = f"{ours / speeds['bound']:.0%}" if streams == 1 else ""
    return (
        f"| {units} | {layers} | {streams} | {ours:,.0f} | "
        f"{ours / speeds['tutorial']:.1f} | {ours / speeds['PyTorch']:.1f} | "
        f"{speeds['ours, filters'] / ours - 1:+.0%} | {speeds['tutorial']:,.0f} | "
        f"{speeds['PyTorch']:,.0f} | {share} |"
    )


def main() -> None:
    """Measures all sizes and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", default=str(HERE / "GENERATION.md"))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        kind, size, options = flags.child
        child(kind, json.loads(size), json.loads(options))
        return
    from shakespeare_gen.system import devices

    hardware = devices.hardware()
    lines = [
        "# Generation speed",
        "",
        f"`python benchmarks/generate_speed.py --rounds={flags.rounds}`, "
        f"{hardware['processor']}, {hardware['threads']} threads, {time.strftime('%Y-%m-%d')}. "
        "Total characters/s of all streams, medians over rounds in which the contenders "
        "alternate.",
        "",
        "| units | layers | streams | ours | x tutorial | x PyTorch | with top-k, top-p, min-p "
        "| tutorial | PyTorch | share of the bandwidth bound |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for units in (256, 512):
        for layers in (1, 2):
            for streams in (1, 64):
                size = (units, layers, streams)
                lines.append(row(size, measure_size(size, flags.rounds)))
                pathlib.Path(flags.output).write_text("\n".join(lines) + "\n", "utf-8")
                print(lines[-1], flush=True)


if __name__ == "__main__":
    main()
