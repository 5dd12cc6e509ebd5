"""Several workers train one model: meeting, equal results, and what happens when one is lost."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import safetensors.numpy

import shakespeare_gen
from shakespeare_gen import train
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import WorkerOptions
from shakespeare_gen.runs import checkpoints, open_run
from shakespeare_gen.training.workers import cluster, joining, meeting
from shakespeare_gen.training.workers.cluster import Cluster
from tests.conftest import REPOSITORY

# 1,890 training characters in windows of 16, 8 per batch: 14 steps per epoch. Clipping bites.
OPTIONS = {
    "units": 8,
    "embedding_size": 4,
    "window_chars": 16,
    "batch_size": 8,
    "learning_rate": 0.02,
    "warmup_steps": 5,
    "clip_norm": 0.05,
    "weight_decay": 0.1,
    "precision": "float32",
    "sample_chars": 30,
    "epochs": 2,
    "seed": 2,
}
STEPS_PER_EPOCH = 14
MAX_SECONDS_TO_END = 30
PATIENCE_SECONDS = 240  # for processes on a busy machine

# Ends training with a signal during a step.
SIGNAL_AT_STEP = """
import os, signal
from shakespeare_gen.training import callbacks
count = callbacks.CountSteps.on_train_batch_end
def counted(self, batch, logs=None):
    count(self, batch, logs)
    if self.progress.step == {step}:
        os.kill(os.getpid(), signal.SIGTERM)
callbacks.CountSteps.on_train_batch_end = counted
"""
# Writes the weights after training.
DUMP = """
import numpy as np
from shakespeare_gen.training import fit
train = fit.train
def trained(run, model, *rest):
    train(run, model, *rest)
    weights = model.language_model.weights
    np.savez({path!r}, **{{name: np.asarray(weight) for name, weight in weights.items()}})
fit.train = trained
"""
THREE_DEVICES = """
import tensorflow as tf
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
"""
FULL_DISK = """
from shakespeare_gen import errors
from shakespeare_gen.runs import checkpoints
def save(*arguments):
    raise errors.UserError("the disk is full")
