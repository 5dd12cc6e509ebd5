"""The run folder without training: names, links, deletion, metrics, samples, the card."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from shakespeare_gen import runs, train
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.models import loss_units
from shakespeare_gen.options import Options
from shakespeare_gen.report import comparison
from shakespeare_gen.runs import RunFolder, card, checkpoints, history, resuming
from shakespeare_gen.training import sweep
from tests import fake_runs
from tests.conftest import REPOSITORY


@pytest.fixture
def run(tmp_path):
    return fake_runs.write_run(tmp_path / "run")


# Names and links


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_a_path_is_a_string_or_a_path(run, kind):
    """`train_model` and `evaluate_run` once rejected a `Path`."""
    assert runs.open_run(kind(run.path)).spec == run.spec
    assert runs.split_paths(kind(run.path)) == [str(run.path)]


def test_a_link_to_a_run_folder_is_that_folder(run, tmp_path):
    """A new run once rejected a link, and a resumed run accepted it."""
    link = tmp_path / "latest"
    link.symlink_to(run.path, target_is_directory=True)
    linked = runs.open_run(link)
    assert linked.path == run.path
    assert checkpoints.read(linked).progress.epoch == 1
    linked.folder.make()
    with linked.folder.locked():
        linked.folder.empty(overwrite=True)
    assert link.is_symlink()
    assert os.listdir(run.path) == [".lock"]


def test_a_new_run_starts_in_a_linked_folder(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    run = fake_runs.write_run(tmp_path / "run")
    assert run.path == tmp_path / "disk"
    assert checkpoints.read(runs.open_run(tmp_path / "run")).progress.epoch == 1


def test_a_link_to_itself_is_reported_on_one_line(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for action in (runs.open_run, lambda path: RunFolder(path).make()):
        with pytest.raises(UserError, match="expected a folder, found a loop of symbolic links"):
            action(tmp_path / "a")


@pytest.mark.parametrize("part", ["checkpoints", "metrics.jsonl", "tokenizer.json", "run.json"])
def test_links_inside_a_run_folder_are_rejected(run, tmp_path, part):
    target = tmp_path / "target"
    if (run.path / part).exists():
        (run.path / part).rename(target)
    (run.path / part).symlink_to(target)
    with pytest.raises(UserError, match="found a symbolic link"), run.folder.locked():
        pass


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a\udcff", r"^run_dir: expected a path in UTF-8, received 'a\\udcff'$"),
        ("a\0b", r"^run_dir: expected a path in UTF-8, received 'a\\x00b'$"),
        ("~nosuchuser/run", "^run_dir=~nosuchuser/run: expected a known user, found none$"),
    ],
)
def test_an_invalid_path_is_reported_on_one_line(path, message):
    for action in (RunFolder, runs.open_run):
        with pytest.raises(UserError, match=message):
            action(path)


def test_a_name_that_is_too_long_is_reported_on_one_line(tmp_path):
    path = tmp_path / ("x" * 300)
    with pytest.raises(UserError, match="File name too long$"):
        RunFolder(path).make()
    with pytest.raises(UserError, match="File name too long$"):
        runs.open_run(path)
    with pytest.raises(UserError, match="File name too long$"):
        resuming.check_can_resume(RunFolder(path))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this machine has no fork")
def test_an_unreadable_parent_folder_is_reported_on_one_line(tmp_path):
    """In an unprivileged child process, because root may read everything."""
    secret = tmp_path / "secret"
    fake_runs.write_run(secret / "run")
    secret.chmod(0)
    folder = RunFolder(secret / "run")
    actions = {
        "open": lambda: runs.open_run(folder.path),
        "make": folder.make,
        "resume": lambda: resuming.check_can_resume(folder),
        "empty": lambda: folder.empty(overwrite=True),
    }
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            for name, action in actions.items():
                try:
                    action()
                    answer = "no error"
                except BaseException as error:
                    answer = f"{type(error).__name__}: {error}"
                os.write(writer, f"{name}: {answer}\n".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    secret.chmod(0o755)
    answers = os.fdopen(reader).read().splitlines()
    assert len(answers) == len(actions)
    for answer in answers:
        assert re.fullmatch(r"\w+: UserError: .*: cannot be \w+: Permission denied", answer), answer


def test_control_characters_of_a_name_do_not_reach_the_terminal():
    command = [sys.executable, "-m", "shakespeare_gen.compare", "--run_dir=no\nsuch\x1b[31m"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        r"compare: --run_dir=no\x0asuch\x1b[31m: expected a run folder, found no config.json" "\n"
    )


# Folders that are not run folders


def test_only_a_run_or_an_empty_folder_is_accepted(tmp_path):
    folder = RunFolder(tmp_path)
    folder.make()
    (tmp_path / "novel.txt").write_text("ten years of work", encoding="utf-8")
    with pytest.raises(UserError, match=r"^run_dir=.*: expected a run, an empty .* 'novel\.txt'$"):
        folder.make()


def test_file_names_alone_do_not_identify_a_run(tmp_path):
    for name in ("config.json", "tokenizer.json", "README.md", "run.json"):
        (tmp_path / name).write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(UserError, match="expected a run, an empty folder or nothing, found"):
        RunFolder(tmp_path).make()


def test_a_file_is_not_a_folder(tmp_path):
    path = tmp_path / "run"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="expected a run, an empty folder or nothing, found"):
        RunFolder(path).make()
    with pytest.raises(UserError, match="expected a run folder, found no config.json"):
        runs.open_run(path)


def test_a_run_is_emptied_only_on_request(run):
    with pytest.raises(UserError, match="continue it with `resume`, replace it with `overwrite`"):
        run.folder.empty(overwrite=False)
    assert run.folder.has_checkpoint()
    (run.path / "tensorboard").mkdir()
    run.folder.empty(overwrite=True)
    assert os.listdir(run.path) == []


def test_a_second_training_process_is_rejected_with_the_id_of_the_first(run):
    message = rf"no process is training, found process {os.getpid()} on .*, since"
    second = RunFolder(run.path)
    with run.folder.locked(), pytest.raises(UserError, match=message), second.locked():
        pass
    with second.locked():
        pass


# Metrics and samples


def row(epoch):
    bits = loss_units.bits_per_character(2.5)
    row = {"epoch": epoch, "step": 7 * epoch, "loss": 2.5, "loss_bits_per_character": bits}
    return row | {"learning_rate": 0.1, "characters_per_second": 9, "seconds": 1.5}


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 3, "loss": 1.0, "epochs": 1}',
        '{"step": 3, "loss": "1"}',
        '{"epoch": 1}',
        '{"epoch": "1"}',
        "[1]",
        '{"epoch": 2, "st',
        '{"a": NaN}',
    ],
)
def test_a_damaged_row_is_skipped(run, caplog, line):
    run.folder.append_metrics(row(1))
    with run.folder.metrics_path.open("a", encoding="utf-8") as file:
        file.write(line)
    assert run.metrics() == [row(1)]
    assert "skipping damaged line" in caplog.text


def step_row(step):
    return {"step": step, "loss": 2.5, "learning_rate": 0.1, "gradient_norm": 0.5}


def test_rows_of_steps_stand_beside_rows_of_epochs(run):
    """A reader of epochs sees what it saw before there were rows of steps."""
    for record in (step_row(4), row(1), step_row(8), step_row(12), row(2), step_row(16)):
        run.folder.append_metrics(record)
    assert run.metrics() == [row(1), row(2)]
    assert run.step_metrics() == [step_row(4), step_row(8), step_row(12), step_row(16)]
    run.folder.drop_after(1, 8)
    assert (run.metrics(), run.step_metrics()) == ([row(1)], [step_row(4), step_row(8)])


def test_samples_are_read_up_to_a_truncated_one(run):
    for number in (1, 2, 3):
        run.folder.append_sample(number, TEXTS[number])
    whole = run.folder.samples_path.read_bytes()
    assert run.folder.samples() == [(n, TEXTS[n]) for n in (1, 2, 3)]
    run.folder.samples_path.write_bytes(whole[:-5])
    assert run.folder.samples() == [(1, TEXTS[1]), (2, TEXTS[2])]


TEXTS = [
    "one",
    "two\n=== epoch 4\n\n=== epoch 9, 3 bytes\nabc\n",
    "",
    "dré\n\n",
    "=== epoch 9",
    "5",
]


def samples_of(epochs):
    return "".join(history.sample_record(epoch, TEXTS[epoch]) for epoch in epochs)


@pytest.mark.parametrize("epoch", range(6))
def test_samples_of_later_epochs_are_dropped_for_any_content(run, epoch):
    """A resumed run once cut `samples.txt` at a generated line such as "=== epoch 4"."""
    for number in range(1, 6):
        run.folder.append_metrics(row(number))
        run.folder.append_sample(number, TEXTS[number])
    run.folder.drop_after(epoch, 7 * epoch)
    assert run.folder.samples_path.read_text("utf-8") == samples_of(range(1, epoch + 1))
    assert [row["epoch"] for row in run.metrics()] == list(range(1, epoch + 1))


def test_a_truncated_sample_is_dropped():
    whole = samples_of([1, 2]).encode()
    for size in range(len(whole) + 1, len(whole + samples_of([3, 4]).encode())):
        data = (whole + samples_of([3, 4]).encode())[:size]
        kept = data[: history.size_of_samples(data, 9, 0)]
        assert kept in (whole, whole + samples_of([3]).encode())


def test_samples_of_format_1_have_no_sizes():
    """They are cut at the first real header of a later epoch."""
    old = "=== epoch 1\na\n=== epoch 9\nb\n=== epoch 2\n=== epoch 3\n=== epoch 3\nc\n"
    for epoch, kept in ((1, "=== epoch 1\na\n=== epoch 9\nb\n"), (3, old), (0, "")):
        data = (old + "=== epoch 4\nd\n").encode()
        assert data[: history.size_of_samples(data, epoch, 0)].decode() == kept
    mixed = (old + samples_of([4, 5])).encode()
    assert mixed[: history.size_of_samples(mixed, 4, 0)].decode() == old + samples_of([4])


def test_samples_of_steps_stand_beside_samples_of_epochs(run):
    """A run that is resumed within epoch 2 keeps the samples of its steps so far."""
    for number, unit in ((4, "step"), (1, "epoch"), (8, "step"), (12, "step"), (2, "epoch")):
        run.folder.append_sample(number, f"{unit} {number}", unit)
    assert run.folder.samples() == [(1, "epoch 1"), (2, "epoch 2")]
    assert run.folder.samples("step") == [(n, f"step {n}") for n in (4, 8, 12)]
    run.folder.drop_after(1, 8)
    assert run.folder.samples() == [(1, "epoch 1")]
    assert run.folder.samples("step") == [(4, "step 4"), (8, "step 8")]


def test_missing_samples_are_accepted(run):
    run.folder.drop_after(1, 7)
    assert not run.folder.samples_path.exists()


# Several runs


@pytest.mark.parametrize(
    ("run_dir", "expected"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("x,y", ["x,y"]),
        ("a,x,y,b", ["a", "x,y", "b"]),
        ("x,y,x,y", ["x,y", "x,y"]),
        (",c", [",c"]),
        ("a,,c", ["a", ",c"]),
        ("a,missing", ["a", "missing"]),
        ("missing", ["missing"]),
    ],
)
def test_a_folder_whose_name_contains_commas_is_one_run(tmp_path, monkeypatch, run_dir, expected):
    """A folder named `x,y` was once split in two."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "x,y", ",c"):
        (tmp_path / name).mkdir()
    assert runs.split_paths(run_dir) == expected


