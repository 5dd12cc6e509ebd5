import importlib.util
import json
import re
import shutil

import keras
import numpy as np
import pytest

import shakespeare_gen
import shakespeare_gen.train
from shakespeare_gen import runs
from shakespeare_gen.data import windows
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.data.tokenizers import CharacterTokenizer
from shakespeare_gen.errors import NotFiniteError, UsageError, UserError
from shakespeare_gen.evaluation import kneser_ney, likelihood
from shakespeare_gen.evaluation.ngrams import NGrams
from shakespeare_gen.options import Options
from shakespeare_gen.options.fields import fields_of
from shakespeare_gen.options.groups import OptimizerOptions, TrainingOptions, WindowOptions
from shakespeare_gen.runs import checkpoints, history, store
from shakespeare_gen.training import sizing, tensorboard_logs
from shakespeare_gen.training.model import TrainingModel
from tests import fake_runs

OPTIONS = {
    "units": 8,
    "embedding_size": 4,
    "window_chars": 16,
    "batch_size": 8,
    "sample_every_epochs": 0,
    "seed": 2,
    "dropout": 0.2,
}


@pytest.fixture(scope="module")
def text_path(small_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text(small_text, encoding="utf-8")
    return str(path)


def train(text_path, run_dir, **options):
    return shakespeare_gen.train_model(
        **{**OPTIONS, "corpus": text_path, "run_dir": str(run_dir), **options}
    )


@pytest.fixture(scope="module")
def logged_run(text_path, tmp_path_factory):
    """A run of plain gradient descent with a row per step, logged for TensorBoard if it can be."""
    options = {"optimizer": "sgd", "schedule": "constant", "warmup_steps": 0, "clip_norm": 0.0}
    options["tensorboard"] = importlib.util.find_spec("tensorboard") is not None
    run_dir = tmp_path_factory.mktemp("logged") / "run"
    return train(text_path, run_dir, epochs=1, log_every_steps=1, **options)


def weights(run, which="last"):
    return checkpoints.read(run, which).weights


def test_a_run_folder_has_all_parts(abab_run):
    names = {path.name for path in abab_run.path.iterdir()}
    assert {
        "config.json",
        "tokenizer.json",
        "metrics.jsonl",
        "samples.txt",
        "loss.png",
        "run.json",
        "README.md",
        "checkpoints",
    } <= names
    card = json.loads(abab_run.folder.card_path.read_text("utf-8"))
    assert card["status"] == "finished"
    # The line end at the end of the text is not in the vocabulary, so 299 test characters count.
    weighted = card["losses"]["validation"] * 300 + card["losses"]["test"] * 299
    assert card["losses"]["both"] == pytest.approx(weighted / 599, rel=1e-9)
    assert card["bytes_per_character"] == {"validation": 1.0, "test": 1.0, "both": 1.0}
    assert card["options"]["units"] == 16
    assert "=== epoch 6" in abab_run.folder.samples_path.read_text("utf-8")
    assert abab_run.folder.loss_curve_path.read_bytes().startswith(b"\x89PNG")
    assert card["best_checkpoint"] in store.names(abab_run.folder.checkpoints)
    assert len(store.names(abab_run.folder.checkpoints)) <= 3


@pytest.mark.slow
def test_the_best_checkpoint_is_kept_in_addition_to_the_last(text_path, tmp_path, monkeypatch):
    """Which epoch is the best one would depend on the processor."""
    losses = iter([3.0, 2.5, 2.8, 2.9, 2.7, 2.6, 2.5, 2.6])  # six epochs, then both splits
    monkeypatch.setattr(likelihood, "nats_per_character", lambda *_: next(losses))
    run = train(text_path, tmp_path / "run", epochs=6)
    rows = run.metrics()
    best = min(rows, key=lambda row: row["validation_loss"])
    assert best["step"] != rows[-1]["step"]
    found = [checkpoints.read(run, which).progress for which in ("best", "last")]
    assert [p.step for p in found] == [best["step"], rows[-1]["step"]]
    # The two newest ones and the best one.
    assert len(store.names(run.folder.checkpoints)) == 3


@pytest.mark.slow
def test_early_stopping_counts_across_a_resume(text_path, tmp_path):
    options = {"learning_rate": 0.3, "schedule": "constant", "warmup_steps": 0, "clip_norm": 0.0}
    whole = train(text_path, tmp_path / "whole", epochs=30, patience=3, **options)
    assert len(whole.metrics()) < 30
    stop = len(whole.metrics()) - 1
    train(text_path, tmp_path / "halves", epochs=stop, patience=3, **options)
    halves = train(text_path, tmp_path / "halves", epochs=30, patience=3, resume=True, **options)
    assert len(halves.metrics()) == len(whole.metrics())


@pytest.mark.slow
def test_a_run_is_never_overwritten_without_a_request(text_path, tmp_path):
    run = train(text_path, tmp_path / "run", epochs=1)
    before = weights(run)
    with pytest.raises(UserError, match="`resume`, replace it with `overwrite`"):
        train(text_path, tmp_path / "run", epochs=1, seed=9)
    np.testing.assert_array_equal(weights(run)["logits/kernel"], before["logits/kernel"])
    train(text_path, tmp_path / "run", epochs=1, seed=9, overwrite=True)
    assert (weights(run)["logits/kernel"] != before["logits/kernel"]).any()


def test_a_folder_that_is_not_a_run_is_never_changed(text_path, tmp_path):
    (tmp_path / "novel.txt").write_text("ten years of work", encoding="utf-8")
    with pytest.raises(UserError, match=r"found 'novel\.txt'"):
        train(text_path, tmp_path, overwrite=True)
    assert (tmp_path / "novel.txt").exists()


def test_an_invalid_corpus_leaves_no_run_folder(tmp_path):
    (tmp_path / "a.txt").write_text("short\n", encoding="utf-8")
    with pytest.raises(UserError, match="window_chars"):
        train(str(tmp_path / "a.txt"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 9}, "units: expected 8, .* received 9"),
        ({"optimizer": "sgd"}, "optimizer: expected"),
    ],
)
def test_a_resume_rejects_changes_of_fixed_options(text_path, tmp_path, change, message):
    train(text_path, tmp_path / "run", epochs=1)
    with pytest.raises(UsageError, match=message):
        train(text_path, tmp_path / "run", epochs=2, resume=True, **change)


