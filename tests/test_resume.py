"""An interrupted run resumes bit-exactly, no matter where it was stopped."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import shakespeare_gen
from shakespeare_gen import models, runs
from shakespeare_gen import train as train_command
from shakespeare_gen.errors import Interrupted, NotFiniteError, UsageError, UserError
from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import OptimizerOptions, TrainingOptions
from shakespeare_gen.runs import RunFolder, checkpoints, store
from shakespeare_gen.system import storage
from shakespeare_gen.training import callbacks
from tests.conftest import REPOSITORY

# 1,890 training characters in windows of 16, 8 per batch: 14 steps per epoch.
OPTIONS = {
    "units": 8,
    "embedding_size": 4,
    "window_chars": 16,
    "batch_size": 8,
    "dropout": 0.3,
    "learning_rate": 0.02,
    "warmup_steps": 5,
    "epochs": 3,
    "sample_chars": 30,
    "log_every_steps": 3,
    "seed": 2,
}
STEPS_PER_EPOCH = 14
TIMES = ("characters_per_second", "seconds")


@pytest.fixture(scope="module")
def text_path(small_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text(small_text[:2100], encoding="utf-8")
    return str(path)


def train(text_path, run_dir, **options):
    options = {**OPTIONS, "corpus": text_path, "run_dir": str(run_dir), **options}
    return shakespeare_gen.train_model(**options)


def resume(run_dir, **options):
    return shakespeare_gen.train_model(run_dir=str(run_dir), resume=True, **options)


def what_must_be_equal(run):
    """The bytes of the last checkpoint, the metrics without times, and the samples."""
    place = checkpoints.read(run, "last").place
    files = {path.name: path.read_bytes() for path in place.iterdir()}
    rows = [
        {key: value for key, value in row.items() if key not in TIMES}
        for row in [*run.step_metrics(), *run.metrics()]
    ]
    return place.name, files, rows, run.folder.samples_path.read_text("utf-8")


def assert_equal(run, whole):
    name, files, rows, samples = what_must_be_equal(run)
    expected_name, expected_files, expected_rows, expected_samples = what_must_be_equal(whole)
    assert (name, rows, samples) == (expected_name, expected_rows, expected_samples)
    assert files.keys() == expected_files.keys()
    assert [f for f in files if files[f] != expected_files[f]] == []


def signal_at_step(monkeypatch, step, number=signal.SIGTERM):
    """Sends a signal to the process during step `step`."""
    count = callbacks.CountSteps.on_train_batch_end

    def counted(self, batch, logs=None):
        count(self, batch, logs)
        if self.progress.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(callbacks.CountSteps, "on_train_batch_end", counted)


@pytest.fixture(scope="module")
def whole_runs(text_path, tmp_path_factory):
    """Uninterrupted runs by options, each trained once."""
    made = {}

    def get(**options):
        key = json.dumps(options)
        if key not in made:
            made[key] = train(text_path, tmp_path_factory.mktemp("whole") / "run", **options)
        return made[key]

    return get


@pytest.fixture(scope="module")
def first_epoch(text_path, tmp_path_factory):
    """A run of one epoch, which tests copy."""
    options = {"epochs": 1, "keep_checkpoints": 3, "save_every_steps": 4}
    return train(text_path, tmp_path_factory.mktemp("first") / "run", **options)


@pytest.fixture
def run(first_epoch, tmp_path):
    """A run of one epoch that a test may change."""
    return runs.open_run(shutil.copytree(first_epoch.path, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("carry_state", [True, False])
@pytest.mark.parametrize("step", [1, 7, STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH + 13])
def test_a_run_stopped_at_any_step_resumes_bit_exactly(
    text_path, tmp_path, monkeypatch, whole_runs, carry_state, step
):
    """Within an epoch, at its last step before validation, and near the end; with dropout."""
    signal_at_step(monkeypatch, step)
    with pytest.raises(Interrupted, match=rf"saved after step {step}$"):
        train(text_path, tmp_path / "run", carry_state=carry_state)
    monkeypatch.undo()
    assert_equal(resume(tmp_path / "run"), whole_runs(carry_state=carry_state))


@pytest.mark.slow
@pytest.mark.parametrize("carry_state", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "adagrad", "sgd"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_optimizer_resumes_bit_exactly_in_both_precisions(
    text_path, tmp_path, monkeypatch, whole_runs, carry_state, optimizer, precision
):
    options = {"carry_state": carry_state, "optimizer": optimizer, "precision": precision}
    options |= {"momentum": 0.5, "cell": "gru", "num_layers": 2, "epochs": 2}
    signal_at_step(monkeypatch, 20)
    with pytest.raises(Interrupted):
        train(text_path, tmp_path / "run", **options)
    monkeypatch.undo()
    assert_equal(resume(tmp_path / "run"), whole_runs(**options))


@pytest.mark.slow
def test_dropout_of_weights_and_teachers_resume_bit_exactly(
    text_path, tmp_path, monkeypatch, whole_runs
):
    """The dropout seeds and the carried states of the teachers."""
    teachers = [str(whole_runs(carry_state=True).path), str(whole_runs(carry_state=False).path)]
    options = {"carry_state": True, "weight_dropout": 0.3}
    options |= {"teachers": teachers, "teacher_weight": 0.6}
    signal_at_step(monkeypatch, STEPS_PER_EPOCH + 5)
    with pytest.raises(Interrupted):
        train(text_path, tmp_path / "run", **options)
    monkeypatch.undo()
    assert_equal(resume(tmp_path / "run"), whole_runs(**options))


@pytest.mark.slow
def test_epoch_decay_smoothed_loss_and_samples_of_steps_resume_bit_exactly(
    text_path, tmp_path, monkeypatch, whole_runs
):
    """The options of min-char-rnn and char-rnn, stopped between two samples of the second epoch."""
    options = {"carry_state": True, "embedding_size": 0, "init_scale": 0.1, "batch_size": 2}
    options |= {"optimizer": "adagrad", "initial_accumulator": 0.0, "clip_value": 0.2}
    options |= {"clip_norm": 0.0, "schedule": "epoch_decay", "decay_after_epochs": 1}
    options |= {"steps_per_epoch": 20, "sample_every_steps": 7, "cell": "simple_rnn"}
    whole = whole_runs(**options)
    assert [step for step, _ in whole.folder.samples("step")] == [7, 14, 21, 28, 35, 42, 49, 56]
    rates = [row["learning_rate"] for row in whole.metrics()]
    assert rates == pytest.approx([0.02 * 0.97**n for n in (1, 2, 3)])
    signal_at_step(monkeypatch, 31)
    with pytest.raises(Interrupted):
        train(text_path, tmp_path / "run", **options)
    monkeypatch.undo()
    assert_equal(resume(tmp_path / "run"), whole)


@pytest.mark.slow
def test_a_run_stopped_during_validation_resumes_bit_exactly(
    text_path, tmp_path, monkeypatch, whole_runs
):
    evaluate = likelihood.nats_per_character
    calls = []

    def signalled(*arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments)

    monkeypatch.setattr(likelihood, "nats_per_character", signalled)
    with pytest.raises(Interrupted, match=f"saved after step {2 * STEPS_PER_EPOCH}"):
        train(text_path, tmp_path / "run", carry_state=True)
    monkeypatch.undo()
    assert_equal(resume(tmp_path / "run"), whole_runs(carry_state=True))


@pytest.mark.slow
def test_checkpoints_within_an_epoch_do_not_affect_training(text_path, tmp_path, whole_runs):
    run = train(text_path, tmp_path / "run", carry_state=False, save_every_steps=4)
    assert_equal(run, whole_runs(carry_state=False))


@pytest.mark.slow
def test_rows_after_the_last_checkpoint_are_logged_again(
    text_path, tmp_path, monkeypatch, whole_runs
):
    """A process that is killed has logged steps that its checkpoint does not know."""
    count = callbacks.CountSteps.on_train_batch_end

    def killed(self, batch, logs=None):
        if self.progress.step == 2 * STEPS_PER_EPOCH - 1:
            raise MemoryError
        count(self, batch, logs)

    monkeypatch.setattr(callbacks.CountSteps, "on_train_batch_end", killed)
    with pytest.raises(MemoryError):
        train(text_path, tmp_path / "run", carry_state=False, save_every_steps=20)
    monkeypatch.undo()
    steps = [row["step"] for row in runs.open_run(tmp_path / "run").step_metrics()]
    assert steps == [*range(3, 28, 3)]
    run = resume(tmp_path / "run")
    assert [row["step"] for row in run.step_metrics()] == [*range(3, 43, 3)]
    assert_equal(run, whole_runs(carry_state=False))


@pytest.mark.slow
def test_early_stopping_counts_across_a_stop(text_path, tmp_path, monkeypatch, whole_runs):
    options = {"learning_rate": 0.3, "schedule": "constant", "warmup_steps": 0, "clip_norm": 0.0}
    options |= {"epochs": 30, "patience": 3}
    whole = whole_runs(**options)
    num_epochs = len(whole.metrics())
    assert num_epochs < 30
    signal_at_step(monkeypatch, STEPS_PER_EPOCH * num_epochs - 3)
    with pytest.raises(Interrupted):
        train(text_path, tmp_path / "run", **options)
    monkeypatch.undo()
    assert_equal(resume(tmp_path / "run"), whole)
    assert_equal(resume(tmp_path / "run"), whole)  # no epochs remain


@pytest.mark.slow
def test_changed_options_are_applied_and_recorded(text_path, tmp_path):
    train(text_path, tmp_path / "run", epochs=1)
    run = resume(tmp_path / "run", epochs=2, learning_rate=0.001)
    run = resume(run.path, epochs=3)
    card = json.loads(run.folder.card_path.read_text("utf-8"))
    assert card["resumed"] == [
        {
            "from": "step-00000014-epoch-0001",
            "changed": {"learning_rate": [0.02, 0.001], "epochs": [1, 2]},
        },
        {"from": "step-00000028-epoch-0002", "changed": {"epochs": [2, 3]}},
    ]
    assert "resumed from step-00000014-epoch-0001" in run.folder.readme_path.read_text("utf-8")
    assert run.spec.options[OptimizerOptions].learning_rate == 0.001


@pytest.mark.slow
def test_a_failed_resume_does_not_change_the_run(text_path, tmp_path):
    """The new option was once written to config.json first, and no later resume worked."""
    run = train(text_path, tmp_path / "run", epochs=1, optimizer="sgd")
    with pytest.raises(UsageError, match=r"momentum: expected 0\.0, .* received 0\.9"):
        resume(run.path, momentum=0.9, epochs=2)
    state = checkpoints.read(run).place / "training.safetensors"
    state.rename(run.path.parent / "aside")
    with pytest.raises(UserError, match="with an intact checkpoint"):
        resume(run.path, learning_rate=0.5, epochs=2)
    (run.path.parent / "aside").rename(state)
    assert run.spec.options[OptimizerOptions].learning_rate == 0.02
    assert len(resume(run.path, epochs=2).metrics()) == 2


def test_hostile_training_state_is_reported_on_one_line(run):
    place = checkpoints.read(run).place
    path = place / "training.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"F32"', b'"I32"', 1))
    names = ("weights.safetensors", "training.safetensors", "state.json")
    files = {name: (place / name).read_bytes() for name in names}
    (place / "manifest.json").write_bytes(storage.to_json(store._manifest(files)))
    with pytest.raises(UserError, match=r"training\.safetensors: expected tensor .* to be"):
        resume(run.path, epochs=2)


@pytest.mark.parametrize(
    "row",
    [
        '{"epoch": 2, "st',
        *(
            pytest.param(row, marks=pytest.mark.slow)
            for row in ('{"epoch": 1}', '{"epoch": "1"}', "[1]")
        ),
    ],
)
def test_invalid_rows_of_metrics_are_skipped(run, row, caplog):
    with run.folder.metrics_path.open("a", encoding="utf-8") as file:
        file.write(row)
    assert len(resume(run.path, epochs=2).metrics()) == 2
    assert "skipping damaged line" in caplog.text


def test_the_newest_checkpoints_and_the_best_are_kept(first_epoch):
    assert store.names(first_epoch.folder.checkpoints) == [
        "step-00000008",
        "step-00000012",
        "step-00000014-epoch-0001",
    ]


@pytest.mark.slow
def test_a_resumed_run_does_not_mark_a_worse_checkpoint_as_the_best(text_path, tmp_path):
    run = train(text_path, tmp_path / "run")
    best = checkpoints.read(run, "best")
    worse = {"learning_rate": 50.0, "schedule": "constant", "clip_norm": 0.0, "warmup_steps": 0}
    run = resume(tmp_path / "run", epochs=6, **worse)
    rows = run.metrics()
    assert min(row["validation_loss"] for row in rows[3:]) > best.progress.best_validation_loss
    assert checkpoints.read(run, "best").place == best.place


@pytest.mark.slow
def test_weights_that_are_not_finite_are_never_saved(run):
    """The loss of a step is computed before its update, so the next loss comes too late."""
    before = what_must_be_equal(run)
    hot = {"learning_rate": 3e38, "schedule": "constant", "clip_norm": 0.0, "warmup_steps": 0}
    with pytest.raises(NotFiniteError, match=r"try `learning_rate=1e\+38`"):
        resume(run.path, epochs=2, save_every_steps=1, **hot)
    assert what_must_be_equal(run)[1] == before[1]


@pytest.mark.slow
def test_a_second_training_process_is_rejected_with_the_id_of_the_first(run):
    with (
        run.folder.locked(),
        pytest.raises(
            UserError, match=rf"no process is training, found process {os.getpid()} on .*since"
        ),
    ):
        resume(run.path, epochs=2)
    resume(run.path, epochs=2)


def test_a_run_stopped_before_its_first_checkpoint_can_be_restarted(
    text_path, tmp_path, monkeypatch
):
    """The signal arrives while the model is built, and waits: an exception within a call of
    TensorFlow could crash the process."""
    build = models.build

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return build(*arguments)

    monkeypatch.setattr(models, "build", signalled)
    with pytest.raises(Interrupted):
        train(text_path, tmp_path / "run")
    monkeypatch.undo()
    with pytest.raises(UserError, match="expected a run with a checkpoint"):
        resume(tmp_path / "run")
    assert train(text_path, tmp_path / "run", epochs=1).folder.has_checkpoint()


def test_a_renamed_checkpoint_is_never_deleted(text_path, run):
    *_, name = store.names(run.folder.checkpoints)
    (run.folder.checkpoints / name).rename(run.folder.checkpoints / "my-good-model")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="found 'checkpoints/my-good-model'"):
            train(text_path, run.path, overwrite=overwrite)
    assert (run.folder.checkpoints / "my-good-model" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "part",
    [
        "checkpoints",
        *(
            pytest.param(part, marks=pytest.mark.slow)
            for part in ("metrics.jsonl", "tensorboard", "run.json")
        ),
    ],
)
def test_training_follows_no_link_out_of_the_folder(run, tmp_path, part):
    target = tmp_path / "target"
    if (run.path / part).exists():
        (run.path / part).rename(target)
    (run.path / part).symlink_to(target)
    with pytest.raises(UserError, match="found a symbolic link"):
        resume(run.path, epochs=2)


def test_a_planted_link_is_not_written_through(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("ten years of work", encoding="utf-8")
    (tmp_path / ".run.json.partial").symlink_to(mine)
    storage.write(tmp_path / "run.json", b"{}")
    assert mine.read_text("utf-8") == "ten years of work"
    assert not (tmp_path / "run.json").is_symlink()


def test_other_files_with_the_names_of_run_files_are_never_deleted(text_path, tmp_path):
    for name in ("config.json", "README.md", "run.json"):
        (tmp_path / name).write_text('{"mine": 1}', encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"expected a run, an empty folder or nothing, found"):
            train(text_path, tmp_path, overwrite=overwrite)
    assert sorted(os.listdir(tmp_path)) == ["README.md", "config.json", "run.json"]


@pytest.mark.slow
def test_a_run_on_the_fallback_corpus_resumes_on_it(text_path, tmp_path, monkeypatch):
    """Even if the requested corpus is available by then."""
    from shakespeare_gen.data.sources import files, tfds

    with monkeypatch.context() as offline:
        offline.setattr(tfds, "network_error", lambda url: "ConnectionError")
        data_dir = str(tmp_path / "tfds")
        options = {"corpus": "tiny_shakespeare", "fallback_corpus": text_path, "epochs": 1}
        shakespeare_gen.train_model(
            **{**OPTIONS, **options, "data_dir": data_dir, "run_dir": str(tmp_path / "run")}
        )
    monkeypatch.setattr(tfds, "load", lambda *_: files.load(text_path, 0.1, 0.1, "utf-8", "strict"))
    run = resume(tmp_path / "run", epochs=2)
    assert checkpoints.read(run, "last").progress.epoch == 2
    assert run.spec.corpus.requested == "tiny_shakespeare"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this machine has no fork")
def test_a_folder_without_permission_is_reported_on_one_line(tmp_path):
    """In an unprivileged child process, because root may write everywhere."""
    store.save(tmp_path, "step-00000001", {"a.json": b"old"})
    tmp_path.chmod(0o555)
    child = os.fork()
    if child == 0:
        code = 9
        try:
            os.chdir(tmp_path)
            if os.geteuid() == 0:
                os.setuid(65534)
            store.save(pathlib.Path(), "step-00000002", {"a.json": b"new"})
        except UserError as error:
            code = 0 if "cannot be written: Permission denied" in str(error) else 8
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    tmp_path.chmod(0o755)
    assert os.listdir(tmp_path) == ["step-00000001"]


# Real processes


def command(text_path, run_dir, **options):
    flags = {**OPTIONS, "corpus": text_path, "run_dir": run_dir, **options}
    return [
        sys.executable,
        "-m",
        "shakespeare_gen.train",
        *(f"--{k}={v}" for k, v in flags.items()),
    ]


def start(arguments):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        arguments, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
    )


def read_until(process, text):
    """Standard error up to the line that contains `text`."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            break
    return lines


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_training_with_its_code_and_a_resume_command(
    text_path, tmp_path, number, code
):
    process = start(command(text_path, tmp_path / "run", epochs=500, sample_every_epochs=0))
    read_until(process, "epoch 2/500")
    with pytest.raises(UserError, match=f"no process is training, found process {process.pid} on"):
        resume(tmp_path / "run")
    with pytest.raises(UserError, match=f"no process is training, found process {process.pid} on"):
        train(text_path, tmp_path / "run", overwrite=True)
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == code
    assert errors.splitlines()[-1].startswith("train: interrupted and saved after step ")
    assert errors.splitlines()[-1].endswith(
        f"python -m shakespeare_gen.train --resume --run_dir={tmp_path / 'run'}"
    )
    assert "Traceback" not in errors
    card = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert card["status"] == "interrupted"
    assert card["best_checkpoint"] in os.listdir(tmp_path / "run" / "checkpoints")
    assert len(card["epochs"]) >= 2