def test_a_glob_stands_for_the_run_folders_that_match(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s1", "s2", "[s]"):
        fake_runs.write_run(tmp_path / name, epochs=())
    (tmp_path / "s3").mkdir()
    assert runs.split_paths("s*,[s]") == ["s1", "s2", "[s]"]  # a folder is never a glob
    assert runs.split_paths(("s2", "s?")) == ["s2", "s1", "s2"]
    with pytest.raises(UsageError, match=r"run_dir=t\*: expected a glob that matches run folders"):
        runs.split_paths("t*")


@pytest.mark.parametrize("run_dir", ["a,", ",", "a,,b"])
def test_an_empty_path_between_commas_is_rejected(tmp_path, monkeypatch, run_dir):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="^run_dir: expected run folders between commas"):
        runs.split_paths(run_dir)


def test_a_comparison_shows_the_options_that_differ(tmp_path):
    compared = comparison.compare(
        [
            fake_runs.write_run(tmp_path / "a" / "final", epochs=()),
            fake_runs.write_run(tmp_path / "b" / "final", epochs=(), cell="gru", units=8),
        ]
    )
    first, second = compared
    assert [first.name, second.name] == ["a/final", "b/final"]
    assert first.options == {"cell": "lstm", "units": 16}
    assert second.options == {"cell": "gru", "units": 8}
    assert first.figures()["parameters"] == 3 * 8 + 4 * 16 * (8 + 16 + 1) + 16 * 3 + 3
    assert first.figures()["test, frozen, nats"] is None