def test_a_resume_rejects_another_text(logged_run, small_text, tmp_path):
    run_dir, path = shutil.copytree(logged_run.path, tmp_path / "run"), tmp_path / "text.txt"
    path.write_text(small_text.replace("so on", "so off"), "utf-8")
    with pytest.raises(UserError, match="expected the text that the run was trained on"):
        shakespeare_gen.train_model(corpus=path, run_dir=run_dir, epochs=2, resume=True)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_has_its_own_exit_code(text_path, tmp_path):
    """The last good checkpoint is kept, and the message suggests a learning rate."""
    train(text_path, tmp_path / "run", epochs=1)
    with pytest.raises(NotFiniteError, match="try `learning_rate=1e") as error:
        train(
            text_path,
            tmp_path / "run",
            epochs=3,
            resume=True,
            learning_rate=3e37,
            schedule="constant",
            clip_norm=0.0,
            warmup_steps=0,
        )
    assert error.value.exit_code == 3
    assert (
        json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["status"]
        == "stopped: NotFiniteError"
    )
    assert np.isfinite(weights(runs.open_run(tmp_path / "run"))["logits/kernel"]).all()


def test_a_validation_split_shorter_than_a_batch_is_scored_completely(text_path, tmp_path):
    run = train(text_path, tmp_path / "run", epochs=1, validation_fraction=0.002, test_fraction=0.0)
    assert np.isfinite(run.metrics()[0]["validation_loss"])


@pytest.mark.slow
def test_a_text_from_python_is_trained_resumed_and_evaluated(small_text, tmp_path):
    """It is identified by its hash, like a file."""
    options = {**OPTIONS, "run_dir": tmp_path / "run"}
    run = shakespeare_gen.train_model(text=small_text, **options, epochs=1)
    assert run.spec.corpus.name == run.spec.corpus.requested == "<text>"
    with pytest.raises(UserError, match="given in Python, received none; pass it as text="):
        shakespeare_gen.train_model(run_dir=run.path, resume=True, epochs=2)
    with pytest.raises(UserError, match="expected the text that the run was trained on"):
        shakespeare_gen.train_model(text="other" * 99, run_dir=run.path, resume=True, epochs=2)
    shakespeare_gen.train_model(text=small_text, run_dir=run.path, resume=True, epochs=2)
    (tmp_path / "a.txt").write_text(small_text, encoding="utf-8")
    resumed = shakespeare_gen.train_model(
        corpus=tmp_path / "a.txt", run_dir=run.path, resume=True, epochs=3
    )
    assert [row["epoch"] for row in resumed.metrics()] == [1, 2, 3]
    figures = shakespeare_gen.evaluate_run(
        run.path, text=small_text, sample_chars=0, baselines=False
    )
    assert set(figures["texts"]) == {"validation", "test"}


