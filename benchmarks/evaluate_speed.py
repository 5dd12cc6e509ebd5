"""Duration of a full-size evaluation: exact, adapting, and the copy check.

    make bench-evaluate

The text is the packaged plays, 5 MB, of which the last 111,540 characters are scored: as many as in
the validation and test text of tiny_shakespeare. The model has 512 units and random weights, which
do not affect its speed. The first round includes tracing; the import of TensorFlow is not included.
Writes benchmarks/EVALUATION.md.
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
    """Seconds of each task by round, with a new model in each round."""
    from shakespeare_gen.system import devices

    devices.start()
    from shakespeare_gen import models
    from shakespeare_gen.data import corpora
    from shakespeare_gen.data.tokenizers import CharacterOptions, CharacterTokenizer
    from shakespeare_gen.evaluation import copying, dynamic, likelihood
    from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec
    from shakespeare_gen.options.groups import CorpusOptions

    corpus = corpora.load(CorpusOptions(corpus="plays"))
    text = corpus.train + corpus.validation + corpus.test
    tokenizer = CharacterTokenizer.from_text(text, CharacterOptions())
    spec = RecurrentSpec(tokenizer.size, RecurrentOptions(units=UNITS))
    train, held_out = text[:-NUM_CHARS], text[-NUM_CHARS:]
    train_ids, ids = tokenizer.encode(train), tokenizer.encode(held_out)
    seconds: dict[str, list[float]] = {"exact": [], "adapting": [], "copy check": []}
    for _ in range(rounds):
        model = models.build(spec)
        began = time.perf_counter()
        likelihood.read(model, ids, 0)
        seconds["exact"].append(time.perf_counter() - began)
        began = time.perf_counter()
        adapter = dynamic.Adapter(model, train_ids, segment_tokens=40)
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
        "exact": f"all of {NUM_CHARS:,} characters, {UNITS} units",
        "adapting": "the same, with a weight update every 40 characters",
        "copy check": f"{COPY_CHARS:,} characters against 5 MB",
    }
    lines = [
        "# Evaluation speed",
        "",
        f"`python benchmarks/evaluate_speed.py --rounds={flags.rounds}`, "
        f"{hardware['processor']}, {hardware['threads']} threads, {time.strftime('%Y-%m-%d')}. "
        "Median seconds over rounds, without the import of TensorFlow.",
        "",
        "| | | seconds |",
        "|---|---|---|",
        *(f"| {n} | {what[n]} | {statistics.median(found):.1f} |" for n, found in seconds.items()),
    ]
    pathlib.Path(flags.output).write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines[4:]))


if __name__ == "__main__":
    main()
