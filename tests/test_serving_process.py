"""The command in a process of its own: its messages, signals, and a lack of resources."""

import concurrent.futures
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.running_server import wait_until, write_run

LONG = {"prompt": "T", "max_tokens": 16384, "n": 4, "seed": 1}


class Process:
    """A running command, the lines of its log, and its address."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process, self.lines = process, []
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(lambda: any("ready after" in line for line in self.lines))
        found = re.search(r"http://\S+", "".join(self.lines))
        assert found is not None
        self.url = found[0]

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def end(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)


@contextlib.contextmanager
def command(*flags, **options):
    arguments = [sys.executable, "-m", "shakespeare_gen.serve", "--engine=numpy", "--port=0"]
    process = subprocess.Popen(
        [*arguments, *flags],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield Process(process)
    finally:
        process.kill()
        process.wait()


def failed(*flags) -> tuple[int, str]:
    """The exit code and the message of a command that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "shakespeare_gen.serve", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_lets_texts_end(small_run_dir, number):
    with command(f"--run_dir={small_run_dir}") as server:
        with (
            httpx.Client(base_url=server.url, timeout=30) as client,
            client.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(number)
            refused = {httpx.get(f"{server.url}/health").status_code}
            with contextlib.suppress(httpx.HTTPError):
                body = {"prompt": "T"}
                refused.add(httpx.post(f"{server.url}/v1/completions", json=body).status_code)
            assert refused == {503}
            *_, last = (line for line in lines if line)
        assert last == "data: [DONE]"
        assert server.process.wait(10) == 0


def last_events(url: str, body: dict) -> list[str]:
    """The last two lines of a stream."""
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=30) as response:
        return [line for line in response.iter_lines() if line][-2:]


@pytest.mark.slow
def test_texts_that_are_too_long_end_with_an_error_after_a_signal(tmp_path):
    """Eight requests of 16 texts take longer than the server waits, even on a fast machine."""
    run_dir = write_run(tmp_path / "large", units=384).path
    bodies = [{**LONG, "n": 16, "stream": True, "seed": i} for i in range(8)]
    with (
        command(f"--run_dir={run_dir}") as server,
        concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool,
    ):
        found = [pool.submit(last_events, server.url, body) for body in bodies]
        time.sleep(0.5)
        began = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - began < 10
        ends = [future.result() for future in found]
    # Two requests run and are streams; the others wait for their first event.
    assert all(end[-1] == "data: [DONE]" or "shutting down" in end[-1] for end in ends)
    assert any("shutting down" in end[-2] for end in ends if len(end) > 1)


@pytest.mark.slow
def test_a_second_signal_ends_at_once(small_run_dir):
    with (
        command(f"--run_dir={small_run_dir}") as server,
        httpx.stream(
            "POST", f"{server.url}/v1/completions", json={**LONG, "n": 16, "stream": True}
        ) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        began = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - began < 3


@pytest.mark.slow
def test_a_port_can_be_used_again_after_a_kill(small_run_dir):
    with command(f"--run_dir={small_run_dir}") as server:
        port = httpx.URL(server.url).port
        with httpx.stream(
            "POST", f"{server.url}/v1/completions", json={**LONG, "stream": True}
        ) as response:
            lines = response.iter_lines()
            next(lines)
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
    with command(f"--run_dir={small_run_dir}", f"--port={port}") as server:
        assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets the limit of a process")
def test_too_many_connections_do_not_end_the_server(small_run_dir):
    """It has fewer files than connections; afterwards it answers."""

    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    with command(f"--run_dir={small_run_dir}", preexec_fn=few_files) as server:
        url = httpx.URL(server.url)
        with contextlib.ExitStack() as stack:
            for _ in range(80):
                stack.enter_context(socket.create_connection((url.host, url.port)))
            time.sleep(0.5)
        wait_until(lambda: answers(server.url))
        assert not any("Traceback" in line for line in server.lines)
        assert server.end() == 0


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_the_log_does_not_matter(small_run_dir):
    with open("/dev/full", "w", encoding="utf-8") as full, socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        arguments = [sys.executable, "-m", "shakespeare_gen.serve", "--engine=numpy"]
        process = subprocess.Popen(
            [*arguments, f"--run_dir={small_run_dir}", f"--port={port}"],
            cwd=REPOSITORY,
            stderr=full,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(url))
            body = {"prompt": "T", "temperature": 9}
            assert httpx.post(f"{url}/v1/completions", json=body).status_code == 200
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_prompts_are_logged_only_if_asked_for(small_run_dir):
    body = {"prompt": "The fox"}
    for flags, is_logged in ([], False), (["--log_prompts"], True):
        with command(f"--run_dir={small_run_dir}", *flags) as server:
            assert httpx.post(f"{server.url}/v1/completions", json=body).status_code == 200
            assert server.end() == 0
            time.sleep(0.1)
            assert any("The fox" in line for line in server.lines) == is_logged


def test_errors_are_reported_on_one_line(small_run_dir, tmp_path):
    key = tmp_path / "key"
    key.write_text("short")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flags, code, message in (
            (["--host=0.0.0.0"], 2, "serve: --host=0.0.0.0: expected --api_key_path with an"),
            ([f"--api_key_path={key}"], 1, f"serve: --api_key_path={key}: expected a key of 16"),
            ([f"--port={port}"], 1, f"serve: --port={port}: cannot listen on 127.0.0.1"),
            (["--follow", "--checkpoint=best"], 2, "serve: --checkpoint: expected last with"),
            ([f"--run_dir={tmp_path}/none"], 1, "serve: "),
        ):
            found = failed(f"--run_dir={small_run_dir}", *flags)
            assert found[0] == code, found
            assert found[1].count("\n") == 1, found
            assert found[1].startswith(message)
