"""A server with the shapes of the API and an alphabet for a model, for tests of the page.

After each letter comes the next one, and after `z` comes `a`; a prompt that ends in anything else
is continued with `abc…`. An odd seed writes capitals. A prompt with `slow` is answered slowly, one
with `@` with 400 unless that may be skipped, one that ends in `busy` with 429, and one that ends in
`markup` with an element that must stay text.

    python -m tests.fake_api 8123
"""

import asyncio
import contextlib
import json
import math
import pathlib
import re
import socket
import string
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

PAGE = pathlib.Path(__file__).parent.parent / "shakespeare_gen" / "serving" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MARKUP = '<img src=x onerror="document.title=1">'
CHUNK_CHARS = 4
LETTERS = string.ascii_lowercase


def following(prompt: str) -> str:
    """The letter that the alphabet has after a prompt."""
    last = prompt[-1:].lower()
    return LETTERS[(LETTERS.index(last) + 1) % 26] if last in LETTERS and last else "a"


def written(prompt: str, num_chars: int, seed: int) -> str:
    """What the model writes after a prompt: the alphabet, with a blank after each z."""
    text = ""
    while len(text) < num_chars:
        text += following((prompt + text).rstrip())
        text += " " if text.endswith("z") else ""
    text = text[:num_chars]
    return text.upper() if seed % 2 else text


def models(request: Request) -> Response:
    """GET /v1/models: two models, the second of which says nothing about itself."""
    card = {
        "parameters": 1_220_000,
        "corpus": "tiny_shakespeare",
        "losses": {"validation": 1.3744, "test": 1.5165},
        "curve": [[500 * i, 1.37 + 2.1 * math.exp(-i / 3)] for i in range(1, 21)],
        "vocabulary": LETTERS + " \n",
        "speakers": ["ROMEO", "JULIET", "KING RICHARD III", "First Citizen"],
        "report": "/report",
    }
    shared = {"object": "model", "created": 0, "owned_by": "shakespeare_gen"}
    data = [{"id": "alphabet", **shared, "shakespeare_gen": card}, {"id": "plain", **shared}]
    return JSONResponse({"object": "list", "data": data})


async def completions(request: Request) -> Response:
    """POST /v1/completions, streamed."""
    fields = await request.json()
    prompt = fields["prompt"]
    if "@" in prompt and fields["unknown"] != "skip":
        error = {"message": "unknown character", "type": "invalid_request_error"}
        return JSONResponse({"error": error}, 400)
    if prompt.endswith("busy"):
        error = {"message": "busy", "type": "rate_limit_error", "param": None, "code": None}
        return JSONResponse({"error": error}, 429, {"Retry-After": "2"})
    pause_seconds = 0.15 if "slow" in prompt else 0.005
    text = written(prompt, fields["max_tokens"], fields.get("seed", 0))
    text = MARKUP if prompt.endswith("markup") else text
    events = sent(text, fields["model"], pause_seconds)
    return StreamingResponse(events, media_type="text/event-stream")


async def sent(text: str, model: str, pause_seconds: float) -> AsyncIterator[str]:
    """A text as server-sent events."""
    shared = {"id": "cmpl-1", "object": "text_completion", "created": 0, "model": model}
    pieces = [text[i : i + CHUNK_CHARS] for i in range(0, len(text), CHUNK_CHARS)]
    for piece, reason in [*[(piece, None) for piece in pieces], ("", "length")]:
        choice = {"index": 0, "text": piece, "logprobs": None, "finish_reason": reason}
        yield f"data: {json.dumps({**shared, 'choices': [choice]})}\n\n"
        await asyncio.sleep(pause_seconds)
    yield "data: [DONE]\n\n"


async def score(request: Request) -> Response:
    """POST /v1/score: the next letter has half a bit; others have less the later in a word."""
    fields = await request.json()
    text = fields["text"]
    bits = [
        0.5 if c == following(text[:i]) else max(1.0, 6.0 - len(re.split(r"\s", text[:i])[-1]))
        for i, c in enumerate(text)
    ]
    tokens: list[dict[str, Any]] = [
        {"text": c, "log_probability": -b * math.log(2)} for c, b in zip(text, bits, strict=True)
    ]
    nats = sum(bits) * math.log(2) / max(len(text), 1)
    answer = {"model": fields["model"], "tokens": tokens, "num_characters": len(text)}
    return JSONResponse({**answer, "nats_per_character": nats})


async def next_tokens(request: Request) -> Response:
    """POST /v1/next: the next letter, the one after it, and so on."""
    fields = await request.json()
    first = LETTERS.index(following(fields["prompt"]))
    order = [LETTERS[(first + i) % 26] for i in range(fields["k"] - 2)] + [" ", "\n"]
    shares = [{"text": text, "probability": 0.5**i / 2} for i, text in enumerate(order)]
    return JSONResponse({"model": fields["model"], "next": shares})


async def index(request: Request) -> Response:
    """GET /."""
    return FileResponse(PAGE / "index.html")


class Policy:
    """Adds the content security policy of the real server to every answer; refuses a wrong key."""

    key: str | None = None

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", POLICY.encode())
                message = {**message, "headers": [*message["headers"], header]}
            await send(message)

        sent_key = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        is_api = scope.get("path", "").startswith("/v1/")
        if is_api and self.key and sent_key != f"Bearer {self.key}":
            error = {"message": "wrong key", "type": "invalid_request_error"}
            await JSONResponse({"error": error}, 401)(scope, receive, send_with_policy)
        else:
            await self._app(scope, receive, send_with_policy)


app = Policy(
    Starlette(
        routes=[
            Route("/", index),
            Route("/v1/models", models),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/score", score, methods=["POST"]),
            Route("/v1/next", next_tokens, methods=["POST"]),
            Mount("/", StaticFiles(directory=PAGE)),
        ]
    )
)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Serves on a free port of this machine; gives the address of the page."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        listener.close()


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
