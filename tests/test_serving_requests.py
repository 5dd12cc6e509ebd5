"""What the server refuses: fields, sizes, sites, keys, too many and too slow requests."""

import concurrent.futures
import socket
import threading
import time

import httpx
import pytest

from shakespeare_gen.errors import UserError
from shakespeare_gen.serving import connections, guards
from shakespeare_gen.serving.guards import Guard
from tests.running_server import running, wait_until

KEY = "0123456789abcdef"
ENDLESS = {"prompt": "T", "max_tokens": 16384, "n": 16}


def post(server, body, path="/v1/completions"):
    headers = {"Content-Type": "application/json"}
    return server.client.post(path, content=body, headers=headers)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"temperature": NaN}', "temperature"),
        ('{"temperature": 1e999}', "temperature"),
        ('{"stop": [Infinity]}', "stop"),
        ('{"seed": 1' + "0" * 30 + "}", "seed"),
        ('{"seed": 1' + "0" * 5000 + "}", "seed"),
        ('{"temperature": 1' + "0" * 400 + "}", "temperature"),
        ('{"seed": -1}', "seed"),
        ('{"top_p": 0}', "top_p"),
        ('{"n": true}', "n"),
        ('{"n": 1.5}', "n"),
        ('{"echo": 1}', "echo"),
        ('{"n": 1, "n": 2}', "n"),
        ('{"n": 17}', "n"),
        ('{"n": 16, "prompt": ["T", "T", "T"]}', "n"),
        ('{"n": 2, "best_of": 1}', "best_of"),
        ('{"n": 1, "best_of": 2, "stream": true}', "best_of"),
        ('{"stream_options": {"include_usage": true}}', "stream_options"),
        ('{"stream": true, "stream_options": {"other": true}}', "stream_options"),
        ('{"max_tokens": 16385}', "max_tokens"),
        ('{"max_tokens": "5"}', "max_tokens"),
        ('{"prompt": 3}', "prompt"),
        ('{"prompt": [1, "a"]}', "prompt"),
        ('{"prompt": ["a", 1]}', "prompt"),
        ('{"prompt": [1, 100000]}', "prompt"),
        ('{"prompt": [[1], [100000]]}', "prompt"),
        ('{"prompt": [-1]}', "prompt"),
        ('{"prompt": [1.5]}', "prompt"),
        ('{"prompt": [true]}', "prompt"),
        ('{"prompt": [[]]}', "prompt"),
        ('{"prompt": []}', "prompt"),
        ('{"prompt": "\\ud800"}', "prompt"),
        ('{"stop": [""]}', "stop"),
        ('{"stop": [' + ",".join(['"a"'] * 17) + "]}", "stop"),
        ('{"logit_bias": {"x": 1}}', "logit_bias"),
        ('{"logit_bias": {"1": 101}}', "logit_bias"),
        ('{"logit_bias": {"100000": 1}}', "logit_bias"),
        ('{"logprobs": true}', "logprobs"),
        ('{"suffix": "x"}', "suffix"),
        ('{"mirostat_tau": 3, "top_k": 2}', "mirostat_tau"),
        ('{"no_repeat_ngram": 65}', "no_repeat_ngram"),
        ('{"unknown": "x"}', "unknown"),
        ('{"\\ud800": 1}', "\\ud800"),
        ('{"prompt": ' + "[" * 9000 + "]" * 9000 + "}", None),
        ("[]", None),
        ("NaN", None),
        ("", None),
        ("{", None),
        ('{"prompt": "\xff"}'.encode("latin-1"), None),
    ],
)
def test_an_invalid_field_is_named(server, body, param):
    response = post(server, body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert "expected" in error["message"] or "unknown field" in error["message"]


def test_null_is_the_default(server):
    fields = ("max_tokens", "stop", "logprobs", "logit_bias", "user", "stream", "seed")
    assert len(server.text(**dict.fromkeys(fields))) == 16


def test_other_endpoints_check_their_fields(server):
    for path, body in (
        ("/v1/score", {}),
        ("/v1/score", {"text": None}),
        ("/v1/next", {"k": 0}),
        ("/tokenize", {"content": 1}),
        ("/detokenize", {"tokens": [10**6]}),
        ("/detokenize", {"tokens": [-1]}),
    ):
        assert server.client.post(path, json=body).status_code == 400, path


def test_bodies_are_bounded_and_declared(server):
    assert post(server, b'{"prompt": "' + b"T" * 2**16 + b'"}').status_code == 413
    response = server.client.post("/v1/completions", content=b"{}")
    assert response.status_code == 415
    assert server.client.get("/v1/completions").status_code == 405
    assert server.client.get("/nothing").json()["error"]["message"] == "GET /nothing: not found"


def test_a_slow_request_ends(server, monkeypatch):
    monkeypatch.setattr(guards, "READ_SECONDS", 0.2)

    def slow():
        yield b"{"
        time.sleep(1)
        yield b"}"

    headers = {"Content-Type": "application/json"}
    response = server.client.post("/v1/completions", content=slow(), headers=headers)
    assert response.status_code == 408


@pytest.mark.parametrize("begin", [b"", b"GET /health HT"])
def test_a_slow_head_of_a_request_ends(server, monkeypatch, begin):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.2)
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(begin)
        connection.settimeout(5)
        assert connection.recv(100) == b""


