"""The API over real HTTP: its texts are those of `Generator.generate`, in the shape of OpenAI's."""

import concurrent.futures
import itertools
import math

import numpy as np
import openai
import pytest

from shakespeare_gen import pretrained
from shakespeare_gen.runs.loading import load_generator
from tests import fake_runs
from tests.fake_models import EVERY_FILTER
from tests.running_server import TEXT, running

OPTIONS = [
    {},
    {"temperature": 0.7},
    {"temperature": 0},
    EVERY_FILTER,
    {"mirostat_tau": 3.0},
    {"until_line": True},
    {"stop": ["e", "qu"]},
]


@pytest.fixture(scope="module")
def generator(small_run_dir):
    return load_generator(small_run_dir, engine="numpy")


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def generated(generator, prompt, max_tokens=16, n=1, **options):
    """The texts of the library, with the default temperature of the API."""
    return generator.generate(
        prompt, length=max_tokens, num_samples=n, **{"temperature": 1.0, **options}
    )


# One seed, one text


@pytest.mark.parametrize("options", OPTIONS)
def test_a_text_is_that_of_the_library_streamed_or_not(server, generator, options):
    request = {"prompt": "The", "max_tokens": 80, "seed": 3, **options}
    [expected] = generated(generator, **request)
    [choice] = server.complete(**request)
    assert choice["text"] == expected.text
    assert choice["finish_reason"] == expected.finish_reason
    events = server.events(**request)
    assert "".join(event["choices"][0]["text"] for event in events) == expected.text
    assert events[-1]["choices"][0]["finish_reason"] == expected.finish_reason


def test_texts_that_share_a_batch_are_those_of_texts_alone(server, generator):
    """40 requests of mixed options and lengths, which join and leave while others write."""
    requests = [
        {"prompt": "The"[: i % 4], "max_tokens": 20 + 37 * i % 300, "seed": i, "n": 1 + i % 2}
        | options
        for i, options in enumerate(itertools.islice(itertools.cycle(OPTIONS), 24))
    ]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda request: server.complete(**request), requests))
    for request, choices in zip(requests, found, strict=True):
        expected = [result.text for result in generated(generator, **request)]
        assert [choice["text"] for choice in choices] == expected
    assert server.metric("shakespeare_gen_batch_rows_sum") > server.metric(
        "shakespeare_gen_batch_rows_count"
    )


def test_without_a_seed_texts_differ(server):
    assert len({server.text(prompt="T", max_tokens=40) for _ in range(3)}) == 3


def test_texts_of_several_prompts_come_in_their_order(server, generator):
    choices = server.complete(prompt=["The", "No"], n=2, seed=1)
    expected = [
        r.text for prompt in ("The", "No") for r in generated(generator, prompt, n=2, seed=1)
    ]
    assert [choice["text"] for choice in choices] == expected
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]


def test_best_of_returns_the_most_likely_texts(server, generator):
    texts = generated(generator, "The", n=6, seed=2)
    ranked = sorted(texts, key=lambda result: -result.log_probabilities.mean())
    choices = server.complete(prompt="The", n=2, best_of=6, seed=2)
    assert [choice["text"] for choice in choices] == [result.text for result in ranked[:2]]
    body = server.client.post("/v1/completions", json={"n": 2, "best_of": 6}).json()
    assert body["usage"]["completion_tokens"] == 6 * 16


def test_a_prompt_that_was_read_before_gives_the_same_text(server, generator):
    long = TEXT * 30  # states are kept on the way
    for prompt in (long, long + "The", long[:2000], long):
        request = {"prompt": prompt, "seed": 4}
        assert server.text(**request) == generated(generator, **request)[0].text
        assert server.text(cache_prompt=False, **request) == server.text(**request)


def test_logit_bias_forbids_and_forces(server):
    [x, fox] = server.client.post("/tokenize", json={"content": "xf"}).json()["tokens"]
    assert server.text(prompt="T", logit_bias={str(x): 100}, max_tokens=5) == "xxxxx"
    text = server.text(prompt="T", logit_bias={str(fox): -100}, max_tokens=200, temperature=3)
    assert "f" not in text
    assert "f" in server.text(prompt="T", max_tokens=400, temperature=3)


# Shapes


def test_a_response_has_the_fields_of_openai(server):
    body = server.client.post("/v1/completions", json={"prompt": "The", "n": 2}).json()
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["model"] == "small"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 32, "total_tokens": 35}
    assert set(body["choices"][0]) == {"index", "text", "logprobs", "finish_reason"}


def test_a_stream_has_one_id_and_ends_with_its_usage(server):
    # More than one draw takes at most.
    values = {"max_tokens": 600, "n": 2, "stream_options": {"include_usage": True}}
    events = server.events(prompt="The", **values)
    assert len({event["id"] for event in events}) == 1
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 1200
    reasons = [c["finish_reason"] for event in events for c in event["choices"]]
    assert reasons.count("length") == 2
    assert set(reasons) == {None, "length"}


