"""The commands as a user runs them, in separate processes."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow  # every command imports TensorFlow


def run(*arguments, stdin=b"", **environment):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        timeout=300,
    )


def generate(run_dir, *arguments, **options):
    return run("shakespeare_gen.generate", f"--run_dir={run_dir}", *arguments, **options)


def test_only_text_goes_to_standard_output(abab_run):
    done = generate(abab_run.path, "--prompt=ab", "--length=10", "--temperature=0")
    assert done.returncode == 0
    assert done.stdout == b"ababababababab"[:12] + b"\n"
    assert b"seed" in done.stderr


def test_the_prompt_comes_from_standard_input_or_a_file(abab_run, tmp_path):
    (tmp_path / "prompt.txt").write_text("ba ", encoding="utf-8")
    flags = ["--length=4", "--temperature=0", "--unknown=skip"]
    piped = generate(abab_run.path, "--prompt_path=-", *flags, stdin=b"ab")
    assert piped.stdout == b"ababab\n"
    from_file = generate(abab_run.path, f"--prompt_path={tmp_path / 'prompt.txt'}", *flags)
    assert from_file.stdout == b"ba baba\n"


def start_endless(run_dir, *flags):
    flags = [f"--run_dir={run_dir}", "--temperature=0", *flags]
    return subprocess.Popen(
        [sys.executable, "-m", "shakespeare_gen.generate", *flags, "--length=-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_endless_text_ends_cleanly(abab_run, number, code):
    """Ctrl-C is the intended way to end it."""
    process = start_endless(abab_run.path, "--prompt=a")
    start = process.stdout.read(2000)
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    text = (start + rest).decode()
    assert process.returncode == code
    assert text.endswith("\n")
    assert set(text.strip()) == {"a", "b"}
    assert b"Traceback" not in errors


def test_ctrl_c_ends_the_reading_of_a_long_prompt(abab_run, tmp_path):
    """It once waited for the whole prompt: a minute for a megabyte."""
    (tmp_path / "long.txt").write_text("ab" * 2_000_000, encoding="utf-8")
    process = start_endless(abab_run.path, f"--prompt_path={tmp_path / 'long.txt'}")
    while b"seed" not in process.stderr.readline():
        pass
    time.sleep(2)  # it is reading the prompt
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest.strip()) == (0, b"")
    assert b"Traceback" not in errors


def test_a_prompt_that_is_not_utf_8_is_reported_on_one_line(abab_run):
    done = generate(abab_run.path, "--prompt=a\udcff", "--unknown=skip")
    assert done.returncode == 2
    assert done.stderr == b"generate: --prompt: expected utf-8, received 'a\\udcff'\n"


def test_runs_with_the_same_vocabulary_are_combined_and_others_are_rejected(abab_run):
    both = f"{abab_run.path},{abab_run.path}"
    done = generate(both, "--prompt=ab", "--length=6", "--temperature=0")
    assert done.stdout == b"abababab\n"
    other = generate(f"{abab_run.path},tests/golden/format-1", "--length=6")
    assert other.returncode == 1
    assert b"expected runs with the same tokenizer" in other.stderr


@pytest.mark.parametrize(
    ("command", "message", "code"),
    [
        (["train", "--units=0"], "train: --units: expected at least 1, received 0", 2),
        (["train", "--unit=3"], "train: unknown flag --unit; did you mean --units?", 2),
        (["train", "--units=x"], "train: --units: expected an integer, received 'x'", 2),
        (["train", "stray"], "train: expected only --flags, received 'stray'; a value follows", 2),
        (["train", "--flagfile=nowhere.cfg"], "train:", 2),
        (["train", "--corpus=nowhere.txt"], "train: --corpus=nowhere.txt: expected a file", 1),
        (["train", "--resume", "--run_dir=/nowhere"], "train: --resume: expected a run", 1),
        (["generate", "--run_dir=/nowhere"], "generate: --run_dir=/nowhere: expected a run", 1),
        (["generate", "--run_dir=tests,"], "generate: --run_dir: expected run folders between", 2),
        (["generate", "--temperature=nan"], "generate: --temperature: expected a finite", 2),
        (["generate", "--mirostat_tau=3", "--top_k=5"], "generate: --mirostat_tau: expected", 2),
        (["generate", "--prompt_path=/nowhere"], "generate: --prompt_path=/nowhere", 1),
    ],
)
def test_a_user_error_gives_one_line_and_an_exit_code(command, message, code):
    name, *flags = command
    done = run(f"shakespeare_gen.{name}", *flags)
    assert done.returncode == code
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(message)


def test_the_tiny_shakespeare_recipe_runs_on_tfds(tfds_data_dir, tmp_path):
    done = run(
        "shakespeare_gen.train",
        "--flagfile=flags/tiny_shakespeare.cfg",
        "--epochs=1",
        "--steps_per_epoch=3",
        "--units=16",
        f"--data_dir={tfds_data_dir}",
        f"--run_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"1,003,854 training characters" in (tmp_path / "run" / "README.md").read_bytes()
    assert (
        b"--steps_per_epoch=3: an epoch is part of a pass over the text, which has" in done.stderr
    )


NOISE = re.compile(
    rb"^[IWEF]\d{4} |InitializeLog|XLA|cuInit|oneDNN|TF-TRT|font|Unknown size|\bit/s\b",
    re.MULTILINE,
)


def test_commands_show_no_messages_of_other_packages(tiny_shakespeare_path, tmp_path, monkeypatch):
    """TensorFlow, TFDS and matplotlib report on themselves, at the first start above all."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    manual_dir = tmp_path / "tfds" / "downloads" / "manual"
    manual_dir.mkdir(parents=True)
    (manual_dir / "input.txt").write_bytes(tiny_shakespeare_path.read_bytes())
    at, data = f"--run_dir={tmp_path / 'run'}", f"--data_dir={tmp_path / 'tfds'}"
    for arguments in (
        ["train", at, data, "--units=16", "--epochs=1", "--steps_per_epoch=3"],
        ["generate", at, "--engine=tensorflow", "--length=9"],
        ["generate", at, "--engine=numpy", "--length=9"],
        ["evaluate", at, "--nobaselines", "--sample_chars=200"],
        ["compare", at, f"--output={tmp_path / 'curves'}"],
        ["describe", data],
    ):
        done = run(f"shakespeare_gen.{arguments[0]}", *arguments[1:])
        assert done.returncode == 0, done.stderr
        assert not NOISE.search(done.stderr), done.stderr.decode()


