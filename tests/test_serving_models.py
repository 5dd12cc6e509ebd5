"""Many models: names, ensembles, memory, newer checkpoints, reports."""

import concurrent.futures

import pytest

from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.generation.reading import Reader
from shakespeare_gen.runs.loading import load_generator
from shakespeare_gen.serving import catalog, prompts
from shakespeare_gen.serving.application import application
from shakespeare_gen.serving.guards import Guard
from shakespeare_gen.serving.server import Server, listen
from shakespeare_gen.serving.service import Service
from tests import fake_runs
from tests.running_server import TEXT, running, wait_until, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for number, name in enumerate(("one", "two", "three")):
        write_run(folder / name, epochs=(number + 1,))
    fake_runs.write_run(folder / "other")
    return folder


REQUEST = {"prompt": "The", "seed": 1, "max_tokens": 40}


def expected(*paths):
    generator = load_generator(paths, engine="numpy")
    return generator.generate("The", seed=1, length=40, temperature=1.0)[0].text


def test_a_model_is_chosen_by_name(folder):
    with running(folder / "one", folder / "two", folder / "other") as server:
        ids = [card["id"] for card in server.client.get("/v1/models").json()["data"]]
        assert ids == ["one", "two", "other"]
        for name in ("one", "two"):
            assert server.text(model=name, **REQUEST) == expected(folder / name)
        assert server.text(**REQUEST) == expected(folder / "one")
        both = server.text(model="one+two", **REQUEST)
        assert both == expected(folder / "one", folder / "two")
        for name, status in (("one+other", 400), ("one+one", 400), ("one+", 404), ("../one", 404)):
            response = server.client.post("/v1/completions", json={"model": name})
            assert response.status_code == status
            assert response.json()["error"]["param"] == "model"


def test_models_in_memory_are_bounded(folder):
    names = ("one", "two", "three")
    with running(*(folder / name for name in names), max_models=2) as server:
        for name in (*names, *names):
            assert server.text(model=name, **REQUEST) == expected(folder / name)
            assert len(server.service.catalog.admissions) <= 2


def test_a_model_in_use_stays_in_memory(folder):
    """Requests for two models, of which only one may be in memory, are answered or refused."""
    with running(folder / "one", folder / "two", max_models=1) as server:

        def status(i):
            values = {"model": ("one", "two")[i % 2], "max_tokens": 300, "stream": i % 3 == 0}
            return server.client.post("/v1/completions", json=values).status_code

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            found = list(pool.map(status, range(60)))
        assert set(found) <= {200, 429}
        assert found.count(200) > 5
        assert server.service.num_inside == 0


def test_a_newer_checkpoint_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "FOLLOW_SECONDS", 0.05)
    run = write_run(tmp_path / "run", epochs=(1,))
    with running(run.path, load=("last", "numpy"), is_following=True) as server:
        before = server.text(**REQUEST)
        fake_runs.save(run, 2)
        wait_until(lambda: server.text(**REQUEST) != before)
        generator = load_generator(run.path, checkpoint="last", engine="numpy")
        text = generator.generate("The", seed=1, length=40, temperature=1.0)[0].text
        assert server.text(**REQUEST) == text
        damaged = run.folder.checkpoints / "step-00000021-epoch-0003"
        damaged.mkdir()
        assert server.text(**REQUEST) == text


def test_a_run_is_opened_before_the_server_starts(folder, tmp_path):
    with pytest.raises(UserError, match="nothing"):
        catalog.named([str(tmp_path / "nothing")])
    with pytest.raises(UsageError, match="expected different runs"):
        catalog.named([str(folder / "one"), str(folder / "one")])
    write_run(tmp_path / "one")
    paths = [str(folder / "one"), str(tmp_path / "one")]
    assert list(catalog.named(paths)) == paths


def test_a_damaged_run_ends_the_server_with_its_error(tmp_path):
    run = write_run(tmp_path / "run")
    for path in run.folder.checkpoints.rglob("weights.safetensors"):
        path.write_bytes(b"")
    service = Service([str(run.path)], ("best", "numpy"))
    server = Server(application(service, Guard()), service)
    with pytest.raises(UserError, match="intact checkpoint"):
        server.run([listen("127.0.0.1", 0)])


