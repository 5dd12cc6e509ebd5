"""Load test of the server: latency, speed and memory with many clients that write at once.

    make bench-serve

Starts `shakespeare_gen.serve` with `pretrained:tiny-shakespeare` (512 units) in a process of its
own for each precision, on the loopback interface. Each client sends one streamed request after the
other, of mixed lengths and options, for a bounded time. Measures the same load on a server that
takes one request at a time (a lock around the client's requests, which is what such a server
amounts to), and one client alone. Writes benchmarks/SERVING.md.

With `--llama_server`, llama.cpp's server gets the same load, with a transformer of as many
parameters that `llama_model.py` writes; its rows are a transformer's, the others an LSTM's.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import httpx

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # runs from a clone, installed or not
from benchmarks import sections  # noqa: E402
from shakespeare_gen.system import devices  # noqa: E402

MODEL = "pretrained:tiny-shakespeare"
PROMPTS = ("ROMEO:", "To be, or not to be", "\n", "First Citizen:\nBefore we proceed any further, ")
OPTIONS = ({}, {"temperature": 0.7}, {"top_p": 0.95}, {"top_k": 20, "frequency_penalty": 0.1})
MAX_SECONDS = 300  # of one measurement
_LLAMA = (
    "The rows of llama.cpp (`--llama_server`, a slot for each client) are those of a transformer "
    "with as many parameters, in float32, which `llama_model.py` writes."
)


@dataclasses.dataclass
class Measurement:
    """What the clients saw.

    Attributes:
      first: seconds to the first character of each request after the first one of a client; those
        all begin at once, and no newcomer to texts that are being written.
      total: seconds to the end of each request.
      health: seconds of each request to /health meanwhile.
      megabytes: resident memory of the server at the start and at the end.
      processor_seconds: processor time of the server, by which precisions can be compared where
        other programs run.
      extra: fields of every request.
    """

    name: str
    seconds: float
    num_characters: int = 0
    first: list[float] = dataclasses.field(default_factory=list)
    total: list[float] = dataclasses.field(default_factory=list)
    health: list[float] = dataclasses.field(default_factory=list)
    megabytes: list[float] = dataclasses.field(default_factory=list)
    processor_seconds: float = 0.0
    extra: dict = dataclasses.field(default_factory=dict)

    def row(self) -> str:
        """A row of the table."""
        cells = [
            self.name,
            f"{self.num_characters / self.seconds:,.0f}",
            f"{1e6 * self.processor_seconds / max(self.num_characters, 1):,.0f}",
            *(f"{1000 * value:,.0f}" for value in percentiles(self.first)),
            *(f"{value:.2f}" for value in percentiles(self.total)),
            f"{1000 * max(self.health, default=0):,.0f}",
            " to ".join(f"{value:,.0f}" for value in self.megabytes),
        ]
        return f"| {' | '.join(cells)} |"


def percentiles(values: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    if len(values) < 2:
        return (values or [0])[0], (values or [0])[0]
    return statistics.median(values), statistics.quantiles(values, n=100, method="inclusive")[98]


@contextlib.contextmanager
def server(engine: str, precision: str, *others: str) -> Iterator[tuple[str, int]]:
    """A running server with the given flags: its address and the number of its process."""
    arguments = [sys.executable, "-m", "shakespeare_gen.serve", f"--run_dir={MODEL}", "--port=0"]
    process = subprocess.Popen(
        [*arguments, f"--engine={engine}", f"--precision={precision}", *others],
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
    )
    try:
        yield wait_until_ready(process, engine), process.pid
    finally:
        process.terminate()
        process.wait(15)


def wait_until_ready(process: subprocess.Popen, engine: str) -> str:
    """Reads the log until the model is loaded and, unless it stays in NumPy, compiled."""
    last, url = ("ready after" if engine != "auto" else "is compiled"), ""
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"http://\S+", line)
        url = found[0] if found else url
        if last in line:
            return url
    raise SystemExit("expected a server that starts, found one that ended")


@contextlib.contextmanager
def llama_server(flags) -> Iterator[tuple[str, int]]:
    """A running server of llama.cpp with a slot for each client."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(flags.llama_server, "--model", flags.llama_model, "--port", str(port)),
            *("--parallel", str(flags.clients), "--ctx-size", str(512 * flags.clients)),
            *("--threads", str(os.cpu_count())),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health").is_success:
                    break
            time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(15)


async def measure(name: str, url: str, pid: int, num_clients: int, flags, **extra) -> Measurement:
    """The load of `num_clients` clients; `name` says how."""
    found = Measurement(name, min(flags.seconds, MAX_SECONDS), extra=extra)
    found.megabytes.append(megabytes(pid))
    found.processor_seconds = -processor_seconds(pid)
    lock = asyncio.Lock() if "one at a time" in name else contextlib.nullcontext()
    deadline = time.monotonic() + found.seconds
    clients = [write(url, i, lock, deadline, found) for i in range(num_clients)]
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*clients, watch(client, deadline, found))
    found.megabytes.append(megabytes(pid))
    found.processor_seconds += processor_seconds(pid)
    print(found.row(), flush=True)
    return found