def test_the_options_of_a_missing_dataset_are_a_list(tmp_path, monkeypatch):
    """The line breaks of this message were once shown as escapes."""
    done = run("shakespeare_gen.describe", f"--data_dir={tmp_path / 'none'}")
    if done.returncode == 0:
        pytest.skip("this machine can download tiny_shakespeare")
    assert done.returncode == 4
    assert b"\n  1. connect" in done.stderr
    assert b"\\x0a" not in done.stderr


def test_training_continues_if_standard_error_is_full(abab_run, tmp_path):
    """The line of the first epoch once ended the run."""
    corpus = abab_run.spec.corpus.path
    flags = f"--corpus={corpus} --run_dir={tmp_path / 'run'} --units=8 --epochs=2"
    command = f"{sys.executable} -m shakespeare_gen.train {flags} 2>/dev/full"
    done = subprocess.run(["sh", "-c", command], cwd=REPOSITORY, check=False)
    assert done.returncode == 0
    assert b'"status": "finished"' in (tmp_path / "run" / "run.json").read_bytes()


def test_a_recommended_command_has_the_options_of_the_corpus(tmp_path):
    """Without the encoding it could not be run."""
    (tmp_path / "text.txt").write_text("Ein schöner Text.\n" * 90, encoding="utf-16")
    flags = [f"--corpus={tmp_path / 'text.txt'}", "--encoding=utf-16"]
    done = run("shakespeare_gen.describe", *flags, COLUMNS="200")
    assert b"--encoding=utf-16" in done.stdout
