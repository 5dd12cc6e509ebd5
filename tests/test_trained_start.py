"""Training that starts from the weights of another run."""

import os

import numpy as np
import pytest

import shakespeare_gen
from shakespeare_gen import models, train
from shakespeare_gen.data import tokenizers
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.runs import open_run, train_lines
from shakespeare_gen.training import sizing, trained_start
from tests import fake_runs

TEXT = "abcabdcab\n" * 40
NETWORKS = {
    "lstm": {"units": 12, "num_layers": 2},
    "one-hot": {"cell": "gru", "units": 12, "embedding_size": 0},
    "tied transformer": {
        "model": "transformer",
        "num_heads": 2,
        "width": 16,
        "context_tokens": 8,
        "tied_embeddings": True,
    },
}


def options_for(path, **values):
    return Options.parse(train.groups(), {"initialize_from": os.fspath(path), **values})


def source_of(path, **network):
    fake_runs.write_run(path, (1,), text=TEXT, **network)
    return open_run(path)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_known_characters_keep_their_logits_among_new_ones(tmp_path, network):
    run = source_of(tmp_path / "source", **network)
    start = trained_start.find(options_for(run))
    options = start.options(options_for(run))
    tokenizer = tokenizers.extended(run.spec.tokenizer, "_a z", options)
    assert tokenizer.characters == "\n _abcdz"
    model = models.build(models.spec_of(tokenizer.size, options))
    start.assign(model, tokenizer)
    source = models.loaded(run.spec.model_spec, start.checkpoint.weights)
    text, known = "cabdab\ndcab" * 2, run.spec.tokenizer
    expected, _ = source.read(known.encode(text)[None])
    found, _ = model.read(tokenizer.encode(text)[None])
    kept = [tokenizer.characters.index(c) for c in known.characters]
    np.testing.assert_allclose(np.array(found)[..., kept], expected, atol=1e-5)


def test_the_network_is_that_of_the_run_whatever_the_text(tmp_path):
    run = source_of(tmp_path / "source", units=12)
    options = trained_start.find(options_for(run)).options(options_for(run, dropout=0.5))
    spec = models.spec_of(5, options)
    assert (spec.options.units, spec.options.dropout) == (12, 0.5)
    given = options_for(run, units=64)
    with pytest.raises(
        UsageError, match=r"units: expected 12, as in `initialize_from=.*received 64"
    ):
        trained_start.find(given).options(given)


def test_a_model_that_is_counted_cannot_be_a_start(tmp_path):
    found = shakespeare_gen.train_model(
        text=TEXT, run_dir=tmp_path / "counts", model="ngram", ngram_order=2, sample_chars=1
    )
    with pytest.raises(UsageError, match="expected a network, found model=ngram"):
        trained_start.find(options_for(found.path))


@pytest.mark.slow
def test_a_run_that_starts_from_another_learns_sooner(small_text, tmp_path):
    small = {"units": 32, "embedding_size": 16, "window_chars": 20, "batch_size": 8}
    small |= {"learning_rate": 0.01, "warmup_steps": 0, "sample_chars": 10}
    source = shakespeare_gen.train_model(
        text=small_text, run_dir=tmp_path / "source", epochs=6, **small
    )
    other = small_text.replace("line", "row").replace("SPEAKER", "READER")
    losses = {}
    for name, start in (("alone", ""), ("started", source)):
        run = shakespeare_gen.train_model(
            text=other, run_dir=tmp_path / name, initialize_from=start, epochs=1, **small
        )
        losses[name] = run.losses["validation"]
    assert losses["started"] < losses["alone"] - 0.3
    lines = [train_lines.read(run.folder) for run in (source, run)]
    shares = [sketch.compare(small_text).share for sketch in lines]
    assert shares == [0.9, 0.9]  # the training text is nine tenths
    assert run.spec.options.by_name()["initialize_from"] == str(source.path)
    # Resuming continues from the checkpoint of the run itself.
    again = shakespeare_gen.train_model(run_dir=run.path, resume=True, text=other, epochs=2)
    assert again.metrics()[0] == run.metrics()[0]


def test_held_out_text_that_the_run_was_trained_on_is_rejected(small_text, tmp_path):
    source = source_of(tmp_path / "source")
    train_lines.write(source.folder, train_lines.LineSketch.of([small_text]))
    with pytest.raises(UserError, match="the validation text: expected a text that .* was not"):
        shakespeare_gen.train_model(
            text=small_text, run_dir=tmp_path / "run", initialize_from=source.path
        )
    assert not (tmp_path / "run").exists()


def test_automatic_sizes_spare_weights_that_are_trained():
    options = Options.parse(train.groups(), {"auto_size": True, "initialize_from": "runs/any"})
    resolved = sizing.resolve(options, num_tokens=18_000).by_name()
    assert (resolved["learning_rate"], resolved["dropout"]) == (0.0005, 0.3)
    given = options.replaced(learning_rate=0.01, initialize_from="")
    resolved = sizing.resolve(given, num_tokens=18_000).by_name()
    assert (resolved["learning_rate"], resolved["dropout"]) == (0.01, 0.75)