def trained(path, epochs, losses=(), seconds=60.0, **options):
    """A run folder with the rows of `epochs` epochs and the losses of a card, untrained."""
    run = fake_runs.write_run(path, epochs=(), **options)
    for epoch in range(1, epochs + 1):
        run.folder.append_metrics(row(epoch) | {"validation_loss": 2.0, "seconds": seconds})
    if losses:
        run.folder.card_path.write_text(json.dumps({"losses": losses}), "utf-8")
    return runs.open_run(path)


def test_runs_that_differ_only_in_the_seed_are_one_column(tmp_path):
    names = ("x-seed-0", "x-seed-1", "x-seed-10", "y")
    every = [
        trained(tmp_path / name, 2, {"validation": loss}, seed=seed, units=units)
        for name, loss, seed, units in zip(
            names, (1.0, 2.0, 3.0, 9.0), (0, 1, 10, 0), (16, 16, 16, 8), strict=True
        )
    ]
    seeds, single = comparison.compare(every)
    assert [seeds.name, single.name] == ["x", "y"]
    assert seeds.options == {"units": 16, "seed": "0, 1, 10"}
    figures = seeds.figures()
    assert figures["seeds"] == 3
    assert figures["updates"] == 14  # the same for each seed
    assert figures["validation, frozen, nats"] == (2.0, 1.0)  # mean, standard deviation
    assert single.figures()["validation, frozen, nats"] == 9.0