checkpoints.save = save
"""


@pytest.fixture(scope="module")
def text_path(small_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text(small_text[:2100], encoding="utf-8")
    return str(path)


def free_addresses(number):
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)


class Worker:
    """A process of `train`, and what it has written to standard error."""

    def __init__(self, arguments, patch="", before=(), environment=None):
        code = f"{patch}\nimport sys\nfrom shakespeare_gen.__main__ import main\nmain(sys.argv[1:])"
        self.process = subprocess.Popen(
            [*before, sys.executable, "-c", code, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(text in line for line in self.lines):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.1)

    def end(self, seconds=PATIENCE_SECONDS):
        """The exit code, and the last line of the command itself."""
        code = self.process.wait(timeout=seconds)
        self._reader.join()
        return code, next((x for x in reversed(self.lines) if x.startswith("train: ")), "")


@pytest.fixture
def start():
    """Starts workers, and kills them at the end of the test."""
    started = []

    def start_worker(*arguments, **keywords):
        started.append(Worker(*arguments, **keywords))
        return started[-1]

    yield start_worker
    for worker in started:
        worker.process.kill()
        worker.process.wait()


def flags_of(options):
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.fixture
def start_all(start, text_path):
    """Starts all workers of a run, with a patch for each."""

    def start_workers(num_workers, run_dir, patches=None, resume=False, **options):
        addresses = free_addresses(num_workers)
        if resume:
            given = ["--resume", *flags_of({"run_dir": run_dir, **options})]
        else:
            given = flags_of({**OPTIONS, "corpus": text_path, "run_dir": run_dir, **options})
        given += [f"--workers={','.join(addresses)}", "--worker_wait_seconds=120"]
        return [
            start(["train", *given, f"--worker_index={i}"], patch=(patches or {}).get(i, ""))
            for i in range(num_workers)
        ]

    return start_workers


def end_all(workers):
    codes = [worker.end()[0] for worker in workers]
    assert codes == [0] * len(workers), [worker.lines for worker in workers]


def train_alone(text_path, run_dir, **options):
    options = {**OPTIONS, "corpus": text_path, "run_dir": str(run_dir), **options}
    return shakespeare_gen.train_model(**options)


def last_files(run_dir):
    place = checkpoints.read(open_run(run_dir), "last").place
    return {path.name: path.read_bytes() for path in place.iterdir()}


def assert_close(run_dir, other_dir, atol=2e-6):
    """Equal steps, weights and training state, within rounding."""
    one, other = (checkpoints.read(open_run(path), "last") for path in (run_dir, other_dir))
    assert one.place.name == other.place.name
    for name, weight in one.weights.items():
        np.testing.assert_allclose(other.weights[name], weight, atol=atol, rtol=0, err_msg=name)
    states = [safetensors.numpy.load_file(c.place / "training.safetensors") for c in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        np.testing.assert_allclose(
            states[1][name].astype(float), value.astype(float), atol=2e-5, err_msg=name
        )


# The addresses


def found(environment=None, **options):
    return cluster.find(WorkerOptions(**options), environment or {})


def tf_config(task_type="worker", index=0, **jobs):
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": task_type, "index": index}})}


def test_a_process_without_workers_is_alone():
    assert found() is None
    assert found(tf_config(worker=["a:1"])) is None


def test_workers_are_named_by_flags_or_by_the_environment():
    two = found(workers="a:1,b:2", worker_index=1)
    assert (two.addresses, two.index, two.is_chief) == (("a:1", "b:2"), 1, False)
    assert found(tf_config(index=1, worker=["a:1", "b:2"])) == two
    assert found(tf_config(chief=["a:1"], worker=["b:2"])) == two
    assert found(tf_config("chief", worker=["b:2"], chief=["a:1"])).is_chief
    assert found(workers="[::1]:9,b:2", worker_index=0).addresses == ("[::1]:9", "b:2")


def test_the_environment_of_a_local_worker_round_trips():
    two = Cluster(("127.0.0.1:1", "127.0.0.1:2"), 1, is_local=True)
    assert found({"TF_CONFIG": cluster.to_json(two)}, num_local_workers=2) == two


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": "a:1,b"}, "workers: expected addresses host:port, received 'b'"),
        ({"workers": "a:1,b:70000"}, "workers: expected addresses host:port, received 'b:70000'"),
        ({"workers": "a:1,a:1"}, "workers: expected different addresses, received a:1,a:1"),
        ({"workers": "a:1,b:2", "worker_index": 2}, "worker_index: expected an index below"),
    ],
)
def test_invalid_addresses_are_rejected(options, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        found(**{"worker_index": 0, **options})


@pytest.mark.parametrize(
    "value",
    ["", "[]", "{}", '{"cluster": {"worker": "a:1"}}', '{"cluster": {"worker": 3}, "task": 2}'],
)
def test_an_invalid_environment_is_rejected(value):
    with pytest.raises(UsageError, match="^TF_CONFIG: expected JSON such as"):
        found({"TF_CONFIG": value})


def test_other_jobs_and_positions_in_the_environment_are_rejected():
    with pytest.raises(UsageError, match="expected the jobs chief, master, worker, received 'ps'"):
        found(tf_config(worker=["a:1"], ps=["b:2"]))
    with pytest.raises(UsageError, match="TF_CONFIG: expected an index below the number"):
        found(tf_config(index=2, worker=["a:1", "b:2"]))
    with pytest.raises(UsageError, match="expected a task of type worker, received 'evaluator'"):
        found(tf_config("evaluator", worker=["a:1", "b:2"]))


def test_one_way_of_naming_workers_is_expected():
    with pytest.raises(UsageError, match="`workers` and `worker_index`: expected both or neither"):
        WorkerOptions(workers="a:1,b:2")
    with pytest.raises(UsageError, match="`workers` and `num_local_workers`"):
        WorkerOptions(workers="a:1,b:2", worker_index=0, num_local_workers=2)
    with pytest.raises(UsageError, match="num_local_workers: expected 1 with TF_CONFIG"):
        found(tf_config(worker=["a:1", "b:2"]), num_local_workers=2)


# The meeting


def in_threads(num_workers, function, addresses=None):
    """The result or the error of `function(cluster)` for each worker."""
    addresses = addresses or free_addresses(num_workers)
    results = [None] * num_workers

    def call(index):
        try:
            results[index] = function(Cluster(addresses, index))
        except UserError as error:
            results[index] = str(error)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_all_workers_receive_what_each_of_them_says():
    def meet(own):
        with meeting.meet(own, 20) as everybody:
            return everybody.exchange({"index": own.index}), everybody.exchange("again")

    said = [{"index": i} for i in range(3)]
    assert in_threads(3, meet) == [(said, ["again"] * 3)] * 3


def test_a_missing_worker_is_named_by_those_that_are_here():
    addresses = free_addresses(3)

    def meet(own):
        if own.index == 2:
            return ""
        with meeting.meet(own, 1) as everybody:
            return everybody.exchange({})

    message = f"worker 2 ({addresses[2]}) did not arrive within 1 s"
    chief, other, _ = in_threads(3, meet, addresses)
    assert chief == f"{message}; `worker_wait_seconds` sets how long to wait"
    assert other == message


def test_a_missing_chief_is_named():
    own = Cluster(free_addresses(2), 1)
    message = rf"worker 0 \({own.addresses[0]}\) did not answer within 0.5 s: Connection refused"
    with pytest.raises(UserError, match=message), meeting.meet(own, 0.5):
        pass


def test_a_worker_that_leaves_the_meeting_is_named():
    def meet(own):
        with meeting.meet(own, 20) as everybody:
            return None if own.index == 1 else everybody.exchange({})

    addresses = free_addresses(3)
    message = f"worker 1 ({addresses[1]}) has ended or cannot be reached; its log says why"
    assert in_threads(3, meet, addresses) == [message, None, message]


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        own = Cluster((f"127.0.0.1:{port}", "127.0.0.1:1"), 0)
        with (
            pytest.raises(UserError, match=f"cannot listen on port {port}: Address already in use"),
            meeting.meet(own, 1),
        ):
            pass


def test_strangers_and_wrong_lists_do_not_join():
    addresses = free_addresses(2)

    def meet(own):
        if own.is_chief:
            with meeting.meet(own, 3) as everybody:
                return everybody.exchange("here")
        place = cluster.split(own.addresses[0])
        for message in (b"GET / HTTP/1.1\r\n\r\n", b'{"index": 9}\n', b'{"index": "1"}\n'):
            with contextlib.suppress(OSError), connected(place) as stranger:
                stranger.sendall(message)
                assert not stranger.recv(100)
        wrong = Cluster((own.addresses[0], "127.0.0.1:9", "127.0.0.1:8"), 1)
        with pytest.raises(UserError, match="^workers: expected .*, as on the chief, received "):
            talk(wrong)
        return talk(own)

    def talk(own):
        with meeting.meet(own, 3) as everybody:
            return everybody.exchange("here")

    assert in_threads(2, meet, addresses) == [["here", "here"]] * 2


def connected(place):
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(place, timeout=10)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def prepared_by(text_path, tmp_path):
    """What each of two workers prepares, or its error, with options that differ in some."""

    def prepare(of_chief=None, of_worker=None, of_both=None):
        run_dir = tmp_path / "run"

        def join(own):
            values = {**OPTIONS, "corpus": text_path, "run_dir": str(run_dir), **(of_both or {})}
            values |= (of_chief if own.is_chief else of_worker) or {}
            options = Options.parse(train.groups(), values)
            with joining.meet(own, options) as room, joining.prepared(room, options) as found:
                return found

        return in_threads(2, join)

    return prepare


def test_workers_prepare_the_same_run_and_the_chief_alone_has_its_folder(prepared_by, tmp_path):
    chief, worker = prepared_by(of_worker={"run_dir": "elsewhere"})
    assert chief.folder.path == tmp_path / "run"
    assert worker.options == chief.options
    assert worker.data.tokenizer == chief.data.tokenizer
    assert worker.data.plan == chief.data.plan
    np.testing.assert_array_equal(worker.data.train.ids, chief.data.train.ids)
    assert not pathlib.Path("elsewhere").exists()


def test_different_options_are_named(prepared_by):
    chief, worker = prepared_by(of_worker={"batch_size": 4})
    assert chief == worker
    assert chief.startswith("batch_size: expected the value of worker 0 (127.0.0.1:")
    assert ", 8, received 4 on worker 1 (127.0.0.1:" in chief


def test_different_versions_are_named(prepared_by, monkeypatch):
    version = joining._versions()["tensorflow"]
    versions = iter([{"tensorflow": version}, {"tensorflow": "2.0.0"}])
    monkeypatch.setattr(joining, "_versions", lambda: next(versions))
    chief, worker = prepared_by()
    assert chief == worker
    assert chief.startswith("tensorflow: expected the version of worker 0")


def test_different_texts_are_named(prepared_by, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("Another text, of another length.\n" * 80)
    chief, worker = prepared_by(of_worker={"corpus": str(other)})
    assert worker.startswith(f"corpus={other}: expected the text that the run was trained on")
    assert chief.startswith("worker 1 (127.0.0.1:")
    assert chief.endswith(worker)


def test_an_error_of_the_chief_ends_all(prepared_by):
    chief, worker = prepared_by(of_both={"batch_size": 1})
    assert chief.startswith("batch_size: expected at least 2, one window for each worker, received")
    assert worker.startswith("worker 0 (127.0.0.1:")
    assert worker.endswith(chief)
    chief, _ = prepared_by(of_both={"model": "ngram"})
    assert chief.startswith("model: expected a network for several workers, received ngram")


def test_seeds_and_texts_in_memory_are_not_shared(text_path, tmp_path):
    options = {**OPTIONS, "run_dir": str(tmp_path / "x"), "num_local_workers": 2}
    with pytest.raises(UsageError, match="`seeds` and several workers: expected one of them"):
        shakespeare_gen.train_model(corpus=text_path, seeds=[0, 1], **options)
    with pytest.raises(UsageError, match="num_local_workers: expected 1 with `text`"):
        shakespeare_gen.train_model(text="some text" * 100, **options)


# Training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_workers", "options"),
    [
        (2, {"carry_state": True, "weight_dropout": 0.3}),
        (3, {"carry_state": False, "save_every_steps": 5, "cell": "gru"}),
    ],
)
def test_workers_train_as_one_does_and_are_equal_to_the_bit(
    start_all, text_path, tmp_path, num_workers, options
):
    """Three workers have 2, 3 and 3 windows of a batch."""
    train_alone(text_path, tmp_path / "alone", **options)
    patches = {i: DUMP.format(path=str(tmp_path / f"{i}.npz")) for i in range(num_workers)}
    end_all(start_all(num_workers, tmp_path / "run", patches, **options))
    assert_close(tmp_path / "alone", tmp_path / "run")
    alone, together = (open_run(tmp_path / name) for name in ("alone", "run"))
    assert together.folder.card()["model"]["workers"] == str(num_workers)
    assert together.losses == pytest.approx(alone.losses, abs=1e-6)
    for row, expected in zip(together.metrics(), alone.metrics(), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], abs=1e-6)
        assert row["validation_loss"] == pytest.approx(expected["validation_loss"], abs=1e-6)
    assert together.folder.samples() == alone.folder.samples()
    weights = [np.load(tmp_path / f"{i}.npz") for i in range(num_workers)]
    for name in weights[0].files:
        for other in weights[1:]:
            assert other[name].tobytes() == weights[0][name].tobytes(), name


@pytest.mark.slow
def test_a_signal_to_one_worker_stops_all_and_they_resume_bit_exactly(
    start_all, text_path, tmp_path
):
    """Within an epoch, with dropout and carried states."""
    options = {"carry_state": True, "dropout": 0.3}
    end_all(start_all(2, tmp_path / "whole", **options))
    patches = {1: SIGNAL_AT_STEP.format(step=17)}
    workers = start_all(2, tmp_path / "run", patches, **options)
    command = "resume on every worker with: python -m shakespeare_gen.train --resume --run_dir="
    for index, worker in enumerate(workers):
        code, line = worker.end()
        assert code == 143
        assert f"interrupted and saved after step 18; {command}" in line
        assert line.endswith(f" --worker_index={index}")
    end_all(start_all(2, tmp_path / "run", resume=True))
    assert last_files(tmp_path / "run") == last_files(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_of_two_workers_resumes_with_another_number(start_all, text_path, tmp_path):
    options = {"carry_state": True, "schedule": "constant"}
    train_alone(text_path, tmp_path / "alone", **options)
    patches = {0: SIGNAL_AT_STEP.format(step=17)}
    for worker in start_all(2, tmp_path / "run", patches, **options):
        assert worker.end()[0] == 143
    shutil.copytree(tmp_path / "run", tmp_path / "three")
    shakespeare_gen.train_model(run_dir=tmp_path / "run", resume=True)
    assert_close(tmp_path / "alone", tmp_path / "run")
    end_all(start_all(3, tmp_path / "three", resume=True))
    assert_close(tmp_path / "alone", tmp_path / "three")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "lost"), [(signal.SIGKILL, 1), (signal.SIGKILL, 0), (signal.SIGSTOP, 1)]
)
def test_a_lost_worker_ends_the_others_in_one_line(start_all, tmp_path, number, lost):
    workers = start_all(2, tmp_path / "run", epochs=100_000, sample_every_epochs=0)
    workers[0].wait_for("epoch 2/")
    workers[lost].process.send_signal(number)
    code, line = workers[1 - lost].end(MAX_SECONDS_TO_END)
    assert code == 1
    assert line.startswith(f"train: worker {lost} (127.0.0.1:")
    assert "was lost: it has ended, was stopped, or cannot be reached; resume on every" in line
    assert line.endswith(f"--worker_index={1 - lost}")
    assert not any("Traceback" in line for line in workers[1 - lost].lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "patches", "code", "message"),
    [
        ({"learning_rate": 1e30, "clip_norm": 0}, {}, 3, "became"),
        ({}, {0: FULL_DISK}, 1, "the disk is full"),
    ],
)
def test_errors_end_all_workers_alike(start_all, tmp_path, options, patches, code, message):
    for worker in start_all(2, tmp_path / "run", patches, **options):
        received, line = worker.end()
        assert received == code
        assert message in line


@pytest.mark.slow
def test_a_dataset_of_tfds_is_read_by_all_workers(start_all, tfds_data_dir, tmp_path):
    """It is read with TensorFlow, which must have joined the workers before."""
    options = {"corpus": "tiny_shakespeare", "data_dir": tfds_data_dir, "steps_per_epoch": 3}
    end_all(start_all(2, tmp_path / "run", epochs=1, **options))
    assert open_run(tmp_path / "run").metrics()[0]["step"] == 3


@pytest.mark.slow
def test_local_workers_are_one_command(start, text_path, tmp_path):
    options = {**OPTIONS, "epochs": 100_000, "sample_every_epochs": 0, "num_local_workers": 2}
    given = flags_of({**options, "corpus": text_path, "run_dir": tmp_path / "run"})
    worker = start(["train", *given])
    worker.wait_for("epoch 2/")
    worker.process.send_signal(signal.SIGTERM)
    code, _ = worker.end()
    assert code == 143
    [line] = [line for line in worker.lines if line.startswith("train: interrupted and saved")]
    assert line.endswith(f"--resume --run_dir={tmp_path / 'run'} --num_local_workers=2")
    epochs = len(open_run(tmp_path / "run").metrics()) + 1
    run = shakespeare_gen.train_model(
        run_dir=tmp_path / "run", resume=True, epochs=epochs, num_local_workers=2
    )
    assert len(run.metrics()) == epochs
    assert run.folder.card()["status"] == "finished"


@pytest.mark.slow
def test_logical_devices_train_as_one_does_and_resume(start, text_path, tmp_path):
    """Three devices have 2, 3 and 3 windows of a batch."""
    options = {**OPTIONS, "carry_state": True, "weight_dropout": 0.3, "schedule": "constant"}
    train_alone(text_path, tmp_path / "alone", **options)
    given = flags_of({**options, "epochs": 1, "corpus": text_path, "run_dir": tmp_path / "run"})
    code, line = start(["train", "--devices=all", *given], patch=THREE_DEVICES).end()
    assert code == 0, line
    assert open_run(tmp_path / "run").folder.card()["model"]["devices"] == "3"
    resumed = ["--resume", f"--run_dir={tmp_path / 'run'}", "--epochs=2", "--devices=all"]
    code, line = start(["train", *resumed], patch=THREE_DEVICES).end()
    assert code == 0, line
    assert_close(tmp_path / "alone", tmp_path / "run")


@pytest.mark.slow
def test_an_evaluation_by_two_workers_has_the_same_digits(start, abab_run, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join("ab" if i % 7 else "ba" for i in range(2500)))
    flags = {"run_dir": abab_run.path, "text_path": text, "protocol": "windows"}
    found = []
    for num_workers in (1, 2):
        output_dir = tmp_path / str(num_workers)
        given = flags_of({**flags, "output_dir": output_dir, "num_local_workers": num_workers})
        worker = start(["evaluate", "--nobaselines", *given])
        assert worker.end()[0] == 0, worker.lines
        figures = json.loads((output_dir / "evaluation.json").read_text("utf-8"))
        found.append([row["splits"]["text"] for row in figures["scores"]])
    for one, two in zip(*found, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            assert two[name] == pytest.approx(one[name], abs=1e-6), name


# Machines


@pytest.fixture
def two_networks():
    """Two network namespaces, joined by a cable: their names, and the name of its end in each."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and the command ip")
    names = [f"sg{os.getpid()}{side}" for side in "ab"]
    commands = [
        *(f"ip netns add {name}" for name in names),
        f"ip link add {names[0]} type veth peer name {names[1]}",
        *(f"ip link set {name} netns {name}" for name in names),
        *(f"ip -n {name} addr add 10.77.0.{i + 1}/24 dev {name}" for i, name in enumerate(names)),
        *(f"ip -n {name} link set {device} up" for name in names for device in ("lo", name)),
    ]
    try:
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"network namespaces are not allowed here: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow
def test_a_link_that_is_dropped_ends_both_machines_in_one_line(
    start, two_networks, text_path, tmp_path
):
    addresses = [f"10.77.0.{i + 1}:9000" for i in range(2)]
    options = {**OPTIONS, "epochs": 100_000, "sample_every_epochs": 0, "corpus": text_path}
    given = flags_of({**options, "workers": ",".join(addresses), "worker_wait_seconds": 120})
    workers = [
        start(
            ["train", *given, f"--worker_index={i}", f"--run_dir={tmp_path / str(i)}"],
            before=["ip", "netns", "exec", name],
        )
        for i, name in enumerate(two_networks)
    ]
    workers[0].wait_for("epoch 2/")
    cut = ["ip", "-n", two_networks[1], "link", "set", two_networks[1], "down"]
    subprocess.run(cut, check=True)
    cut_at = time.monotonic()
    for index, worker in enumerate(workers):
        code, line = worker.end(MAX_SECONDS_TO_END)
        other = 1 - index
        assert code == 1
        assert line.startswith(f"train: worker {other} ({addresses[other]}) was lost: ")
        assert "resume on every worker with: python -m shakespeare_gen.train --resume" in line
    assert time.monotonic() - cut_at < MAX_SECONDS_TO_END
    assert not (tmp_path / "1").exists()