def test_a_corpus_and_a_text_contradict_each_other(tmp_path):
    with pytest.raises(UsageError, match="`corpus` and `text`: expected one of them"):
        shakespeare_gen.train_model(text="text", corpus="plays", run_dir=tmp_path / "run")


def test_without_validation_text_the_last_checkpoint_is_the_best(text_path, tmp_path):
    options = {"validation_fraction": 0.0, "test_fraction": 0.0}
    run = train(text_path, tmp_path / "run", epochs=2, **options)
    assert checkpoints.read(run, "best").progress.epoch == 2
    with pytest.raises(UsageError, match="patience: expected 0"):
        train(text_path, tmp_path / "other", patience=2, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "cell"),
    [
        ("adam", "gru"),
        ("adamw", "simple_rnn"),
        ("rmsprop", "min_gru"),
        ("adagrad", "min_lstm"),
        ("sgd", "lstm"),
    ],
)
def test_every_optimizer_lowers_the_loss_of_every_cell(text_path, tmp_path, optimizer, cell):
    rate = {"sgd": 1.0, "adagrad": 0.1}.get(optimizer, 0.01)
    run = train(
        text_path,
        tmp_path / "run",
        epochs=3,
        optimizer=optimizer,
        cell=cell,
        learning_rate=rate,
        warmup_steps=5,
        weight_decay=0.01,
        num_layers=2,
        residual=True,
    )
    losses = [row["loss"] for row in run.metrics()]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential"])
def test_schedules_in_closed_form(schedule):
    from shakespeare_gen.options.groups import OptimizerOptions
    from shakespeare_gen.training.optimizers import Schedule

    options = OptimizerOptions(
        schedule=schedule, learning_rate=1.0, final_learning_rate=0.01, warmup_steps=10
    )
    rate = Schedule(options, num_steps=110, steps_per_epoch=11)
    assert float(rate(0)) == pytest.approx(1 / 11)
    assert float(rate(10)) == pytest.approx(1.0)
    middle = {"constant": 1.0, "cosine": 0.505, "exponential": 0.1}[schedule]
    assert float(rate(60)) == pytest.approx(middle, rel=1e-5)
    assert float(rate(110)) == pytest.approx(1.0 if schedule == "constant" else 0.01, rel=1e-4)