@pytest.mark.parametrize("max_tokens", [0, 1, 30])
def test_log_probabilities_are_those_of_the_model(server, generator, max_tokens):
    """As evaluation harnesses ask: `echo`, `logprobs`, and few tokens."""
    request = {"prompt": "The quick", "max_tokens": max_tokens, "seed": 1}
    request |= {"echo": True, "logprobs": 2}
    [choice] = server.complete(**request)
    found = choice["logprobs"]
    assert choice["text"] == "The quick" + choice["text"][9:]
    assert "".join(found["tokens"]) == choice["text"]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    expected = generator.score(choice["text"][1:], start=generator.read("T"))
    np.testing.assert_allclose(found["token_logprobs"][1:], expected, atol=1e-4)
    assert found["text_offset"] == list(range(9 + max_tokens))
    for token, nats, top in list(zip(*list(found.values())[:3], strict=True))[1:]:
        assert len(top) == 2
        assert max(top.values()) >= nats - 1e-4
        assert token not in top or math.isclose(top[token], nats, abs_tol=1e-4)
    streamed = [event["choices"][0]["logprobs"] for event in server.events(**request)]
    for name, values in found.items():
        joined = [value for part in streamed for value in part[name]]
        assert joined == values if name != "token_logprobs" else joined == pytest.approx(values)


def test_log_probabilities_without_alternatives(server):
    found = server.complete(prompt="T", max_tokens=3, logprobs=0)[0]["logprobs"]
    assert found["top_logprobs"] is None
    assert len(found["token_logprobs"]) == 3
    assert found["text_offset"] == [1, 2, 3]


def test_the_end_of_a_document_has_a_log_probability(tmp_path):
    """An evaluation harness cuts off the last token, which is the one that was drawn."""
    run = fake_runs.write_run(tmp_path / "documents", text=TEXT + "\x03", units=24)
    generator = load_generator(run.path, engine="numpy")
    end = generator.tokenizer.end_id
    request = {"prompt": "The", "logprobs": 2, "echo": True, "logit_bias": {str(end): 100}}
    with running(run.path) as server:
        body = server.client.post("/v1/completions", json={**request, "max_tokens": 9}).json()
        [event] = server.events(**request, max_tokens=9)
    [choice] = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("The", "stop")
    assert body["usage"]["completion_tokens"] == 1
    found = choice["logprobs"]
    label, size = generator.tokenizer.label(end), generator.tokenizer.size
    expected = math.log(dict(generator.next_tokens("The", size))[label])
    assert found["tokens"] == [*"The", label]
    assert found["token_logprobs"][3] == pytest.approx(expected, abs=1e-4)
    assert len(found["top_logprobs"][3]) == 2
    assert found["text_offset"] == [0, 1, 2, 3]
    assert event["choices"][0] == choice


def test_scores_next_tokens_and_tokens(server, generator):
    score = server.client.post("/v1/score", json={"model": "small", "text": "The fox"}).json()
    nats = generator.score("The fox")
    assert [token["text"] for token in score["tokens"]] == list("The fox")
    np.testing.assert_allclose([t["log_probability"] for t in score["tokens"]], nats, atol=1e-5)
    assert score["num_characters"] == 7
    assert score["nats_per_character"] == pytest.approx(-nats.mean(), abs=1e-5)
    found = server.client.post("/v1/next", json={"prompt": "The", "k": 4}).json()["next"]
    expected = generator.next_tokens("The", 4)
    assert [token["text"] for token in found] == [label for label, _ in expected]
    assert [t["probability"] for t in found] == pytest.approx([p for _, p in expected], abs=1e-5)
    tokens = server.client.post("/tokenize", json={"content": "The fox"}).json()["tokens"]
    back = server.client.post("/detokenize", json={"tokens": tokens}).json()
    assert back == {"model": "small", "content": "The fox"}
    empty = server.client.post("/v1/score", json={"text": ""}).json()
    assert (empty["tokens"], empty["nats_per_character"]) == ([], None)


def test_models_are_described(server):
    [card] = server.client.get("/v1/models").json()["data"]
    assert card["id"] == "small"
    assert server.client.get("/v1/models/small").json() == card
    facts = card["shakespeare_gen"]
    assert facts["vocabulary"] == "".join(sorted(set(TEXT)))
    assert facts["corpus"] == "abab.txt"
    assert facts["parameters"] > 1000