async def write(url: str, number: int, lock, deadline: float, found: Measurement) -> None:
    """One client."""
    rng, is_newcomer = random.Random(number), False
    address = httpx.URL(url)
    while time.monotonic() < deadline:
        body = {
            "prompt": rng.choice(PROMPTS),
            "max_tokens": rng.choice((100, 200, 400)),
            "seed": rng.randrange(10**6),
            **rng.choice(OPTIONS),
            **found.extra,
        }
        began, is_first = time.monotonic(), True
        async with lock:
            async for text in pieces(address, body):
                if is_first and is_newcomer:
                    found.first.append(time.monotonic() - began)
                is_first = False
                if time.monotonic() < deadline:
                    found.num_characters += len(text)
        found.total.append(time.monotonic() - began)
        is_newcomer = True


async def pieces(address: httpx.URL, body: dict) -> AsyncIterator[str]:
    """The pieces of a streamed text, over a connection of its own.

    Without a library: the clients would take half as much of the processor as the server. The
    server of llama.cpp closes connections that are kept.
    """
    reader, writer = await asyncio.open_connection(address.host, address.port)
    content = json.dumps({**body, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + content)
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"expected status 200, received {status.decode().strip()}")
    # Each event is a chunk of its own, whose size and blank lines are passed over.
    async for line in reader:
        if line.startswith(b"data: {"):
            if text := json.loads(line.removeprefix(b"data: "))["choices"][0]["text"]:
                yield text
        elif line == b"0\r\n":  # the last chunk
            break
    writer.close()


async def watch(client: httpx.AsyncClient, deadline: float, found: Measurement) -> None:
    """Asks for the health of the server five times a second."""
    while time.monotonic() < deadline:
        began = time.monotonic()
        (await client.get("/health")).raise_for_status()
        found.health.append(time.monotonic() - began)
        await asyncio.sleep(0.2)


def megabytes(pid: int) -> float:
    """The resident memory of a process."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor_seconds(pid: int) -> float:
    """The processor time of a process, of all its threads."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def library_rate(seconds: float) -> float:
    """Characters per second of one text without a server, as `generate` writes it."""
    from shakespeare_gen.runs.loading import load_generator

    generator, num_characters = load_generator(MODEL, engine="tensorflow"), 0
    generator.generate(PROMPTS[0], length=1000)  # compiles
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        [result] = generator.generate(PROMPTS[0], length=2000)
        num_characters += len(result.text)
    return num_characters / (time.monotonic() - began)


def page(measurements: list[Measurement], library: float, flags) -> str:
    """The page with all measurements; `library` is that of `library_rate`."""
    many = f"{flags.clients} clients"
    return "\n".join(
        [
            "# Serving under load",
            "",
            f"`python benchmarks/serve_load.py --clients={flags.clients} "
            f"--seconds={flags.seconds:g} --rounds={flags.rounds} --engine={flags.engine}`, "
            f"{devices.hardware()['processor']}, {os.cpu_count()} threads, "
            f"{time.strftime('%Y-%m-%d')}. The model has 512 units; {many} send streamed requests "
            "of 100 to 400 characters with mixed options, one after the other. The server and the "
            f"clients share the processor. `generate` writes {library:,.0f} characters/s without a "
            "server.",
            *([_LLAMA] if flags.llama_server else []),
            "",
            "| | characters/s | server, us of processor time a character | first, ms, p50 | p99 "
            "| all, s, p50 | p99 | health, ms, max | MB |",
            "|---|---|---|---|---|---|---|---|---|",
            *(measurement.row() for measurement in measurements),
            "",
        ]
    )


async def run(flags) -> list[Measurement]:
    """All measurements: on a server in float32, and with many clients on one in bfloat16."""
    many, found = f"{flags.clients} clients", []
    with (
        server(flags.engine, "float32") as (url, pid),
        server(flags.engine, "bfloat16") as (fast_url, fast_pid),
    ):
        for _ in range(flags.rounds):  # in turns: the load of the machine may change
            found += [
                await measure("1 client", url, pid, 1, flags),
                await measure(many, url, pid, flags.clients, flags),
                await measure(f"{many}, bfloat16", fast_url, fast_pid, flags.clients, flags),
            ]
        found.append(await measure(f"{many}, one at a time", url, pid, flags.clients, flags))
    if flags.llama_server:
        with llama_server(flags) as (url, pid):
            for name, count in (("1 client", 1), (many, flags.clients)):
                name = f"llama.cpp, {name}"
                # Its model has random weights, which end texts at random.
                found.append(await measure(name, url, pid, count, flags, ignore_eos=True))
    return found


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engine", choices=("auto", "numpy", "tensorflow"), default="auto")
    parser.add_argument("--llama_server", default="", help="path of llama.cpp's server")
    parser.add_argument("--llama_model", default="", help="what llama_model.py wrote")
    parser.add_argument("--output", default=str(HERE / "SERVING.md"))
    flags = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        library = pool.apply(library_rate, (min(flags.seconds, 10),))
    text = page(asyncio.run(run(flags)), library, flags)
    sections.write(pathlib.Path(flags.output), "", text)


if __name__ == "__main__":
    main()