def test_the_learning_rate_decays_per_epoch_after_the_given_number():
    """As in char-rnn: 10 epochs at the full rate, then 0.97 of the previous epoch's."""
    from shakespeare_gen.options.groups import OptimizerOptions
    from shakespeare_gen.training.optimizers import Schedule

    options = OptimizerOptions(schedule="epoch_decay", learning_rate=0.002, warmup_steps=0)
    rate = Schedule(options, num_steps=0, steps_per_epoch=7)
    for epoch, factor in ((1, 1), (10, 1), (11, 0.97), (12, 0.97**2), (50, 0.97**40)):
        first, last = 7 * (epoch - 1), 7 * epoch - 1
        assert float(rate(first)) == pytest.approx(0.002 * factor, rel=1e-5)
        assert float(rate(last)) == float(rate(first))
    # A step that float32 would round to the next epoch.
    large = Schedule(options, num_steps=0, steps_per_epoch=2**24 // 10 + 1)
    step = 10 * large.steps_per_epoch
    assert float(large(step - 1)) == pytest.approx(0.002)
    assert float(large(step)) == pytest.approx(0.002 * 0.97)


def test_the_loss_is_smoothed_from_the_loss_of_guessing(logged_run):
    smoothed = np.log(logged_run.spec.tokenizer.size)
    for row in logged_run.step_metrics():
        smoothed = 0.999 * smoothed + 0.001 * row["loss"]
        assert row["smoothed_loss"] == pytest.approx(smoothed, rel=1e-9)


def test_samples_are_generated_within_an_epoch(text_path, tmp_path, caplog):
    options = {"sample_every_epochs": 1, "sample_every_steps": 5, "sample_chars": 11}
    run = train(text_path, tmp_path / "run", epochs=1, steps_per_epoch=12, **options)
    assert [step for step, _ in run.folder.samples("step")] == [5, 10]
    assert {len(text) for _, text in run.folder.samples("step")} == {11}
    assert [epoch for epoch, _ in run.folder.samples()] == [1]


def test_tensorboard_logs_are_written_to_the_run_folder(logged_run):
    pytest.importorskip("tensorboard")
    logs, rows = logged_run.folder.tensorboard_dir, logged_run.step_metrics()
    steps = [(row["step"], pytest.approx(row["gradient_norm"])) for row in rows]
    assert scalars(logs / "train")["gradient_norm"] == steps
    for split, key in (("train", "loss"), ("validation", "validation_loss")):
        losses = [(row["step"], pytest.approx(row[key])) for row in logged_run.metrics()]
        assert scalars(logs / split)["epoch_loss"] == losses
    assert b"_hparams_/session_start_info" in events(logs)
    assert b"window_chars" in events(logs)


def test_tensorboard_logs_of_a_resumed_run_contain_each_step_once(tmp_path):
    pytest.importorskip("tensorboard")
    run = fake_runs.write_run(tmp_path / "run")
    for number in (1, 2):
        # As when a run starts: logs of steps that were dropped since do not remain.
        records = tensorboard_logs.records(run, steps_per_epoch=9)
        records.append_metrics({"step": 5 * number, "loss": 2.5, "learning_rate": 0.1})
        records.append_sample(number, f"sample <{number}>\n")
    logs = run.folder.tensorboard_dir
    assert scalars(logs / "train")["loss"] == [(5, 2.5), (10, 2.5)]
    assert events(logs / "train").count(b"    sample <1>") == 1
    assert run.folder.samples() == [(1, "sample <1>\n"), (2, "sample <2>\n")]


def events(folder):
    """The bytes of all event files directly in a folder."""
    return b"".join(path.read_bytes() for path in folder.glob("events.out.tfevents.*"))


def scalars(folder):
    """The scalars of a TensorBoard run: lists of step and value by tag."""
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    found = event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    found.Reload()
    return {
        tag: [(e.step, tensor_util.make_ndarray(e.tensor_proto).item()) for e in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
        if tag != "sample"
    }


def test_rows_of_steps_show_how_far_the_weights_move(logged_run):
    rows, [epoch] = logged_run.step_metrics(), logged_run.metrics()
    assert [row["step"] for row in rows] == list(range(1, epoch["step"] + 1))
    assert np.mean([row["loss"] for row in rows]) == pytest.approx(epoch["loss"], rel=1e-5)
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.002] * len(rows))
    # An update of plain gradient descent is the gradient times the learning rate.
    norms = [0.002 * row["gradient_norm"] / row["update_to_weight_ratio"] for row in rows]
    weights_norm = np.sqrt(sum(np.square(w).sum() for w in weights(logged_run).values()))
    assert norms[-1] == pytest.approx(weights_norm, rel=1e-3)
    assert "characters_per_second" not in rows[0]  # the first step includes tracing
    assert all(row["characters_per_second"] > 0 for row in rows[1:])


@pytest.mark.slow
def test_rows_of_steps_do_not_affect_training(text_path, tmp_path):
    often = train(text_path, tmp_path / "often", epochs=1, log_every_steps=2)
    never = train(text_path, tmp_path / "never", epochs=1, log_every_steps=0)
    assert never.step_metrics() == []
    assert often.step_metrics()
    for name, weight in weights(never).items():
        np.testing.assert_array_equal(weights(often)[name], weight)


def test_a_long_run_has_fewer_rows_of_steps(text_path, tmp_path, monkeypatch):
    """The file could otherwise not be read again. The rows do not depend on `epochs`."""
    monkeypatch.setattr(history, "NUM_EVEN_ROWS", 3)
    run = train(text_path, tmp_path / "run", epochs=1, log_every_steps=1)
    steps = [row["step"] for row in run.step_metrics()]
    num_steps = run.metrics()[-1]["step"]
    assert steps == [s for s in (1, 2, 3, 4, 6, 8, 12, 16, 24) if s <= num_steps]