# Too many


def hold(server, num_requests):
    """Streams that keep the server busy, and the function that ends them."""
    is_over = threading.Event()

    def read():
        with server.client.stream(
            "POST", "/v1/completions", json={**ENDLESS, "stream": True}
        ) as response:
            if response.status_code == 200:
                for _ in response.iter_lines():
                    if is_over.is_set():
                        break
            return response.status_code

    pool = concurrent.futures.ThreadPoolExecutor(num_requests)
    return is_over, [pool.submit(read) for _ in range(num_requests)]


def test_too_many_requests_are_told_to_come_back(server):
    """2 requests of 16 texts run, 8 wait."""
    is_over, _ = hold(server, 2)
    wait_until(lambda: server.service.num_inside == 2)
    _, waiting = hold(server, 8)
    try:
        wait_until(lambda: server.service.num_inside == 10)
        response = server.client.post("/v1/completions", json={"prompt": "T"})
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["error"]["code"] == "rate_limit_exceeded"
        assert server.client.get("/health").status_code == 200
    finally:
        is_over.set()
        server.service.stop_writing()
    assert all(future.result() in (200, 503) for future in waiting)
    wait_until(lambda: server.service.num_inside == 0)


def test_the_place_of_a_stream_is_free_before_its_end_is_sent(server):
    """32 clients that send one request after the other are at most 32, and none is refused."""
    body = {"prompt": "T", "max_tokens": 2, "stream": True}
    for _ in range(20):
        with server.client.stream("POST", "/v1/completions", json=body) as response:
            for line in response.iter_lines():
                if line == "data: [DONE]":
                    assert server.service.num_inside == 0


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_closed_connection_stops_its_text(server, is_streamed):
    body = {**ENDLESS, "stream": is_streamed}
    before = server.metric("shakespeare_gen_drawn_tokens_total")
    with httpx.Client(base_url=server.url) as client:
        if is_streamed:
            with client.stream("POST", "/v1/completions", json=body) as response:
                lines = response.iter_lines()
                next(lines)
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/completions", json=body, timeout=0.3)
    time.sleep(0.5)
    after = server.metric("shakespeare_gen_drawn_tokens_total")
    assert server.service.num_inside == 0
    time.sleep(0.2)
    assert before < after == server.metric("shakespeare_gen_drawn_tokens_total")
    assert server.text(prompt="T")


