"""Resident memory of the server over requests that vary in everything.

    python benchmarks/serve_memory.py --seconds=600

Clients send completions of all options, whole and streamed, texts and ids, some of which they
abandon; scores and next tokens. Memory must stop growing when the store of prompts is full, which
is therefore a small one. Writes the section about memory of benchmarks/SERVING.md.
"""

import argparse
import asyncio
import pathlib
import random
import sys
import time

import httpx

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # runs from a clone, installed or not
from benchmarks import sections, serve_load  # noqa: E402

NUM_SAMPLES = 10
HEADING = "## Memory"
PROMPT_CACHE_MB = 4
TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n"
OPTIONS = {
    "temperature": lambda rng: rng.uniform(0, 2),
    "top_k": lambda rng: rng.randrange(1, 66),
    "top_p": lambda rng: rng.uniform(0.1, 1),
    "min_p": lambda rng: rng.uniform(0, 0.2),
    "typical_p": lambda rng: rng.uniform(0.1, 1),
    "repetition_penalty": lambda rng: rng.uniform(0.5, 2),
    "frequency_penalty": lambda rng: rng.uniform(-1, 1),
    "presence_penalty": lambda rng: rng.uniform(-1, 1),
    "no_repeat_ngram": lambda rng: rng.randrange(1, 65),
    "logit_bias": lambda rng: {str(rng.randrange(65)): rng.uniform(-5, 5)},
    "logprobs": lambda rng: rng.randrange(6),
    "echo": lambda rng: True,
    "until_line": lambda rng: True,
    "stop": lambda rng: rng.choice((["the", "and"], "\n\n")),
    "cache_prompt": lambda rng: False,
}


def body_of(rng: random.Random) -> dict:
    """A completion."""
    prompt = (TEXT * 30)[rng.randrange(len(TEXT)) :][: rng.choice((3, 30, 300, 2000))]
    return {
        "prompt": rng.choice((prompt, [prompt, "ROMEO:"], [rng.randrange(65) for _ in prompt])),
        "max_tokens": rng.choice((0, 1, 20, 200, 600)),
        "n": rng.choice((1, 1, 1, 2, 4)),
        "seed": rng.randrange(10**6),
        **{name: value(rng) for name, value in OPTIONS.items() if rng.random() < 0.2},
    }


async def request(client: httpx.AsyncClient, rng: random.Random) -> int:
    """Sends one request; returns its status."""
    kind = rng.random()
    if kind < 0.1:
        response = await client.post("/v1/score", json={"text": TEXT[: rng.randrange(90)]})
    elif kind < 0.2:
        response = await client.post("/v1/next", json={"prompt": TEXT[: rng.randrange(90)]})
    elif kind < 0.6:
        response = await client.post("/v1/completions", json=body_of(rng))
    else:
        body, is_abandoned = {**body_of(rng), "stream": True}, rng.random() < 0.2
        async with client.stream("POST", "/v1/completions", json=body) as response:
            async for _ in response.aiter_lines():
                if is_abandoned:
                    break
    return response.status_code


async def load(url: str, pid: int, flags) -> tuple[list[float], dict[int, int]]:
    """Memory at the start and after each tenth of the time, and the number of responses by
    status."""
    found, statuses = [serve_load.megabytes(pid)], dict[int, int]()
    end = time.monotonic() + flags.seconds

    async def write(client: httpx.AsyncClient, number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < end:
            status = await request(client, rng)
            statuses[status] = statuses.get(status, 0) + 1

    async def watch() -> None:
        for _ in range(NUM_SAMPLES):
            await asyncio.sleep(flags.seconds / NUM_SAMPLES)
            found.append(serve_load.megabytes(pid))
            print(sum(statuses.values()), "requests", f"{found[-1]:,.0f} MB", flush=True)

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await asyncio.gather(watch(), *(write(client, i) for i in range(flags.clients)))
    return found, statuses


def section(found: list[float], statuses: dict[int, int], flags) -> str:
    """The section of the page."""
    every = ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items()))
    megabytes = ", ".join(f"{value:,.0f}" for value in found)
    return (
        f"`python benchmarks/serve_memory.py --clients={flags.clients} "
        f"--seconds={flags.seconds:g}`, {time.strftime('%Y-%m-%d')}: {sum(statuses.values()):,} "
        f"requests that vary in everything ({every}); {PROMPT_CACHE_MB} MB of prompts are stored. "
        f"Resident memory in MB at the start and after each tenth: {megabytes}.\n"
    )


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--output", default=str(HERE / "SERVING.md"))
    flags = parser.parse_args()
    with serve_load.server("auto", "float32", f"--prompt_cache_megabytes={PROMPT_CACHE_MB}") as (
        url,
        pid,
    ):
        found, statuses = asyncio.run(load(url, pid, flags))
    sections.write(pathlib.Path(flags.output), HEADING, section(found, statuses, flags))


if __name__ == "__main__":
    main()
