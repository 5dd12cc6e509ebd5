"""The proof of an export: loaded again in its own runtime, and compared with the model.

The model itself is computed in NumPy with float64. Knows nothing about formats.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting import folders
from shakespeare_gen.exporting.held_out import HeldOut
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.generation.sampling import arrays
from shakespeare_gen.system import threads

MAX_SECONDS = 600
# The products of one row are too small to be shared between threads.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_LAST_LINES = 3  # of what a process that failed has written


@dataclasses.dataclass(frozen=True)
class ReadBack:
    """What an export says about a text.

    Attributes:
      runtime: what computed it, with its version.
      logits: float [N, V], after each token, read one at a time.
      step_seconds: how long that took.
      read_logits: the same from calls with many tokens; None: the format has none.
      read_seconds: how long that took.
    """

    runtime: str
    logits: np.ndarray
    step_seconds: float
    read_logits: np.ndarray | None = None
    read_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Proof:
    """The figures of an export.

    Attributes:
      largest_error: the largest difference of a logit from that of the model.
      nats_before, nats_after: per character, of the model and of the export.
      step_rate: characters per second, one token at a time.
      read_rate: the same in calls with many tokens; 0: the format has none.
    """

    size_bytes: int
    runtime: str
    num_chars: int
    text: str
    largest_error: float
    nats_before: float
    nats_after: float
    step_rate: float
    read_rate: float


def compare(subject: Subject, text: HeldOut, found: ReadBack, size_bytes: int) -> Proof:
    """Compares what an export said about a text with what the model says."""
    expected = reference(subject, text.ids)
    every = [found.logits] if found.read_logits is None else [found.logits, found.read_logits]
    logits = max(every, key=lambda each: _largest(each - expected))
    seconds = found.read_seconds
    return Proof(
        size_bytes=size_bytes,
        runtime=found.runtime,
        num_chars=text.num_chars,
        text=text.description,
        largest_error=_largest(logits - expected),
        nats_before=_nats(expected, text),
        nats_after=_nats(logits, text),
        step_rate=text.num_chars / found.step_seconds,
        read_rate=text.num_chars / seconds if seconds else 0.0,
    )


def reference(subject: Subject, ids: np.ndarray) -> np.ndarray:
    """The logits of the model after each of ids [N], float64 [N, V]."""
    with threads.single_threaded_products():
        return np.asarray(subject.model("float64").read(ids[None])[0])[0]


def _largest(differences: np.ndarray) -> float:
    """The largest absolute value; infinite if there is a NaN."""
    found = float(np.abs(differences).max())
    return found if np.isfinite(found) else float("inf")


def _nats(logits: np.ndarray, text: HeldOut) -> float:
    """The loss per character of logits [N, V]."""
    log_p = arrays.log_softmax(np, logits.astype(np.float64))
    return float(-log_p[np.arange(len(text.targets)), text.targets].sum() / text.num_chars)


def run_folder(path: pathlib.Path, ids: np.ndarray) -> ReadBack:
    """Reads ids [N] with the `model.py` of a folder, in a process without this package.

    Raises:
      UserError: the process failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ids_path, result_path = pathlib.Path(scratch, "ids.npy"), pathlib.Path(scratch, "out.npz")
        np.save(ids_path, ids)
        program = [str(folders.PROGRAMS / "measure.py"), str(path), str(ids_path), str(result_path)]
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-B", *program],
                capture_output=True,
                env={**os.environ, **_ONE_THREAD},
                timeout=MAX_SECONDS,
                text=True,
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"expected a proof within {MAX_SECONDS} s, found none") from None
        if done.returncode:
            said = " ".join(done.stderr.splitlines()[-_LAST_LINES:])
            raise UserError(f"the export cannot be loaded again: {said}")
        with np.load(result_path) as file:
            result = dict(file)
    read = result.get("read_logits")
    return ReadBack(
        runtime=str(result["runtime"]),
        logits=result["logits"],
        step_seconds=float(result["step_seconds"]),
        read_logits=read,
        read_seconds=0.0 if read is None else float(result["read_seconds"]),
    )