# The scripts of docs/scale.md


def code_blocks(language):
    text = (REPOSITORY / "docs" / "scale.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def command_of(script, folder, **environment):
    """The options with which a script calls `python`, and the workers among them."""
    folder.mkdir(exist_ok=True)
    tools = {
        "python": 'printf "%s\\n" "$@" > "$RECORD"',
        "srun": 'exec "$@"',
        "scontrol": "printf 'node1\\nnode2\\n'",
    }
    for name, code in tools.items():
        (folder / name).write_text(f"#!/bin/bash\n{code}\n")
        (folder / name).chmod(0o755)
    record = folder / "record"
    path = f"{folder}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "RECORD": str(record), **environment}
    subprocess.run(["bash", "-c", script], env=environment, cwd=folder, check=True)
    module, command, *flags = record.read_text("utf-8").splitlines()
    assert (module, command) == ("-m", "shakespeare_gen.train")
    switches = {flag.removeprefix("--"): "true" for flag in flags if "=" not in flag}
    given = switches | dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)
    del given["flagfile"]
    kinds = {"worker_index": int, "worker_wait_seconds": float, "resume": bool}
    values = {name: kinds.get(name, str)(value) for name, value in given.items()}
    options = Options.parse(train.groups(), values)
    return values, cluster.find(options[WorkerOptions], {})