@pytest.mark.slow
def test_a_second_signal_ends_training_immediately_within_a_step(text_path, tmp_path):
    """The step is a long call of C code, during which Python does not handle signals."""
    code = (
        "import hashlib, sys\n"
        "from shakespeare_gen import train\n"
        "from shakespeare_gen.options import command_line\n"
        "from shakespeare_gen.training import callbacks\n"
        "def long(self, batch, logs=None):\n"
        "    print('in the step', file=sys.stderr, flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'a', b'b', 200_000_000)\n"
        "callbacks.CountSteps.on_train_batch_end = long\n"
        "command_line.run(train.main, *train.groups())\n"
    )
    process = start([sys.executable, "-c", code, *command(text_path, tmp_path / "run")[3:]])
    read_until(process, "in the step")
    process.send_signal(signal.SIGINT)
    read_until(process, "a second signal stops immediately")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    process.stderr.close()


@pytest.mark.slow
def test_thirty_kills_at_random_times_do_not_affect_the_result(text_path, tmp_path, whole_runs):
    """After each kill -9 the run can be loaded and resumed, and the final result is the same.

    Every fourth kill happens during startup, the others after the process has saved. With a
    constant learning rate the number of epochs does not affect the weights, so the killed
    processes train with many epochs, and the last one with few.
    """
    options = {"carry_state": True, "schedule": "constant", "sample_chars": 16}
    endless = {**options, "epochs": 100_000, "save_every_steps": 5}
    chance, folder, steps = random.Random(4), RunFolder(tmp_path / "run"), [0]
    for kill in range(30):
        before = store.names(folder.checkpoints)
        arguments = command(text_path, folder.path, **endless)
        process = start([*arguments, "--resume"] if before else arguments)
        if kill % 4 == 3:
            time.sleep(chance.uniform(0.5, 4.0))
        else:
            while store.names(folder.checkpoints) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        if folder.has_checkpoint():
            last = checkpoints.read(runs.open_run(folder.path), "last")
            steps.append(last.progress.step)
    assert steps == sorted(steps)
    assert len(set(steps)) > 20  # most kills happened after further progress
    epochs = checkpoints.read(runs.open_run(folder.path), "last").progress.epoch + 1
    assert_equal(resume(folder.path, epochs=epochs), whole_runs(**options, epochs=epochs))
    assert [n for n in os.listdir(folder.checkpoints) if n.startswith(".")] == []