def test_a_missing_tensorboard_is_reported_before_any_file_is_written(
    text_path, tmp_path, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"shakespeare_gen\[tensorboard\]"):
        train(text_path, tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_the_training_loss_equals_the_loss_of_evaluation(abab_run):
    """The progress bar and `evaluation` must report the same quantity."""
    model = checkpoints.load_model(abab_run, checkpoints.read(abab_run))
    training_model = TrainingModel(model)
    training_model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokenizer = abab_run.spec.tokenizer
    text = TokenizedText("ab" * 64, tokenizer.encode("ab" * 64))
    inputs = np.concatenate([[tokenizer.start_id], text.ids[:-1]])
    by_keras = training_model.compute_loss(y=text.ids[None], y_pred=training_model(inputs[None]))
    found = likelihood.nats_per_character(model, text, tokenizer.start_id)
    assert float(by_keras) == pytest.approx(found, abs=1e-5)


def test_the_advice_after_a_nan_names_the_option_that_caused_it(text_path, tmp_path):
    """It once always suggested a smaller learning rate."""
    with pytest.raises(NotFiniteError, match="try `weight_decay=0.1`"):
        train(text_path, tmp_path / "run", epochs=2, weight_decay=1e24)


def test_a_clip_norm_that_stops_training_is_rejected(text_path, tmp_path):
    """From 9e37 on its inverse underflowed, and nothing was learned; 1e308 made NaN."""
    with pytest.raises(UsageError, match="clip_norm: expected at most 1e"):
        train(text_path, tmp_path / "run", epochs=2, clip_norm=9e37)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "min_gru"])
def test_bfloat16_reaches_the_loss_of_float32(tfds_data_dir, tmp_path, cell):
    """After an epoch on real text the losses agree to 0.01 nats."""
    losses = [
        shakespeare_gen.train_model(
            data_dir=str(tfds_data_dir),
            run_dir=str(tmp_path / precision),
            precision=precision,
            cell=cell,
            units=64,
            batch_size=32,
            window_chars=64,
            epochs=1,
            steps_per_epoch=200,
            learning_rate=0.01,
            sample_every_epochs=0,
        ).metrics()[-1]["validation_loss"]
        for precision in ("float32", "bfloat16")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=0.01)
    assert losses[0] < 2.6


# The size of the text.


def test_options_that_are_not_given_follow_from_the_size_of_the_text():
    def sized(num_tokens, **options):
        parsed = Options.parse(shakespeare_gen.train.groups(), options)
        return sizing.resolve(parsed, num_tokens).by_name()

    small, medium, large = (sized(n, auto_size=True) for n in (18_000, 180_000, 50_000_000))
    for name in ("units", "batch_size"):
        assert small[name] <= medium[name] <= large[name], name
    for name in ("dropout", "epochs"):
        assert small[name] >= medium[name] >= large[name], name
    assert sized(18_000, auto_size=True, units=999, dropout=0.0)["units"] == 999
    assert sized(18_000, auto_size=True, dropout=0.0)["dropout"] == 0
    assert sized(18_000)["units"] == 256  # without `auto_size`, the defaults


def test_the_size_of_a_text_without_validation_needs_no_patience():
    options = Options.parse(shakespeare_gen.train.groups(), {"auto_size": True})
    assert sizing.resolve(options, 18_000, has_validation=False).by_name()["patience"] == 0


def test_the_help_text_names_all_options_that_follow_from_the_size():
    [field] = [f for f in fields_of(TrainingOptions) if f.name == "auto_size"]
    for values in sizing.SIZES.values():
        assert all(re.search(rf"\b{name}\b", field.metadata["help"]) for name in values)


