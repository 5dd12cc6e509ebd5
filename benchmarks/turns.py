"""Contenders that take turns: processes that train only when requested.

`Contender` and `Machine` are used by the parent process, `Turns` by the children. Knows nothing
about what is trained.
"""

import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

WARM_STEPS, MIN_STEPS, MIN_SECONDS = 3, 5, 3.0
# If a step takes many seconds, fewer steps are sufficient, and cold caches do not matter.
LONG_STEP_SECONDS, LONG_SECONDS = 2.0, 10.0
# The maximum share of stolen processor time in a turn, and the maximum number of tries.
MAX_STOLEN, MAX_TRIES = 0.03, 3
PRODUCT_WIDTH = 1500


class Turns:
    """The child's side of the alternation: training pauses until a round is requested.

    A line on standard input requests a round; the answer is a line of JSON with the median seconds
    per step. The end of the input ends the training.
    """

    def __init__(self) -> None:
        self.first_step_seconds = 0.0
        self.ends: list[float] = []
        self.is_ready = False

    def goes_on(self) -> bool:
        """Called at the end of each step; returns whether to take another step."""
        self.ends.append(time.perf_counter())
        if not self.first_step_seconds:
            self.first_step_seconds = time.time() - float(os.environ["BENCH_START"])
        steps = [after - before for before, after in itertools.pairwise(self.ends)]
        if not self.is_ready:
            self.is_ready = len(steps) >= WARM_STEPS or sum(steps) > LONG_SECONDS
            return self._answers({"ready": True}) if self.is_ready else True
        enough = len(steps) >= MIN_STEPS and sum(steps) > MIN_SECONDS
        if not (enough or sum(steps) > LONG_SECONDS):
            return True
        return self._answers({"step_seconds": statistics.median(steps)})

    def _answers(self, found: dict) -> bool:
        print(json.dumps(found), flush=True)
        asked = sys.stdin.readline()
        is_long = self.ends[-1] - self.ends[-2] > LONG_STEP_SECONDS
        # The first step after the turns of the others is not counted, unless steps are long.
        self.ends = [time.perf_counter()] if is_long else []
        return bool(asked)


class Machine:
    """The load of the machine: time stolen by other guests of its host, speed of a product."""

    def __init__(self) -> None:
        import numpy as np

        self.stolen: list[float] = []
        self.gflops: list[float] = []
        self._matrix = np.ones((PRODUCT_WIDTH, PRODUCT_WIDTH), "float32")
        self.start()

    def start(self) -> None:
        """Called before a turn: times a large product on all threads."""
        began = time.perf_counter()
        self._matrix @ self._matrix
        self.gflops.append(2e-9 * PRODUCT_WIDTH**3 / (time.perf_counter() - began))
        self._ticks = _ticks()

    def stolen_share(self) -> float:
        """The share of the time since `start` that the host gave to other guests."""
        spent = [now - then for then, now in zip(self._ticks, _ticks(), strict=True)]
        return spent[7] / max(sum(spent), 1)

    def describe(self) -> dict:
        """The median speed of the product, and the maximum stolen share of the counted turns."""
        return {
            "product_gflops": statistics.median(self.gflops),
            "most_stolen": max(self.stolen, default=0.0),
        }


def _ticks() -> list[int]:
    """Cumulative processor time by use, as counted by Linux; zeros on other systems."""
    stat = pathlib.Path("/proc/stat")
    if not stat.exists():
        return [0] * 8
    return [int(ticks) for ticks in stat.read_text("utf-8").splitlines()[0].split()[1:9]]


class Contender:
    """The parent's side of a child process. An error in the child ends it and is stored."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        environment = {**environment, "BENCH_START": str(time.time())}
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 the child's
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=self.errors, text=True
        )
        self.error = ""
        self.step_seconds: list[float] = []  # of each turn
        self._read()

    def take_turn(self, machine: Machine) -> None:
        """Runs one round; of repeated turns, counts the one with the least stolen time."""
        tries: list[tuple[float, float]] = []
        while not self.error and len(tries) < MAX_TRIES:
            machine.start()
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            if found := self._read():
                tries.append((machine.stolen_share(), found["step_seconds"]))
                if tries[-1][0] <= MAX_STOLEN:
                    break
        if tries:
            stolen, seconds = min(tries)
            machine.stolen.append(stolen)
            self.step_seconds.append(seconds)

    def result(self) -> dict:
        """Ends the process; returns its summary and the median seconds per step."""
        self.process.stdin.close()
        found = {} if self.error else self._read()
        self.process.wait()
        if self.error:
            return {"error": self.error}
        return {"step_seconds": statistics.median(self.step_seconds), **found}

    def _read(self) -> dict:
        if line := self.process.stdout.readline():
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        last_words = (self.errors.read().strip().splitlines() or [""])[-1]
        self.error = f"exit code {code}: {last_words}"[:120]
        return {}
