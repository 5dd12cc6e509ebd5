"""Runs a command and measures its duration and the peak memory of its largest process.

    used = measuring.measured("cat", "text.txt")
    used.seconds, used.megabytes, used.own_megabytes

Memory is read from /proc, in units of 10^6 bytes: all resident pages, and those of them that
belong to the process alone (`RssAnon`). The others are pages of files, mostly TensorFlow's
libraries, which processes share and the system takes back when it needs them. Knows nothing about
the package.
"""

import os
import pathlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

POLL_SECONDS = 0.1
KIBIBYTE = 1024


class Memory(NamedTuple):
    """Resident memory in megabytes: all of it, and what is not of files."""

    whole: float
    own: float


class Measured(NamedTuple):
    """What a command took; the memory is the peak of its largest process.

    Attributes:
      is_finished: False: it was killed after `max_seconds`.
    """

    seconds: float
    megabytes: float
    own_megabytes: float
    is_finished: bool = True


def measured(
    *command: str,
    max_seconds: float = float("inf"),
    watch: Callable[[float, Memory], None] | None = None,
) -> Measured:
    """Runs a command without its output.

    Args:
      max_seconds: after which the command is killed (SIGKILL).
      watch: called at every poll, with the seconds since the start and the memory at that time.

    Raises:
      SystemExit: the command failed.
    """
    began, peak = time.perf_counter(), Memory(0.0, 0.0)
    with open(os.devnull, "wb") as nothing:
        process = subprocess.Popen(
            command, stdout=nothing, stderr=subprocess.PIPE, start_new_session=True
        )
    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.append(process.communicate()[1]))
    reader.start()  # a full pipe would block the command
    while reader.is_alive():
        reader.join(POLL_SECONDS)
        seconds = time.perf_counter() - began
        now = _largest([memory(pid) for pid in family(process.pid)])
        peak = Memory(*map(max, peak, now))
        if watch:
            watch(seconds, now)
        if seconds > max_seconds:
            os.killpg(process.pid, signal.SIGKILL)
            reader.join()
            return Measured(seconds, *peak, is_finished=False)
    if process.returncode:
        last = errors[0].decode(errors="replace").strip().splitlines()[-1:]
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}: {''.join(last)}")
    return Measured(time.perf_counter() - began, *peak)


def _largest(found: list[Memory]) -> Memory:
    return Memory(*map(max, zip((0.0, 0.0), *found, strict=True)))


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in family(int(child)))]


def memory(pid: int) -> Memory:
    """The peak of the resident memory of a process, and its own memory now; 0 if it has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return Memory(0.0, 0.0)
    sizes = {key: int(kib) for key, kib in re.findall(r"^(VmHWM|RssAnon):\s+(\d+)", status, re.M)}
    whole, own = (sizes.get(key, 0) * KIBIBYTE / 1e6 for key in ("VmHWM", "RssAnon"))
    return Memory(whole, own)