def test_the_script_for_slurm_names_the_workers(tmp_path):
    [script] = code_blocks("bash")
    for index in range(2):
        values, own = command_of(
            script, tmp_path, SLURM_JOB_NODELIST="node[1-2]", SLURM_PROCID=str(index)
        )
        assert own == Cluster(("node1:9000", "node2:9000"), index)
        assert "resume" not in values
    (tmp_path / "runs" / "together" / "checkpoints").mkdir(parents=True)
    values, _ = command_of(script, tmp_path, SLURM_JOB_NODELIST="node[1-2]", SLURM_PROCID="0")
    assert values["resume"]


@pytest.fixture
def service_and_job():
    """The resources of the page."""
    yaml = pytest.importorskip("yaml")
    [text] = code_blocks("yaml")
    return list(yaml.safe_load_all(text))


def test_the_resources_for_kubernetes_match_its_schema(service_and_job):
    """The package is not part of the extra `test`, because it has 108 MB."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for resource in service_and_job:
        version = kubernetes_validate.latest_version()
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_job_for_kubernetes_names_the_workers(service_and_job, tmp_path):
    service, job = service_and_job
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    [container] = pod["containers"]
    shell, option, script = container["command"]
    assert (shell, option) == ("bash", "-c")
    # The names of the pods of an indexed Job, in the domain of the service.
    names = [
        f"{job['metadata']['name']}-{i}.{pod['subdomain']}" for i in range(spec["completions"])
    ]
    for index in range(spec["completions"]):
        _, own = command_of(script, tmp_path, JOB_COMPLETION_INDEX=str(index))
        assert own == Cluster(tuple(f"{name}:9000" for name in names), index)