def test_a_server_that_is_not_ready_says_so(server):
    for state in ("loading", "shutting down"):
        server.service.state = state
        responses = [
            server.client.get("/health"),
            server.client.post("/v1/completions", json={"prompt": "T"}),
        ]
        server.service.state = "ready"
        for response in responses:
            assert response.status_code == 503
            assert response.json()["error"]["message"] == f"the server is {state}"
            assert response.headers["retry-after"]


def test_metrics_count_what_happens(server):
    names = [f"shakespeare_gen_{name}" for name in ("characters_total", "requests_total")]
    names += [
        "shakespeare_gen_request_seconds_count",
        "shakespeare_gen_first_character_seconds_count",
    ]
    before = [server.metric(name) for name in names]
    server.events(prompt="T", max_tokens=30)
    server.text(prompt="T", max_tokens=30)
    after = [server.metric(name) for name in names]
    assert after[0] - before[0] == 60
    assert after[3] - before[3] == 2
    assert all(new > old for new, old in zip(after, before, strict=True))
    assert server.metric("shakespeare_gen_prompt_cache_bytes") > 0
    assert server.metric("shakespeare_gen_waiting_requests") == 0


def test_a_text_ends_when_its_time_is_over(small_run_dir):
    with running(small_run_dir, max_request_seconds=0.2) as server:
        choices = server.complete(**ENDLESS)
    assert [choice["finish_reason"] for choice in choices] == ["length"] * 16
    assert 0 < len(choices[0]["text"]) < 16384


# Who may use it


def test_other_hosts_and_origins_are_refused(server):
    for headers, status in (
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8000"}, 403),
        ({"Host": "["}, 403),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "192.0.2.1"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": server.url}, 200),
    ):
        for path in ("/health", "/", "/v1/models"):
            assert server.client.get(path, headers=headers).status_code == status, headers


def test_only_named_origins_may_read_responses(small_run_dir, server):
    origin = {"Origin": "https://notes.example"}
    preflight = {**origin, "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in server.client.get("/health").headers
    guard = Guard(origins=["https://notes.example"])
    with running(small_run_dir, guard=guard, origins=("https://notes.example",)) as open_server:
        response = open_server.client.get("/v1/models", headers=origin)
        assert response.headers["access-control-allow-origin"] == origin["Origin"]
        allowed = open_server.client.options("/v1/completions", headers=preflight)
        assert allowed.status_code == 200
        evil = {**preflight, "Origin": "https://evil.example"}
        refused = open_server.client.options("/v1/completions", headers=evil)
        assert "access-control-allow-origin" not in refused.headers


def test_a_key_is_needed_for_all_but_health_and_the_page(small_run_dir):
    with running(small_run_dir, guard=Guard(key=KEY)) as server:
        for path in ("/v1/models", "/metrics", "/openapi.json", "/reports/small"):
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {KEY}"},
            ):
                response = server.client.get(path, headers=headers)
                assert response.status_code == 401
                assert response.json()["error"]["code"] == "invalid_api_key"
        for path in ("/health", "/"):
            assert server.client.get(path).status_code == 200
        headers = {"Authorization": f"Bearer {KEY}"}
        body = {"prompt": "T"}
        assert server.client.post("/v1/completions", json=body).status_code == 401
        response = server.client.post("/v1/completions", json=body, headers=headers)
        assert response.status_code == 200


def test_a_key_comes_from_a_file(tmp_path):
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    assert guards.read_key(str(path)) == KEY
    for content in ("short", "with a blank in it", "ü" * 20):
        path.write_text(content, "utf-8")
        with pytest.raises(UserError, match="api_key_path=.*: expected a key of 16 to 512"):
            guards.read_key(str(path))


def test_responses_forbid_what_the_page_does_not_need(server):
    response = server.client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/", "/health", "/nothing", "/v1/models"):
        assert server.client.get(path).headers["x-content-type-options"] == "nosniff"
    assert server.client.get("/../../../etc/passwd").status_code == 404
    assert server.client.get("/%2e%2e/application.py").status_code == 404
