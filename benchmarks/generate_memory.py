"""Resident memory over calls of a generator that vary every option.

    python benchmarks/generate_memory.py --calls=2000

Each call draws its number of texts (1 to 300), their length, its transforms, windows, seed and
prompt at random. What is compiled is bounded, so memory must stop growing. Prints a table.
"""

import argparse
import pathlib
import string
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # runs from a clone, installed or not
CHARACTERS = sorted(string.ascii_letters + string.digits + " \n.")
UNITS = 64


def resident_mb() -> int:
    """Resident memory of this process, in MB."""
    status = pathlib.Path("/proc/self/status").read_text("utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1000


def options(rng) -> dict:
    """The options of one call; contradictory ones are left out."""
    found = {
        "num_samples": int(rng.choice([1, 1, 1, rng.integers(2, 301)])),
        "length": int(rng.integers(1, 60)),
        "seed": int(rng.integers(2**31)),
        "temperature": float(rng.uniform(0, 2)),
        "repeat_window": int(rng.integers(1, 4097)),
    }
    every = {
        "top_k": int(rng.integers(1, 65)),
        "top_p": float(rng.uniform(0.1, 1)),
        "min_p": float(rng.uniform(0, 0.2)),
        "typical_p": float(rng.uniform(0.1, 1)),
        "repetition_penalty": float(rng.uniform(0.5, 2)),
        "frequency_penalty": float(rng.uniform(-1, 1)),
        "no_repeat_ngram": int(rng.integers(1, found["repeat_window"] + 1)),
    }
    chosen = {name: value for name, value in every.items() if rng.random() < 0.4}
    if not chosen.keys() & {"top_k", "top_p", "min_p", "typical_p"} and rng.random() < 0.3:
        chosen["mirostat_tau"] = float(rng.uniform(1, 6))
    if rng.random() < 0.1:
        num_beams = int(rng.integers(2, 33))
        found["num_samples"], found["num_beams"] = min(found["num_samples"], num_beams), num_beams
    return found | chosen


def main() -> None:
    """Calls the generator and prints the memory after 1, 100, 200, ... calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    calls = parser.parse_args().calls
    import numpy as np

    from shakespeare_gen.system import devices

    devices.start()
    from shakespeare_gen import models
    from shakespeare_gen.data.tokenizers import CharacterTokenizer
    from shakespeare_gen.generation import Generator
    from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec

    tokenizer = CharacterTokenizer("".join(CHARACTERS))
    network = RecurrentOptions(units=UNITS)
    generator = Generator(models.build(RecurrentSpec(tokenizer.size, network)), tokenizer)
    rng = np.random.default_rng(0)
    print("| calls | MB resident |\n|---|---|")
    for call in range(1, calls + 1):
        prompt = "".join(rng.choice(CHARACTERS, rng.integers(0, 400)))
        generator.generate(prompt, **options(rng))
        if call == 1 or call % 100 == 0:
            print(f"| {call} | {resident_mb()} |", flush=True)


if __name__ == "__main__":
    main()