def test_two_runs_with_the_same_seed_are_not_two_samples(tmp_path):
    every = [trained(tmp_path / name, 1) for name in ("copy", "original")]
    assert [len(group.results) for group in comparison.compare(every)] == [1, 1]


def test_a_comparison_of_different_budgets_or_texts_warns(tmp_path):
    def warnings(**options):
        number = len(list(tmp_path.iterdir()))
        other = trained(tmp_path / str(number), **{"epochs": 2, **options})
        return comparison.warnings(comparison.compare([first, other]))

    first = trained(tmp_path / "first", epochs=2)
    assert warnings(seed=1) == []
    assert warnings(epochs=3) == [
        "the runs differ in their budget: 14 to 21 updates",
        "the runs differ in their budget: 1,792 to 2,688 tokens seen",
        "the runs differ in their budget: 2.0 to 3.0 minutes",
    ]
    assert warnings(window_chars=10, seconds=66.0) == [
        "the runs differ in their budget: 1,400 to 1,792 tokens seen"
    ]
    assert warnings(text="ab" * 50 + "\r") == [
        "the runs differ in their text: the losses are not comparable",
        "the runs differ in their tokenizer: the losses are not comparable",
    ]


def sweep_options(tmp_path, **options):
    return Options.parse(train.groups(), {"run_dir": tmp_path / "x", "seeds": [0, 1], **options})


def finish(run):
    run.folder.card_path.write_text('{"status": "finished"}', "utf-8")


def test_a_sweep_has_one_run_folder_per_seed(tmp_path):
    planned = [own.by_name() for own in sweep.plan(sweep_options(tmp_path, units=8))]
    assert [own["seed"] for own in planned] == [0, 1]
    assert [own["run_dir"] for own in planned] == [f"{tmp_path}/x-seed-{n}" for n in (0, 1)]
    assert {(own["units"], own["resume"]) for own in planned} == {(8, False)}
    with pytest.raises(UsageError, match="^`seed` and `seeds`: expected one of them"):
        sweep.plan(sweep_options(tmp_path, seed=3))


