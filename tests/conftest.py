"""Shared fixtures: the corpus for offline use, and small runs."""

import hashlib
import os
import pathlib

import filelock
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REPOSITORY = pathlib.Path(__file__).parent.parent
CORPUS_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
CORPUS_PLACES = (
    os.environ.get("TINY_SHAKESPEARE_PATH", ""),
    str(REPOSITORY.parent / "shared" / "tiny_shakespeare" / "input.txt"),
)


@pytest.fixture(scope="session", autouse=True)
def unsynchronized_files():
    """Waiting for the disk took a third of the time of some tests, and no test ends its power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def tiny_shakespeare_path():
    """The published input.txt; tests that need it are skipped without it."""
    for place in map(pathlib.Path, filter(None, CORPUS_PLACES)):
        if place.is_file() and hashlib.sha256(place.read_bytes()).hexdigest() == CORPUS_SHA256:
            return place
    pytest.skip("tiny_shakespeare's input.txt is not here; TINY_SHAKESPEARE_PATH names it")


@pytest.fixture(scope="session")
def tfds_data_dir(tiny_shakespeare_path, tmp_path_factory):
    """A TFDS data folder, prepared offline."""
    data_dir = tmp_path_factory.mktemp("tfds")
    manual_dir = data_dir / "downloads" / "manual"
    manual_dir.mkdir(parents=True)
    (manual_dir / "input.txt").write_bytes(tiny_shakespeare_path.read_bytes())
    return data_dir


@pytest.fixture(scope="session")
def abab_path(tmp_path_factory):
    """A text that a model can learn perfectly."""
    path = tmp_path_factory.mktemp("text") / "abab.txt"
    path.write_text("ab" * 3000 + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_text():
    """Three thousand characters of speech-like text."""
    return "".join(f"SPEAKER {i % 7}:\nThis is line {i}, and so on.\n\n" for i in range(80))


@pytest.fixture(scope="session")
def small_run_dir(tmp_path_factory):
    """A run with random weights over the characters of `running_server.TEXT`."""
    from tests.running_server import write_run

    return write_run(tmp_path_factory.mktemp("served") / "small").path


@pytest.fixture(scope="module")
def server(small_run_dir):
    """A server of `small_run_dir`."""
    from tests.running_server import running

    with running(small_run_dir) as server:
        yield server


@pytest.fixture(scope="session")
def abab_run(abab_path, tmp_path_factory):
    """A finished small run that learned "abab…"; the processes of a session share it."""
    import shakespeare_gen

    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with filelock.FileLock(folder / "abab.lock"):
        if not (folder / "abab.finished").exists():
            shakespeare_gen.train_model(
                corpus=str(abab_path),
                run_dir=str(folder / "abab"),
                units=16,
                embedding_size=8,
                window_chars=20,
                batch_size=16,
                epochs=6,
                learning_rate=0.02,
                warmup_steps=10,
                sample_chars=20,
                seed=1,
            )
            (folder / "abab.finished").touch()
    return shakespeare_gen.runs.open_run(folder / "abab")
