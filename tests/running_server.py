"""A server for tests: the real application on a loopback port, in a thread of this process."""

import contextlib
import json
import pathlib
import threading
import time

import httpx

from shakespeare_gen.serving.application import application
from shakespeare_gen.serving.guards import Guard
from shakespeare_gen.serving.server import Server, address, listen
from shakespeare_gen.serving.service import Service
from tests import fake_runs

TEXT = "SPEAKER:\nThe quick brown fox jumps over the lazy dog.\n\nOTHER:\nNo, it does not!\n\n"


def write_run(path: pathlib.Path, **options):
    """A run with random weights over the characters of `TEXT`."""
    return fake_runs.write_run(path, text=TEXT, **{"units": 24, **options})


class RunningServer:
    """A server and a client of it."""

    def __init__(self, server: Server, service: Service, url: str) -> None:
        self.server, self.service, self.url = server, service, url
        self.client = httpx.Client(base_url=url, timeout=60)

    def complete(self, **values):
        """The choices of a completion."""
        response = self.client.post("/v1/completions", json=values)
        assert response.status_code == 200, response.text
        return response.json()["choices"]

    def text(self, **values) -> str:
        """The text of a completion."""
        return self.complete(**values)[0]["text"]

    def events(self, **values) -> list[dict]:
        """The events of a streamed completion, which ends as it must."""
        values = {**values, "stream": True}
        with self.client.stream("POST", "/v1/completions", json=values) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/event-stream"
            lines = [line for line in response.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    def compiled(self) -> bool:
        """Whether the first model is compiled."""
        return not next(iter(self.service.catalog.loaded.values())).reader.model.uses_numpy

    def metric(self, name: str) -> float:
        """The sum of the values of a metric."""
        lines = self.client.get("/metrics").text.splitlines()
        found = [x for x in lines if x.partition("{")[0].partition(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@contextlib.contextmanager
def running(*run_dirs, guard=None, origins=(), is_following=False, **options):
    """Runs a server of runs in NumPy until the end of the context."""
    service = Service([str(path) for path in run_dirs], **{"load": ("best", "numpy"), **options})
    listener = listen("127.0.0.1", 0)
    app = application(service, guard or Guard(), origins)
    server = Server(app, service, is_following)
    thread = threading.Thread(target=lambda: server.run([listener]), daemon=True)
    thread.start()
    wait_until(lambda: service.state == "ready")
    found = RunningServer(server, service, address(listener))
    try:
        yield found
    finally:
        found.client.close()
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def wait_until(condition, seconds: float = 20) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "expected the condition to hold in time"
        time.sleep(0.01)