def test_a_resumed_sweep_starts_the_missing_runs_with_the_options_of_the_others(tmp_path):
    """Their defaults would make it a comparison of different models."""
    with pytest.raises(UserError, match="resume: expected a run with a checkpoint"):
        sweep.plan(sweep_options(tmp_path, resume=True))
    run = fake_runs.write_run(tmp_path / "x-seed-0", units=8, cell="gru")
    first, second = sweep.plan(sweep_options(tmp_path, resume=True))
    assert first.by_name()["resume"]
    given = second.by_name()
    assert (given["units"], given["cell"], given["seed"]) == (8, "gru", 1)
    assert (given["resume"], given["run_dir"]) == (False, f"{tmp_path}/x-seed-1")
    assert sweep.finished(first) is None
    finish(run)
    assert sweep.finished(first).path == run.path
    assert sweep.finished(second) is None
    longer, _ = sweep.plan(sweep_options(tmp_path, resume=True, epochs=99))
    assert sweep.finished(longer) is None  # there is more to train


def test_a_sweep_never_overwrites_a_run_without_a_request(tmp_path):
    finish(fake_runs.write_run(tmp_path / "x-seed-1"))
    with pytest.raises(UserError, match="x-seed-1: expected no run, found one; continue the sweep"):
        sweep.plan(sweep_options(tmp_path))
    assert all(
        sweep.finished(own) is None for own in sweep.plan(sweep_options(tmp_path, overwrite=True))
    )


def test_a_comparison_is_written_beside_its_runs(tmp_path):
    every = [fake_runs.write_run(tmp_path / name, epochs=()) for name in ("a/x", "a/y", "b")]
    assert comparison.common_folder(every[:2]) == str(tmp_path / "a")
    assert comparison.common_folder(every) == str(tmp_path)


def test_comparing_a_run_with_itself_is_rejected(run):
    with pytest.raises(UsageError, match="^run_dir: expected different runs, received"):
        comparison.compare([run, run])


# The card


@pytest.fixture
def hardware(monkeypatch):
    found = {"processor": "abacus", "threads": 2, "gpus": []}
    monkeypatch.setattr(card.devices, "hardware", lambda: found)


def test_a_card_records_the_run_and_its_end(run, hardware):
    written = card.Card(run, {"kernel": "fused"}, 123)
    with contextlib.suppress(ZeroDivisionError), written:
        started = json.loads(run.folder.card_path.read_text("utf-8"))
        written.write(best_checkpoint="step-00000007", losses={"validation": 1.5})
        _ = 1 / 0
    found = json.loads(run.folder.card_path.read_text("utf-8"))
    assert started["status"] == "running"
    assert found["status"] == "stopped: ZeroDivisionError"
    assert found["losses"] == {"validation": 1.5}
    assert found["options"]["units"] == 16
    assert found["command"].startswith("python -m shakespeare_gen.train --corpus=abab.txt")
    assert found["command"].endswith(f"--run_dir={run.path}")
    page = run.folder.readme_path.read_text("utf-8")
    assert f"python -m shakespeare_gen.generate --run_dir={run.path}" in page
    assert "computed in auto, kernel fused" in page
    assert "- best checkpoint: step-00000007\n- validation loss: 1.500 nats" in page


def test_a_card_mentions_a_fallback_and_a_resumption(tmp_path, hardware):
    spec = fake_runs.make_spec(corpus="plays", fallback_corpus="abab.txt", name="abab.txt")
    options = spec.options.replaced(epochs=30)
    spec = resuming.resumed_spec(spec, options, fake_runs.make_corpus(), "step-00000007")
    run = runs.Run(RunFolder(tmp_path), spec)
    with card.Card(run, {}, 123):
        pass
    page = run.folder.readme_path.read_text("utf-8")
    assert "**Fallback corpus.** `plays` could not be downloaded" in page
    assert "- resumed from step-00000007, epochs 20 → 30\n" in page
    found = json.loads(run.folder.card_path.read_text("utf-8"))
    assert found["resumed"] == [{"from": "step-00000007", "changed": {"epochs": [20, 30]}}]
    assert found["status"] == "finished"