def test_a_run_that_is_damaged_later_is_an_error_of_its_requests(folder, tmp_path):
    run = write_run(tmp_path / "run")
    with running(folder / "one", run.path) as server:
        for path in run.folder.checkpoints.rglob("weights.safetensors"):
            path.write_bytes(b"")
        response = server.client.post("/v1/completions", json={"model": "run"})
        assert response.status_code == 500
        assert str(tmp_path) not in response.text
        assert server.text(model="one", **REQUEST) == expected(folder / "one")


def test_a_report_runs_in_no_origin_and_no_link_is_followed(tmp_path):
    run = write_run(tmp_path / "run")
    with running(run.path) as server:
        card = server.client.get("/v1/models/run").json()
        assert card["shakespeare_gen"]["report"] is None
        assert server.client.get("/reports/run").status_code == 404
        run.folder.evaluation_dir.mkdir()
        page = run.folder.evaluation_dir / "evaluation.html"
        page.symlink_to("/etc/passwd")
        assert server.client.get("/reports/run").status_code == 404
        page.unlink()
        page.write_text("<p>figures</p>")
        path = server.client.get("/v1/models/run").json()["shakespeare_gen"]["report"]
        response = server.client.get(path)
        assert response.text == "<p>figures</p>"
        policy = response.headers["content-security-policy"]
        assert policy.startswith("sandbox allow-scripts")
        assert "allow-same-origin" not in policy


def test_stored_prompts_are_bounded_in_bytes(folder):
    generator = load_generator(folder / "one", engine="numpy")
    reader = Reader(generator.model, generator.tokenizer)
    size = prompts.num_bytes(generator.read("The"))
    store = prompts.PromptStore(max_bytes=4 * size)
    for i in range(20):
        prompt = prompts.Prompt.of_text(TEXT[: i + 1], generator.tokenizer)
        state = prompts.read(store, "one", reader, prompt, True, lambda: None)
        assert store.num_bytes <= 4 * size
        assert (state.logits == generator.read(TEXT[: i + 1]).logits).all()
    ids = generator.tokenizer.encode(TEXT)
    assert store.longest("one", ids)[0] == 20
    assert store.longest("two", ids) == (0, None)


@pytest.mark.parametrize("tokens", ["bytes", "words"])
def test_tokens_need_not_be_characters(tmp_path, tokens):
    """A prompt may end within a word or a character, and within what was read before."""
    run = write_run(tmp_path / "run", tokens=tokens, min_word_count=1)
    generator = load_generator(run.path, engine="numpy")
    prompt = TEXT * 20 + "The quick br"
    with running(run.path) as server:
        assert server.client.get("/v1/models/run").json()["shakespeare_gen"]["vocabulary"] is None
        for size in (*range(len(prompt) - 7, len(prompt) + 1), 5, 0):
            request = {"prompt": prompt[:size], "seed": size, "temperature": 0.8, "max_tokens": 30}
            [result] = generator.generate(prompt[:size], seed=size, temperature=0.8, length=30)
            [choice] = server.complete(**request, logprobs=1)
            assert choice["text"] == result.text
            found = choice["logprobs"]
            assert found["tokens"] == list(result.pieces)
            assert found["token_logprobs"] == pytest.approx(result.log_probabilities, abs=1e-4)
            events = server.events(**request)
            assert "".join(event["choices"][0]["text"] for event in events) == result.text
        score = server.client.post("/v1/score", json={"text": "The fox é"}).json()
        assert "".join(token["text"] for token in score["tokens"]) == "The fox é"


def test_ids_may_end_within_a_character_or_a_word(tmp_path):
    """Ids are read and continued as they are; a text that ends so is not one that ids can say."""
    run = write_run(tmp_path / "bytes", tokens="bytes")
    with running(run.path) as server:
        whole = server.client.post("/tokenize", json={"content": "The fox é"}).json()["tokens"]
        [choice] = server.complete(
            prompt=whole[:-1], echo=True, logit_bias={str(whole[-1]): 100}, max_tokens=1
        )
        assert choice["text"] == "The fox é"
    run = write_run(tmp_path / "words", tokens="words", min_word_count=1)
    generator = load_generator(run.path, engine="numpy")
    ids = generator.tokenizer.encode("The qui")
    state = Reader(generator.model, generator.tokenizer).read_ids(ids, None)
    request = {"temperature": 1.0, "seed": 3}
    expected = [r.text for r in generator.generate(start=state, num_samples=8, length=9, **request)]
    with running(run.path) as server:
        found = server.complete(prompt=ids.tolist(), n=8, max_tokens=9, **request)
    assert [choice["text"] for choice in found] == expected
