"""Starts TensorFlow quietly and says what it runs on.

TensorFlow's C++ side writes to standard error before its own log level is
set, several lines about GPU libraries on a machine that has no GPU. Those
lines are dropped; everything else it says is passed on.
"""

import contextlib
import gc
import os
import pathlib
import platform
import re
import sys
import tempfile

from absl import logging

_NOISE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog|To enable the following instructions"
    r"|I0000 |.*(cuda_\w+\.cc|cudart_stub\.cc|computation_placer\.cc|cpu_feature_guard\.cc)"
)


# Below so many bytes XLA compiles a loop into one function, instead of calling one for each
# operation. For a single stream of a small network that is half as fast again; with many streams
# it loses the fast matrix products and is many times slower.
_SINGLE_STREAM_FLAG = "xla_cpu_small_while_loop_byte_threshold=2000000"


def start(single_stream: bool = False) -> None:
    """Imports TensorFlow and finds its devices, without the usual noise.

    Args:
      single_stream: this process will generate one text at a time, and nothing else.
    """
    if single_stream:
        os.environ.setdefault("XLA_FLAGS", f"--xla_backend_extra_options={_SINGLE_STREAM_FLAG}")
    without = _left_out("matplotlib") if single_stream else contextlib.nullcontext()
    with _filtered_stderr(), without, _no_garbage():
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            # A recurrent network is one long chain: handing each operation to another thread
            # costs a tenth of a training step of 256 units. Products still use every core.
            with contextlib.suppress(RuntimeError):  # too late: the caller has used TensorFlow
                tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.list_logical_devices()


def hardware() -> dict:
    """Processor, threads and GPUs that TensorFlow uses, as JSON values."""
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(d).get("device_name", d.name)
        for d in tf.config.list_physical_devices("GPU")
    ]
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "threads": threads, "gpus": gpus}


def choose_precision(requested: str) -> str:
    """`float32` or `bfloat16`; `auto` takes bfloat16 where the processor multiplies in it.

    On a GPU `auto` stays with float32: cuDNN's bfloat16 path has not been measured here.
    """
    import tensorflow as tf

    fast = {"amx_bf16", "avx512_bf16"} & set(_cpu_info("flags").split())
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if requested == "bfloat16" and not (fast or has_gpu):
        logging.warning(
            "--precision=bfloat16: this processor has no bfloat16 products; made from float32 "
            "ones, they take two to three times as long as those."
        )
    if requested != "auto":
        return requested
    return "bfloat16" if fast and not has_gpu else "float32"


def _processor() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


@contextlib.contextmanager
def _left_out(package: str):
    """Keras imports matplotlib where it is installed: half a second before the first character."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def _no_garbage():
    """Importing TensorFlow makes half a million objects that all stay.

    Looking among them for garbage, again and again, is a quarter of the import; frozen, they
    aren't looked at later either.
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
def _filtered_stderr():
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            for line in caught.read().decode("utf-8", "replace").splitlines():
                if not _NOISE.match(line):
                    print(line, file=sys.stderr)
