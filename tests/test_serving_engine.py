"""The engine: errors end their requests alone, and memory does not grow."""

import asyncio
import concurrent.futures
import os
import random
import subprocess
import sys

import pytest

from shakespeare_gen.generation import Request
from shakespeare_gen.generation.decoding import Decoder
from shakespeare_gen.serving import writing
from shakespeare_gen.serving.failures import RequestError
from shakespeare_gen.serving.prompts import Prompt
from shakespeare_gen.serving.service import Service
from shakespeare_gen.system import extras
from tests.conftest import REPOSITORY
from tests.running_server import TEXT, running


def test_an_error_while_drawing_ends_its_requests_and_no_later_ones(small_run_dir, monkeypatch):
    with running(small_run_dir) as server:
        expected = server.text(prompt="T", seed=1)

        def fail(*arguments):
            raise MemoryError

        with monkeypatch.context() as patched:
            patched.setattr(Decoder, "draw", fail)
            response = server.client.post("/v1/completions", json={"prompt": "T"})
            assert response.status_code == 500
            assert response.json()["error"]["type"] == "server_error"
            assert "MemoryError" not in response.text
            streamed = server.client.post("/v1/completions", json={"prompt": "T", "stream": True})
            assert streamed.status_code == 500
        assert server.text(prompt="T", seed=1) == expected
        assert server.service.num_inside == 0


def test_a_stream_that_fails_ends_with_an_error(small_run_dir, monkeypatch):
    with running(small_run_dir) as server:
        draw = Decoder.draw
        num_draws = 0

        def fail_later(self, *arguments):
            nonlocal num_draws
            num_draws += 1
            if num_draws > 2:
                raise MemoryError
            return draw(self, *arguments)

        monkeypatch.setattr(Decoder, "draw", fail_later)
        events = server.events(prompt="T", max_tokens=1000)
        assert events[0]["choices"][0]["text"]
        assert events[-1]["error"]["type"] == "server_error"


def test_a_client_that_does_not_read_does_not_fill_the_memory(small_run_dir, monkeypatch):
    monkeypatch.setattr(writing, "MAX_UNREAD", 10)

    async def read_late():
        service = Service([str(small_run_dir)], ("best", "numpy"))
        served = await service.catalog.get(None)
        states = await writing.read(
            service, served, [Prompt.of_text("T", served.tokenizer)], is_kept=False
        )
        every = writing.begin(Request.of(length=10**6, num_samples=4), states, served.tokenizer)
        parts = writing.parts(service, served, every)
        await anext(parts)
        before = None
        while before != (before := every[0].stopper.num_left):
            await asyncio.sleep(0.5)
        assert before > 0
        try:
            with pytest.raises(RequestError, match="more slowly"):
                async for _ in parts:
                    pass
        finally:
            service.close()

    asyncio.run(read_late())


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(extras.PACKAGES, "serve", ("no_such_package",))
    with pytest.raises(extras.UsageError, match=r"no_such_package; .*shakespeare_gen\[serve\]"):
        extras.require("serve", "serve")


MEMORY = """
import sys, tempfile, pathlib
from tests.running_server import running, write_run, wait_until
from tests.test_serving_engine import load, megabytes

with tempfile.TemporaryDirectory() as folder:
    run = write_run(pathlib.Path(folder) / "run")
    with running(run.path, load=("best", "auto"), prompt_cache_bytes=2**20) as server:
        wait_until(server.compiled, 400)
        found = []
        for i in range(4):
            load(server, seed=i)
            found.append(megabytes())
print(*map(round, found))
sys.exit(found[-1] > found[1] + 15)
"""


def load(server, seed: int, num_requests: int = 150) -> None:
    """Requests of all kinds, by 12 clients."""
    rng = random.Random(seed)
    bodies = [
        {
            "prompt": TEXT * rng.randrange(3) + "The quick"[: rng.randrange(9)],
            "max_tokens": rng.randrange(300),
            "n": rng.randrange(1, 4),
            "stream": rng.random() < 0.5,
            "logprobs": rng.choice((None, 0, 3)),
            "echo": rng.random() < 0.3,
            "top_k": rng.randrange(9),
            "frequency_penalty": rng.choice((0, 0.3)),
            "logit_bias": rng.choice((None, {"3": 1.5})),
        }
        for _ in range(num_requests)
    ]

    def post(body):
        assert server.client.post("/v1/completions", json=body).status_code == 200

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(post, bodies))


def megabytes() -> float:
    """Memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_whatever_is_asked_for():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=REPOSITORY, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, (done.stdout, done.stderr[-2000:])