def test_characters_outside_the_vocabulary_are_named_or_handled(server):
    response = server.client.post("/v1/completions", json={"prompt": "T€"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"
    assert "'€' at 1" in response.json()["error"]["message"]
    assert server.text(prompt="T€", unknown="skip", seed=1) == server.text(prompt="T", seed=1)


# The files of the page


def test_files_are_compressed_and_validated(server):
    get, plain = server.client.get, {"Accept-Encoding": "identity"}
    for path in ("/", "/style.css", "/main.js"):
        whole, packed = get(path, headers=plain), get(path, headers={"Accept-Encoding": "br, gzip"})
        assert "content-encoding" not in whole.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == whole.content  # decompressed by the client
        assert int(packed.headers["content-length"]) < len(whole.content)
        assert packed.headers["vary"] == whole.headers["vary"] == "Accept-Encoding"
        assert packed.headers["etag"] != whole.headers["etag"]
        for response in (whole, packed):
            again = get(
                path,
                headers={"If-None-Match": response.headers["etag"]}
                | (plain if response is whole else {}),
            )
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == response.headers["etag"]
        assert get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    for header in ("gzip;q=0", "br", "", "identity"):
        assert "content-encoding" not in get("/", headers={"Accept-Encoding": header}).headers
    for header in ("gzip;q=0.5", "deflate, gzip ;q=1.0"):
        assert "content-encoding" in get("/", headers={"Accept-Encoding": header}).headers


# The official client


def test_the_client_of_openai_completes(client, generator):
    request = {"prompt": "The", "max_tokens": 20, "seed": 5}
    completion = client.completions.create(model="small", temperature=0.7, **request)
    assert completion.choices[0].text == generated(generator, temperature=0.7, **request)[0].text
    assert completion.usage.total_tokens == 23
    several = client.completions.create(model="small", n=3, extra_body={"top_k": 5}, **request)
    expected = [r.text for r in generated(generator, n=3, top_k=5, **request)]
    assert [choice.text for choice in several.choices] == expected
    assert [model.id for model in client.models.list()] == ["small"]
    assert client.models.retrieve("small").owned_by == "shakespeare_gen"


def test_the_client_of_openai_streams(client, generator):
    request = {"prompt": "The", "max_tokens": 90, "seed": 5}
    stream = client.completions.create(
        model="small", stream=True, stream_options={"include_usage": True}, **request
    )
    *chunks, last = stream
    text = "".join(chunk.choices[0].text for chunk in chunks)
    assert text == generated(generator, **request)[0].text
    assert last.usage.completion_tokens == 90


def test_the_client_of_openai_sends_ids(client, generator):
    """A text, or several, as ids of the tokenizer."""
    encode, request = generator.tokenizer.encode, {"max_tokens": 20, "seed": 5}
    the, no = encode("The").tolist(), encode("No").tolist()
    expected = [generated(generator, prompt, **request)[0].text for prompt in ("The", "No")]
    one = client.completions.create(model="small", prompt=the, echo=True, **request)
    assert one.choices[0].text == "The" + expected[0]
    assert one.usage.prompt_tokens == 3
    several = client.completions.create(model="small", prompt=[the, no], **request)
    assert [choice.text for choice in several.choices] == expected
    with pytest.raises(
        openai.BadRequestError, match=r"prompt: expected ids below \d+, received 999"
    ):
        client.completions.create(model="small", prompt=[*the, 999])


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_an_evaluation_harness_scores_continuations(client, generator, max_tokens):
    """The request of lm-eval's `local-completions`, and how it reads the response: the tokens of
    the context and the drawn one are cut off by their number, and the most likely token is found
    by equality."""
    contexts, ends = ("The quick", "No, it"), (" brown fox", " does")
    every = [
        generator.tokenizer.encode(a + b).tolist() for a, b in zip(contexts, ends, strict=True)
    ]
    request = {"temperature": 0, "max_tokens": max_tokens, "logprobs": 1, "seed": 1234}
    response = client.completions.create(model="small", prompt=every, echo=True, **request)
    for choice, context, end in zip(response.choices, contexts, ends, strict=True):
        last = -max_tokens or None
        nats = choice.logprobs.token_logprobs[len(context) : last]
        top = choice.logprobs.top_logprobs[len(context) : last]
        expected = generator.score(end, start=generator.read(context))
        np.testing.assert_allclose(nats, expected, atol=1e-4)
        is_greedy = all(n == max(t.values()) for n, t in zip(nats, top, strict=True))
        [greedy] = generator.generate(context, length=len(end), temperature=0)
        assert is_greedy == (greedy.text == end)


def test_the_client_of_openai_validates_strictly(server):
    """Its usual mode accepts almost anything."""
    strict = openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", _strict_response_validation=True
    )
    with strict:
        strict.completions.create(model="small", prompt="T", logprobs=2)
        for chunk in strict.completions.create(model="small", prompt="T", stream=True):
            assert chunk.id
        assert list(strict.models.list())


def test_the_client_of_openai_understands_errors(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="small", prompt="T", top_p=2)
    assert (caught.value.param, caught.value.type) == ("top_p", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="other", prompt="T")
    assert caught.value.code == "model_not_found"


@pytest.mark.slow
def test_a_compiled_model_writes_the_same_texts():
    """The server starts in NumPy, and replaces the model while it writes."""
    generator = load_generator(pretrained.DEFAULT, engine="numpy")
    with running(pretrained.DEFAULT, load=("best", "auto")) as server:
        num_after = 0
        for seed in itertools.count():
            request = {"prompt": "The", "max_tokens": 200, "seed": seed}
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                texts = list(pool.map(lambda _, r=request: server.text(**r), range(3)))
            assert texts == [generated(generator, **request)[0].text] * 3
            num_after += server.compiled()
            if num_after > 3:
                break