@pytest.mark.slow
def test_the_resolved_options_are_stored_so_that_a_resumed_run_keeps_them(
    small_text, tmp_path, monkeypatch
):
    options = {"auto_size": True, "units": 8, "embedding_size": 4, "sample_every_epochs": 0}
    options |= {"steps_per_epoch": 2, "epochs": 1, "validation_fraction": 0.0}
    run = shakespeare_gen.train_model(text=small_text, run_dir=tmp_path / "run", **options)
    chosen = next(iter(sizing.SIZES.values()))
    stored = run.spec.options.by_name()
    assert (stored["units"], stored["epochs"], stored["auto_size"]) == (8, 1, True)
    assert (stored["dropout"], stored["patience"]) == (chosen["dropout"], 0)
    monkeypatch.setattr(sizing, "SIZES", {})  # the next version may choose other values
    resumed = shakespeare_gen.train_model(
        text=small_text, run_dir=run.path, resume=True, epochs=2, auto_size=True
    )
    assert resumed.spec.options.by_name() == {**stored, "epochs": 2}
    with pytest.raises(UsageError, match="auto_size: expected True, as in the run"):
        shakespeare_gen.train_model(text=small_text, run_dir=run.path, resume=True, auto_size=False)


def test_training_warns_of_too_few_updates_and_ends_with_the_baseline(text_path, tmp_path, caplog):
    """A short text with the default batch once trained for 36 updates without a word."""
    with caplog.at_level("INFO", logger="absl"):
        train(text_path, tmp_path / "run", epochs=1, steps_per_epoch=3)
    [warning] = [r.getMessage() for r in caplog.records if "updates" in r.getMessage()]
    assert warning == (
        "3 updates (1 epoch of 3 steps): expected at least 500 for a network to learn; try "
        "`epochs=167`, a smaller `batch_size` or `window_chars`, or `auto_size`, which chooses them"
    )
    assert re.fullmatch(
        r"validation: the network has \d\.\d+ bits/char, a Kneser-Ney \d-gram 0\.\d+; .*",
        caplog.messages[-1],
    )


@pytest.mark.parametrize("warmup_steps", [499, 500])
def test_a_warm_up_longer_than_the_run_is_reported(warmup_steps):
    values = {"epochs": 100, "warmup_steps": warmup_steps}
    options = Options.parse((TrainingOptions, OptimizerOptions), values)
    plan = windows.plan(100_000, WindowOptions(steps_per_epoch=5))
    warning = sizing.too_few_updates(plan, options)
    if warmup_steps < 500:
        assert warning is None
    else:
        assert warning.startswith("warmup_steps: expected fewer than the 500 updates of this run")


def test_the_baseline_equals_that_of_an_evaluation(small_text):
    tokenizer = CharacterTokenizer("".join(sorted(set(small_text))))
    ids = tokenizer.encode(small_text)
    train, validation = (
        TokenizedText(small_text[a:b], ids[a:b]) for a, b in ((0, 2000), (2000, 2400))
    )
    found = kneser_ney.baseline(train, validation, tokenizer)
    losses = NGrams(train.ids, tokenizer.size, tokenizer.start_id).frozen(validation.ids).mean(1)
    assert found.nats == pytest.approx(losses[: kneser_ney.MAX_CONTEXT_TOKENS + 1].min())
    assert found.order == 1 + losses[: kneser_ney.MAX_CONTEXT_TOKENS + 1].argmin()
    assert found.limits == ""


def test_the_baseline_of_a_long_text_is_limited_and_says_so(small_text, monkeypatch):
    monkeypatch.setattr(kneser_ney, "MAX_TRAIN_TOKENS", 1000)
    tokenizer = CharacterTokenizer("".join(sorted(set(small_text))))
    text = TokenizedText(small_text, tokenizer.encode(small_text))
    found = kneser_ney.baseline(text, text, tokenizer)
    assert found.limits == f"a sample of 1,000 of {len(small_text):,} training tokens"


@pytest.mark.slow
def test_a_network_that_is_worse_than_guessing_is_reported(text_path, tmp_path, caplog):
    """A learning rate that is far too large once ended in a loss marked as the best."""
    options = {"learning_rate": 100.0, "optimizer": "sgd", "clip_norm": 1.0, "warmup_steps": 0}
    with caplog.at_level("INFO", logger="absl"):
        train(text_path, tmp_path / "run", epochs=1, **options)
    assert "worse than guessing every token at random" in caplog.text


def test_a_run_stands_for_its_folder(text_path, tmp_path):
    """`load_generator(run)` once ended in an error."""
    run = fake_runs.write_run(tmp_path / "run")
    assert shakespeare_gen.load_generator(run).generate(length=3)[0].finish_reason == "length"
    assert shakespeare_gen.load_generator([run, run]).generate(length=3)