@pytest.mark.slow
def test_a_kill_at_any_system_call_of_a_save_does_not_affect_the_result(
    text_path, tmp_path, whole_runs
):
    """kill -9 at each write, fsync, mkdir, rename and delete while a real checkpoint is saved, with
    the previous one in place; after each kill the run resumes with the same final result."""
    options = {"carry_state": False, "keep_checkpoints": 9}
    whole = whole_runs(**options)
    saved = whole.folder.checkpoints
    first, second, *_ = store.names(saved)
    base = RunFolder(shutil.copytree(whole.path, tmp_path / "base"))
    store.prune(base.checkpoints, {first})
    code = (
        "import pathlib, sys; from shakespeare_gen.runs import store\n"
        "source, folder = map(pathlib.Path, sys.argv[1:])\n"
        "names = ('weights.safetensors', 'training.safetensors', 'state.json')\n"
        "files = {name: (source / name).read_bytes() for name in names}\n"
        "store.save(folder, source.name, files)\n"
        "store.prune(folder, {source.name})\n"
    )

    def trace(folder, *flags):
        arguments = [sys.executable, "-B", "-c", code, saved / second, folder.checkpoints]
        return subprocess.run(
            ["strace", "-f", "-qq", *flags, *map(str, arguments)],
            cwd=REPOSITORY,
            capture_output=True,
            check=False,
        )

    if shutil.which("strace") is None or subprocess.run(["strace", "-qq", "true"]).returncode:
        pytest.skip("this machine lets nobody trace a process (strace)")
    counted = RunFolder(shutil.copytree(base.path, tmp_path / "counted"))
    calls = "write,fsync,mkdir,rename,renameat,renameat2,unlink,unlinkat,rmdir"
    traced = trace(counted, "-e", f"trace={calls}", "-o", str(tmp_path / "calls"))
    assert traced.returncode == 0, traced.stderr
    lines = (tmp_path / "calls").read_text().splitlines()
    found = [line.split("(")[0].split()[-1] for line in lines]
    assert {"write", "fsync", "mkdir"} <= set(found)
    assert len(found) > 20
    kills, newest = 0, []
    for i, call in enumerate(found):
        folder = RunFolder(shutil.copytree(base.path, tmp_path / f"{i}-{call}"))
        number = found[: i + 1].count(call)
        killed = trace(folder, "-e", f"inject={call}:signal=SIGKILL:when={number}")
        kills += killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        assert set(store.names(folder.checkpoints)) <= {first, second}
        last = checkpoints.read(runs.open_run(folder.path), "last")
        newest.append(last.place.name)
        assert_equal(resume(folder.path), whole)
        assert [n for n in os.listdir(folder.checkpoints) if n.startswith(".")] == []
    assert kills == len(found)
    # Before the rename, the previous checkpoint is the newest; after it, the new one.
    assert newest == sorted(newest)
    assert set(newest) == {first, second}


