"""Starts TensorFlow without its usual messages, and describes the hardware it runs on.

TensorFlow's C++ code writes to standard error before its log level is applied: several lines about
GPU libraries on a machine without a GPU. Those lines are dropped; all others are kept.
"""

import contextlib
import gc
import os
import pathlib
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from typing import TypeVar

from absl import logging

from shakespeare_gen.errors import UserError

_NOISE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog|To enable the following instructions"
    r"|I0000 |W0000 .*tf_tfl_flatbuffer_helpers"
    r"|.*(cuda_\w+\.cc|cudart_stub\.cc|computation_placer\.cc|cpu_feature_guard\.cc)"
)

# XLA compiles a loop whose data is smaller than this number of bytes into one function, instead of
# one function per operation. For a single stream of a small network this is 1.5 times faster; for
# many streams it disables the fast matrix products and is many times slower.
_SINGLE_STREAM_FLAG = "xla_cpu_small_while_loop_byte_threshold=2000000"

T = TypeVar("T")

_started_in: int | None = None  # the id of the process that started TensorFlow


def start(single_stream: bool = False, connect: Callable[[], T] | None = None) -> T | None:
    """Imports TensorFlow and initializes its devices, without the usual messages.

    Args:
      single_stream: optimize for a process that only generates one text at a time.
      connect: joins this process with others; called after the import, before TensorFlow looks for
        devices, which must not have been started.

    Returns:
      The result of `connect`.

    Raises:
      UserError: see `check_not_forked`.
    """
    global _started_in
    check_not_forked()
    if _started_in == os.getpid():
        return connect() if connect else None
    was_imported = _started_in is None and "tensorflow" in sys.modules
    if connect and os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "2":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # the loss of a process is an exception already
    _started_in = os.getpid()
    if single_stream:
        os.environ.setdefault("XLA_FLAGS", f"--xla_backend_extra_options={_SINGLE_STREAM_FLAG}")
    with filtered_stderr(), _hidden_package("matplotlib"), _paused_garbage_collection():
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            # A recurrent network is a chain of sequential operations: handing each one to another
            # thread takes a tenth of a training step with 256 units. Matrix products still use
            # every core.
            with contextlib.suppress(RuntimeError):  # too late: the caller has used TensorFlow
                tf.config.threading.set_inter_op_parallelism_threads(1)
        connected = connect() if connect else None
        tf.config.list_logical_devices()
        if was_imported or tf.__version__.startswith("2.20."):
            # XLA reports the first program and the first fusion: in TensorFlow 2.20 always, later
            # if TensorFlow read its log level before this package set it.
            tf.function(tf.nn.softmax, jit_compile=True, autograph=False)(tf.ones([4, 4]))
    return connected


def has_gpu() -> bool:
    """Whether there is a GPU that TensorFlow may use; does not import TensorFlow."""
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        with filtered_stderr() if _started_in is None else contextlib.nullcontext():
            return bool(tf.config.get_visible_devices("GPU"))
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return False
    return any(pathlib.Path("/dev").glob("nvidia[0-9]*"))


def check_not_forked() -> None:
    """Checks that this process was not forked after TensorFlow was started.

    TensorFlow's threads do not exist in a forked child, and its first operation there waits for
    them forever. The check costs less than a microsecond.

    Raises:
      UserError: `start` was called in a parent of this process.
    """
    if _started_in not in (None, os.getpid()):
        raise UserError(
            "expected the process that started TensorFlow, found a fork of it, in which TensorFlow "
            "waits forever; use the multiprocessing start method spawn, or load the model only in "
            "the child process"
        )


def hardware() -> dict:
    """The processor, threads and GPUs that TensorFlow uses, as JSON values."""
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(d).get("device_name", d.name)
        for d in tf.config.list_physical_devices("GPU")
    ]
    return {"processor": processor(), "threads": num_cores(), "gpus": gpus}


def num_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_precision(requested: str) -> str:
    """Resolves `auto` to `bfloat16` if the processor has bfloat16 products, else to `float32`.

    On a GPU `auto` is float32: the bfloat16 path of cuDNN has not been measured here.
    """
    has_products = has_bfloat16_products()
    if requested == "bfloat16" and not (has_products or has_gpu()):
        logging.warning(
            "precision=bfloat16: this processor has no bfloat16 products; emulating them in "
            "float32 takes two to three times as long as float32 products"
        )
    if requested != "auto":
        return requested
    return "bfloat16" if has_products and not has_gpu() else "float32"


def has_bfloat16_products() -> bool:
    """Whether the processor multiplies matrices in bfloat16; does not import TensorFlow."""
    return bool({"amx_bf16", "avx512_bf16"} & set(_cpu_info("flags").split()))


def processor() -> str:
    """The name of the processor; does not import TensorFlow."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


@contextlib.contextmanager
def _hidden_package(package: str):
    """Makes an installed package appear missing.

    Keras imports matplotlib if it is installed, which takes 0.5 s and 30 MB.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def _paused_garbage_collection():
    """Pauses the garbage collector and freezes the objects that are created meanwhile.

    Importing TensorFlow creates half a million permanent objects. Repeated collections take a
    quarter of the import time; frozen objects are not examined later either.
    """
    if not gc.isenabled() or "tensorflow" in sys.modules:
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def filtered_stderr():
    """A context that drops the usual messages of TensorFlow from standard error."""
    if sys.stderr is None:  # it is closed
        yield
        return
    _flush_stderr()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            _flush_stderr()
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            lines = caught.read().decode("utf-8", "replace").splitlines(keepends=True)
            with contextlib.suppress(OSError):
                sys.stderr.writelines(line for line in lines if not _NOISE.match(line))


def _flush_stderr() -> None:
    with contextlib.suppress(OSError):
        sys.stderr.flush()
