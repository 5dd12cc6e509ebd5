"""Writes a finished run to `shakespeare_gen/pretrained`, with weights in bfloat16.

    python -m docs.update_pretrained runs/tiny_shakespeare tiny-shakespeare

Contains the best checkpoint without the state that resuming needs. Refuses a model whose validation
loss the rounding changes by `MAX_CHANGE` or more, or that needs more than `MAX_BYTES`.
"""

import pathlib
import shutil
import sys

from docs import update_recipes
from shakespeare_gen import pretrained, runs
from shakespeare_gen.data import corpora, token_store
from shakespeare_gen.data.line_sketch import LineSketch
from shakespeare_gen.evaluation import likelihood, style
from shakespeare_gen.models import loss_units
from shakespeare_gen.runs import Run, RunFolder, checkpoints, resuming, store, tensors, train_lines
from shakespeare_gen.system import storage

MAX_CHANGE, MAX_BYTES = 0.002, 5_000_000
FOLDER = update_recipes.REPOSITORY / "shakespeare_gen" / "pretrained"
README = """\
# {name}

{parameters:,} parameters, trained with

    {command}

Load it by its name:

    python -m shakespeare_gen.generate --run_dir={name}

Nats per character of the weights as they are stored, in bfloat16: {losses}.
Rounding to bfloat16 changes validation by {change:+.6f}.

The training text is tiny_shakespeare, 1.1 million characters of plays by William Shakespeare, which
are in the public domain. The weights have the license of the package (MIT).
"""


def bundle(run: Run, name: str, train_text: str) -> pathlib.Path:
    """Writes the folder of a pretrained model and returns it."""
    folder = RunFolder(FOLDER / name)
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.make()
    options = run.spec.options.replaced(data_dir="")
    runs.write_spec(folder, runs.RunSpec(options, run.spec.tokenizer, run.spec.corpus))
    train_lines.write(folder, LineSketch.of([train_text]))
    for row in run.metrics():
        folder.append_metrics(row)
    found = checkpoints.read(run, "best")
    files = {
        checkpoints.WEIGHTS: tensors.encode(found.weights, in_bfloat16=True),
        checkpoints.STATE: (found.place / checkpoints.STATE).read_bytes(),
    }
    store.save(folder.checkpoints, found.place.name, files)
    return folder.path


def losses(path: pathlib.Path, run: Run, corpus: corpora.Corpus) -> dict[str, float]:
    """The losses of the stored weights on validation and test, and on both together."""
    texts = token_store.tokenize(corpus, run.spec.tokenizer, ("validation", "test"))
    stored = runs.open_run(path)
    model = checkpoints.load_model(stored, checkpoints.read(stored))
    return likelihood.by_split(model, texts, run.spec.tokenizer.start_id)


def main(run_dir: str, name: str) -> None:
    """Writes the model, its card and its page."""
    run = runs.open_run(run_dir)
    corpus = corpora.load(resuming.corpus_options(run.spec))
    path = bundle(run, name, corpus.train)
    found = losses(path, run, corpus)
    change = found["validation"] - run.losses["validation"]
    speakers = style.main_speakers(corpus.train)
    card = {**update_recipes.public_card(run.path), "losses": found, "speakers": speakers}
    (path / "run.json").write_bytes(storage.to_json(card))
    page = README.format(
        name=pretrained.PREFIX + name,
        parameters=card["num_parameters"],
        command=card["command"],
        losses=", ".join(f"{split} {loss:.4f}" for split, loss in found.items()),
        change=change,
    )
    (path / "README.md").write_text(page, "utf-8")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    print(f"{path}: {size:,} bytes; {loss_units.describe(found['both'])} on both; {change:+.6f}")
    if abs(change) >= MAX_CHANGE or size > MAX_BYTES:
        shutil.rmtree(path)
        raise SystemExit(f"expected a change below {MAX_CHANGE} and at most {MAX_BYTES:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