@pytest.mark.slow
def test_two_first_runs_prepare_the_same_dataset(tiny_shakespeare_path, tmp_path):
    manual_dir = tmp_path / "downloads" / "manual"
    manual_dir.mkdir(parents=True)
    shutil.copy(tiny_shakespeare_path, manual_dir / "input.txt")
    code = (
        "import sys; from shakespeare_gen.data import corpora;"
        "from shakespeare_gen.options.groups import CorpusOptions;"
        "print(corpora.load(CorpusOptions(data_dir=sys.argv[1])).sha256)"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=REPOSITORY
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1] != b""


@pytest.mark.slow
def test_an_interrupted_sweep_continues(text_path, tmp_path, monkeypatch, caplog, capsys):
    """Its runs equal runs that were trained one by one."""
    caplog.set_level("INFO", logger="absl")
    given = {**OPTIONS, "corpus": text_path, "run_dir": tmp_path / "x", "epochs": 1}
    del given["seed"]
    count, calls = callbacks.CountSteps.on_train_batch_end, []

    def counted(self, batch, logs=None):
        count(self, batch, logs)
        calls.append(1)
        if len(calls) == STEPS_PER_EPOCH + 5:  # in the second run
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(callbacks.CountSteps, "on_train_batch_end", counted)
    command = r"--resume --run_dir=.*x --seeds=1,2,3$"
    with pytest.raises(Interrupted, match=f"after step 5; resume with: .* {command}"):
        train_command.main(Options.parse(train_command.groups(), {**given, "seeds": "1,2,3"}))
    monkeypatch.undo()
    resumed = {"run_dir": tmp_path / "x", "resume": True, "seeds": [1, 2, 3]}
    train_command.main(Options.parse(train_command.groups(), resumed))
    assert "x-seed-1 is finished: skipping it" in caplog.text
    assert re.search(r"seeds +3\n", capsys.readouterr().out)
    every = shakespeare_gen.train_model(**resumed)
    assert [run.spec.options[TrainingOptions].seed for run in every] == [1, 2, 3]
    for run in every[1:]:
        alone = train(
            text_path, tmp_path / f"alone-{run.path.name}", epochs=1, seed=int(run.path.name[-1])
        )
        assert_equal(run, alone)


