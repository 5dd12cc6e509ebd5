"""Where the log goes, and messages of other packages that are hidden."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.fake_runs import write_run

# A stand-in for the kernel of a notebook.
NOTEBOOK = """
import sys, types
ipython = types.ModuleType("IPython")
ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
sys.modules["IPython"] = ipython
"""

LOAD = """
import shakespeare_gen
for _ in range(2):
    shakespeare_gen.load_generator({path!r}, engine="numpy")
"""

IMPATIENT = """
import logging, threading
logging.basicConfig(level="INFO")
timer = threading.Timer
threading.Timer = lambda seconds, *rest: timer(0, *rest)
from shakespeare_gen.report import curves
curves.of_run("run", [{"epoch": 1, "step": 1, "loss": 1.0}], [])
"""

STARTED_BY_THIS_PACKAGE = """
from shakespeare_gen.system import devices
devices.start()
import tensorflow as tf
print(tf.function(tf.nn.softmax, jit_compile=True)(tf.ones([4, 4])).shape)
"""

STARTED_BY_THE_USER = """
import sys
import tensorflow as tf
import shakespeare_gen
from shakespeare_gen.system import devices
print("started", file=sys.stderr)
devices.has_gpu()
devices.start()
print(tf.function(tf.nn.softmax, jit_compile=True)(tf.ones([4, 4])).shape)
"""


def run(program, **environment):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        env=environment,
        text=True,
        timeout=120,
    )


def test_a_notebook_shows_the_log_on_standard_output(tmp_path):
    """On standard error it would be red, and lines of information would be missing."""
    path = str(write_run(tmp_path / "run").path)
    done = run(NOTEBOOK + LOAD.format(path=path))
    line = f"{path}: step-00000007-epoch-0001; best validation loss "
    assert done.stdout.count(line) == len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_a_program_is_not_told_what_it_did_not_ask_for(tmp_path):
    path = str(write_run(tmp_path / "run").path)
    done = run(LOAD.format(path=path))
    assert (done.stdout, done.stderr) == ("", "")


def test_matplotlib_does_not_report_its_font_cache(tmp_path):
    """It logs two lines when it is imported for the first time."""
    done = run(IMPATIENT, MPLCONFIGDIR=str(tmp_path))
    assert done.stderr == ""


@pytest.mark.slow
def test_tensorflow_is_quiet():
    """In version 2.20, XLA reported its first program in red, in the middle of a notebook."""
    done = run(STARTED_BY_THIS_PACKAGE)
    assert (done.stdout, done.stderr) == ("(4, 4)\n", "")


@pytest.mark.slow
def test_tensorflow_is_quiet_even_if_the_user_imported_it_before():
    """XLA reported its first program, and a machine without a GPU its missing driver."""
    done = run(STARTED_BY_THE_USER)
    assert done.stdout == "(4, 4)\n"
    assert done.stderr.endswith("started\n")
