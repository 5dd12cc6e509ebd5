"""Contenders that take turns: processes that train only while they are asked to.

The parent's side is `Contender` and `Machine`, a child's side `Turns`. Knows nothing
of what is trained.
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
# Where a step takes many seconds, fewer of them tell as much, and caches are warm at its start.
LONG_STEP_SECONDS, LONG_SECONDS = 2.0, 10.0
# Of the processors' time, what may be stolen in a turn, and how often a turn is taken at most.
MAX_STOLEN, MAX_TRIES = 0.03, 3
PRODUCT_WIDTH = 1500


class Turns:
    """A training's side of the alternation: it stands still until it is asked for a round.

    A line on standard input asks for a round, whose median seconds a step are answered in a line
    of JSON; the end of the input ends the training.
    """

    def __init__(self) -> None:
        self.first_step_seconds = 0.0
        self.ends: list[float] = []
        self.is_ready = False

    def goes_on(self) -> bool:
        """Called at each step's end; whether to take another step."""
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
        # The first step after the others' turns is not counted, unless a step is long.
        self.ends = [time.perf_counter()] if is_long else []
        return bool(asked)


class Machine:
    """How quiet the machine is: what other guests of its host take, what a product reaches."""

    def __init__(self) -> None:
        import numpy as np

        self.stolen: list[float] = []
        self.gflops: list[float] = []
        self._matrix = np.ones((PRODUCT_WIDTH, PRODUCT_WIDTH), "float32")
        self.start()

    def start(self) -> None:
        """Before a turn: times one large product, on all threads."""
        began = time.perf_counter()
        self._matrix @ self._matrix
        self.gflops.append(2e-9 * PRODUCT_WIDTH**3 / (time.perf_counter() - began))
        self._ticks = _ticks()

    def stolen_share(self) -> float:
        """The share of the time since `start` that the host gave to others."""
        spent = [now - then for then, now in zip(self._ticks, _ticks(), strict=True)]
        return spent[7] / max(sum(spent), 1)

    def describe(self) -> dict:
        """The median product, and the most that was stolen in a turn that counts."""
        return {
            "product_gflops": statistics.median(self.gflops),
            "most_stolen": max(self.stolen, default=0.0),
        }


def _ticks() -> list[int]:
    """The processors' time so far, by use, as Linux counts it; zeros elsewhere."""
    stat = pathlib.Path("/proc/stat")
    if not stat.exists():
        return [0] * 8
    return [int(ticks) for ticks in stat.read_text("utf-8").splitlines()[0].split()[1:9]]


class Contender:
    """A child process, from the outside. An error of its own ends it, and is kept."""

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
        """One round: the turn in which the least was stolen."""
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
        """Ends the process: its own last words, and the median seconds of a step."""
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
