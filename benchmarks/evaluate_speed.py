"""Seconds of an evaluation at full size: exact, adapting, and the check for copies.

    make bench-evaluate

The text is the packaged plays, 5 MB, of which the last 111,540 characters are scored: as
many as tiny_shakespeare's validation and test text have. A network of 512 units; what it
learned does not change its speed. Tracing is part of each figure, importing TensorFlow is
not. Writes benchmarks/EVALUATION.md.
"""

import argparse
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # runs from a clone, installed or not
NUM_CHARS, COPY_CHARS, UNITS = 111_540, 100_000, 512


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each task, round by round, each with a network that was never used."""
    from shakespeare_gen.system import devices

    devices.start()
    from shakespeare_gen.data import corpora
    from shakespeare_gen.data.tokenizers.characters import Vocabulary
    from shakespeare_gen.evaluation import copying, dynamic, likelihood
    from shakespeare_gen.models import recurrent

    corpus = corpora.load("plays")
    text = corpus.train + corpus.validation + corpus.test
    vocabulary = Vocabulary.from_text(text)
    train, held_out = text[:-NUM_CHARS], text[-NUM_CHARS:]
    train_ids, ids = vocabulary.encode(train), vocabulary.encode(held_out)
    seconds: dict[str, list[float]] = {"exact": [], "adapting": [], "copy check": []}
    for _ in range(rounds):
        network = recurrent.build(vocabulary.size, units=UNITS)
        began = time.perf_counter()
        likelihood.read(network, ids)
        seconds["exact"].append(time.perf_counter() - began)
        began = time.perf_counter()
        adapter = dynamic.Adapter(network, train_ids, segment_chars=40)
        adapter.read(ids, 0, "rms", rate=1e-5, decay=1e-2)
        seconds["adapting"].append(time.perf_counter() - began)
        began = time.perf_counter()
        copying.find(held_out[:COPY_CHARS], train)
        seconds["copy check"].append(time.perf_counter() - began)
        print({name: round(found[-1], 2) for name, found in seconds.items()}, flush=True)
    return seconds


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", default=str(HERE / "EVALUATION.md"))
    flags = parser.parse_args()
    seconds = measure(flags.rounds)
    from shakespeare_gen.system import devices

    hardware = devices.hardware()
    what = {
        "exact": f"every one of {NUM_CHARS:,} characters, {UNITS} units",
        "adapting": "the same with a step of the weights every 40 characters",
        "copy check": f"{COPY_CHARS:,} characters against 5 MB",
    }
    lines = [
        "# Evaluation speed",
        "",
        f"`python benchmarks/evaluate_speed.py --rounds={flags.rounds}`, "
        f"{hardware['processor']}, {hardware['threads']} threads, {time.strftime('%Y-%m-%d')}. "
        "Seconds, medians over rounds, after TensorFlow is imported.",
        "",
        "| | | seconds |",
        "|---|---|---|",
        *(f"| {n} | {what[n]} | {statistics.median(found):.1f} |" for n, found in seconds.items()),
    ]
    pathlib.Path(flags.output).write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines[4:]))


if __name__ == "__main__":
    main()