# Full and read-only disks


def in_small_file_system(script, tmp_path, size):
    """Runs a shell script in which $DISK is a tmpfs of `size`; skips if none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir(exist_ok=True)
    mount = f'mount -t tmpfs -o size={size} tmpfs "$DISK"'
    environment = {**os.environ, "DISK": str(disk), "PYTHON": sys.executable}
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*unshare, mount], env=environment, capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this machine lets nobody mount a tmpfs of her own (unshare, mount)")
    return subprocess.run(
        [*unshare, f"{mount}\n{script}"],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_a_full_disk_keeps_the_old_checkpoint(text_path, tmp_path):
    """The disk fills up during training: the epochs that fit are kept and can be loaded."""
    flags = " ".join(command(text_path, "$DISK/run", units=96, epochs=9, keep_checkpoints=9)[3:])
    done = in_small_file_system(
        f'"$PYTHON" -m shakespeare_gen.train {flags}; echo "exit code $?"\n'
        f'find "$DISK/run"; cp -r "$DISK/run" "{tmp_path}/copy"',
        tmp_path,
        "1800k",
    )
    assert "exit code 1" in done.stdout
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith("train: ")
    assert "No space left on device" in last_line
    assert last_line.endswith("earlier ones are not affected") or "checkpoint" not in last_line
    assert "Traceback" not in done.stderr
    assert ".partial" not in done.stdout
    checkpoint = checkpoints.read(runs.open_run(tmp_path / "copy"), "last")
    assert checkpoint.progress.epoch >= 1


@pytest.mark.slow
def test_a_read_only_disk_is_reported_on_one_line(text_path, tmp_path):
    flags = " ".join(command(text_path, "$DISK/run", epochs=1)[3:])
    done = in_small_file_system(
        f'"$PYTHON" -m shakespeare_gen.train {flags} || exit 9\n'
        'mount -o remount,ro "$DISK"\n'
        '"$PYTHON" -m shakespeare_gen.train --resume --run_dir="$DISK/run" --epochs=2\n'
        'echo "resume: exit code $?"\n'
        f'"$PYTHON" -m shakespeare_gen.train {flags} --run_dir="$DISK/other"\n'
        'echo "first: exit code $?"\n'
        f'cp -r "$DISK/run" "{tmp_path}/copy"',
        tmp_path,
        "8m",
    )
    assert "resume: exit code 1\n" in done.stdout
    assert "first: exit code 1\n" in done.stdout
    assert done.stderr.count("Read-only file system") == 2
    assert "Traceback" not in done.stderr
    assert checkpoints.read(runs.open_run(tmp_path / "copy"), "last").progress.epoch == 1


def test_a_file_that_grows_too_large_keeps_the_old_checkpoint(tmp_path):
    """The same with `ulimit -f`, which is available on every machine."""
    resource = pytest.importorskip("resource", reason="this machine has no ulimit")
    store.save(tmp_path, "step-00000001", {"a.json": b"old"})
    code = (
        "import pathlib, sys; from shakespeare_gen.runs import store\n"
        f"store.save(pathlib.Path({str(tmp_path)!r}), 'step-00000002', {{'a.json': b'x' * 9999}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
    )
    assert "UserError: " in done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert [p.name for p in pathlib.Path(tmp_path).iterdir()] == ["step-00000001"]
    assert store.find_damage(tmp_path / "step-00000001", {"a.json": 3}) is None
