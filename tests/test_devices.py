"""TensorFlow startup, forked processes and signals."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from shakespeare_gen.errors import UserError
from shakespeare_gen.system import devices
from tests.conftest import REPOSITORY

PROGRAM = """
import gc, weakref
class Node: pass
node = Node(); node.itself = node
alive = weakref.ref(node)
del node
{before}
from shakespeare_gen.system import devices
devices.start()
print(gc.isenabled(), gc.get_freeze_count() > 100_000, alive() is None)
"""

# A fake `tensorflow` package that is imported instantly.
FAKE_TENSORFLOW = """
import os
__version__ = "2.21.0"
class config:
    class threading:
        set_inter_op_parallelism_threads = print
    list_physical_devices = lambda kind: []
    def list_logical_devices():
        try:
            os.write(2, {errors!r})
        except OSError:
            pass
"""


def run(program, **options):
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        **options,
    )


@pytest.fixture
def started(monkeypatch):
    """Marks TensorFlow as started in this process."""
    monkeypatch.setattr(devices, "_started_in", os.getpid())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "printed"), [("", "True True True"), ("gc.disable()", "False False False")]
)
def test_garbage_collection_continues_after_the_import(before, printed):
    """It is paused meanwhile: earlier garbage is collected, and a disabled collector stays off."""
    done = run(PROGRAM.format(before=before))
    assert done.stdout.split("\n")[0] == printed, done.stderr


@pytest.mark.parametrize(
    ("processor", "chosen"), [("sse avx2", "float32"), ("avx2 avx512_bf16", "bfloat16")]
)
def test_auto_is_bfloat16_if_the_processor_has_bfloat16_products(processor, chosen, monkeypatch):
    warnings = []
    monkeypatch.setattr(devices, "_cpu_info", lambda key: processor)
    monkeypatch.setattr(devices.logging, "warning", warnings.append)
    assert devices.choose_precision("auto") == chosen
    assert devices.choose_precision("float32") == "float32"
    assert not warnings
    assert devices.choose_precision("bfloat16") == "bfloat16"
    assert bool(warnings) == (chosen == "float32")


@pytest.mark.parametrize("redirect", ["", "2>&-", "2> /dev/full"])
def test_known_messages_of_tensorflow_are_dropped_and_others_are_kept(redirect, tmp_path):
    """A closed or failing standard error must not prevent the start."""
    errors = b"I0000 00:00 known line\nunknown line\n"
    (tmp_path / "tensorflow.py").write_text(FAKE_TENSORFLOW.format(errors=errors), "utf-8")
    program = "from shakespeare_gen.system import devices; devices.start(); print('started')"
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirect}', "bash", sys.executable, "-c", program],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
        text=True,
    )
    assert done.stdout == "1\nstarted\n"
    assert done.stderr == ("" if redirect else "unknown line\n")


def test_a_forked_child_is_rejected(started):
    """Generating in a child once waited forever: TensorFlow's threads do not exist there."""
    devices.check_not_forked()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def check():
        for rejected in (devices.check_not_forked, devices.start):
            try:
                rejected()
            except UserError as error:
                queue.put(str(error))

    child = context.Process(target=check)
    child.start()
    messages = [queue.get(), queue.get()]
    child.join()
    assert messages[0] == messages[1]
    assert messages[0].startswith("expected the process that started TensorFlow, found a fork")


def test_a_child_may_start_tensorflow_itself(monkeypatch):
    """A fork before TensorFlow is started is safe."""
    monkeypatch.setattr(devices, "_started_in", None)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=devices.check_not_forked)
    child.start()
    child.join()
    assert child.exitcode == 0


SIGNALLED = """
import os, signal, sys, time
from shakespeare_gen.errors import Interrupted
from shakespeare_gen.system.signals import SAVING, Interruption
try:
    with Interruption(SAVING) as interruption, interruption.deferred():
        for number in {numbers}:
            os.kill(os.getpid(), number)
            time.sleep(0.2)
        print("finished", flush=True)
        interruption.check()
        print("not reached")
except Interrupted as stop:
    sys.exit(stop.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deferred_signal_waits_for_the_next_check(number):
    done = run(SIGNALLED.format(numbers=[int(number)]), cwd=REPOSITORY)
    assert done.stdout == "finished\n"
    assert "a second signal stops immediately" in done.stderr
    assert done.returncode == 128 + number


@pytest.mark.parametrize("redirect", ["", "2>&-", "2> /dev/full"])
def test_a_second_signal_ends_the_process_immediately(redirect):
    """The watching thread once ended when its notice could not be written."""
    program = SIGNALLED.format(numbers=[int(signal.SIGINT)] * 2)
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirect}', "bash", sys.executable, "-c", program],
        capture_output=True,
        check=False,
        cwd=REPOSITORY,
        text=True,
    )
    assert (done.returncode, done.stdout) == (130, "")
