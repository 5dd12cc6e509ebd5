"""The command `generate` as a user runs it: samples, files, pipes and terminals.

The runs have random weights and are computed in NumPy: a command takes half a second.
"""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import termios
import time

import pytest

from shakespeare_gen import generate
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.writing import many_samples
from tests import fake_runs
from tests.conftest import REPOSITORY

CHECKPOINT = "step-00000007-epoch-0001"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    fake_runs.write_run(path, text="abcdefg ROMEO:\n" * 9)
    return path


@pytest.fixture(scope="module")
def control_run_dir(tmp_path_factory):
    """A run whose text contains escape sequences and characters beyond ASCII."""
    path = tmp_path_factory.mktemp("runs") / "control"
    fake_runs.write_run(path, text="\x1b[2J\x9b\x07é漢" * 9)
    return path


@pytest.fixture(autouse=True)
def state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "shakespeare_gen"


def arguments_of(run_dir, *flags):
    module = [sys.executable, "-m", "shakespeare_gen.generate"]
    return [*module, f"--run_dir={run_dir}", "--seed=1", "--length=20", *flags]


def run(run_dir, *flags, stdin=b"", redirect="", **environment):
    """Runs the command in a shell, with redirections such as "> /dev/full"."""
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirect}', "bash", *arguments_of(run_dir, *flags)],
        input=stdin,
        capture_output=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        timeout=60,
    )


def last_line(done):
    """The error of a command that failed."""
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.stderr.decode().splitlines()[-1]


def written(run_dir, capsys, *_, **values):
    """Standard output and error of the command, in this process."""
    values = {"run_dir": str(run_dir), "seed": 1, "length": 20, **values}
    generate.main(Options.parse(generate.groups(), values))
    return capsys.readouterr()


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, arguments, **environment):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=REPOSITORY,
            env={**os.environ, "TERM": "dumb", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.output = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def send(self, text):
        os.write(self._master, text.encode())

    def read_until(self, mark, seconds=30):
        """What the terminal shows until `mark`; None: until the command ends."""
        shown, end = b"", time.monotonic() + seconds
        while mark is None or mark.encode() not in shown:
            assert time.monotonic() < end, f"no {mark!r} in {shown!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    shown += os.read(self._master, 4096)
                except OSError:  # Linux reports the end of a terminal in this way
                    assert mark is None, f"no {mark!r} in {shown!r}"
                    break
        return shown.decode().replace("\r\n", "\n")

    def ask(self, line):
        """Types a line; returns what is shown until the next prompt."""
        self.send(line + "\n")
        return self.read_until("\n> ").removesuffix("\n> ")


# Samples


def test_headings_of_samples_go_to_standard_error(run_dir, capsys):
    """`generate --num_samples=2 > text.txt` once contained them."""
    one = written(run_dir, capsys, prompt="a").out
    both = written(run_dir, capsys, prompt="a", num_samples=2)
    first, second = both.out.split("\n\n", 1) if "\n\n" in both.out else ("", "")
    assert both.out.startswith(one + "\n")
    assert (first, second) != ("", "")
    assert "sample" not in both.out
    assert both.err == "--- sample 1 ---\n--- sample 2 ---\n"


def test_a_record_has_everything_that_a_sample_depends_on(run_dir, capsys):
    text = written(run_dir, capsys, prompt="ab", num_samples=2).out
    out = written(run_dir, capsys, prompt="ab", num_samples=2, format="jsonl").out
    records = [json.loads(line) for line in out.splitlines()]
    assert text == "\n".join(r["prompt"] + r["text"] + "\n" for r in records)
    for number, record in enumerate(records):
        nats = record.pop("log_probability_nats")
        assert -200 < nats < 0
        assert record.pop("text")
        assert record == {
            "run": str(run_dir),
            "checkpoint": CHECKPOINT,
            "seed": 1,
            "sample": number + 1,
            "prompt": "ab",
            "finish_reason": "length",
            "num_tokens": 20,
        }


def test_a_single_text_and_a_searched_one_are_records_too(run_dir, capsys):
    """The log-probability of a record is that of its tokens."""
    text = written(run_dir, capsys, prompt="ab").out
    [line] = written(run_dir, capsys, prompt="ab", format="jsonl").out.splitlines()
    record = json.loads(line)
    assert record["prompt"] + record["text"] + "\n" == text
    stopped = written(run_dir, capsys, prompt="ab", format="jsonl", stop=record["text"][3:5]).out
    assert json.loads(stopped)["finish_reason"] == "stop"
    assert json.loads(stopped)["num_tokens"] == 3
    [line] = written(run_dir, capsys, num_beams=3, format="jsonl").out.splitlines()
    assert json.loads(line)["log_probability_nats"] > record["log_probability_nats"]
    [line] = written(run_dir, capsys, length=0, format="jsonl").out.splitlines()
    assert json.loads(line)["log_probability_nats"] == 0


def test_records_are_in_ascii(control_run_dir):
    done = run(control_run_dir, "--format=jsonl", "--length=99", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert {"é", "\x1b"} <= set(json.loads(done.stdout)["text"])


# Output files


def test_a_file_gets_what_standard_output_would_get(run_dir, capsys, tmp_path):
    path = tmp_path / "text.txt"
    for values in ({}, {"num_samples": 2}, {"num_samples": 2, "format": "jsonl"}):
        shown = written(run_dir, capsys, prompt="a", **values).out
        out = written(
            run_dir, capsys, prompt="a", output_path=str(path), overwrite=True, **values
        ).out
        assert (path.read_text("utf-8"), out) == (shown, "")
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]


def test_a_file_is_not_overwritten_by_mistake(run_dir, tmp_path, capsys):
    """The file is checked before the model is loaded."""
    path = tmp_path / "text.txt"
    path.write_text("mine", "utf-8")
    with pytest.raises(UserError, match="text.txt: expected a new file, found an existing one"):
        written("/nowhere", capsys, output_path=str(path))
    assert path.read_text("utf-8") == "mine"
    for name, message in {
        "none/text.txt": "expected a file in an existing folder",
        "": "expected a regular file, found something else",
        "x" * 300: "cannot be written: File name too long",
        "a\0": "cannot be written: ",
    }.items():
        with pytest.raises(UserError, match=message):
            written("/nowhere", capsys, output_path=f"{tmp_path}/{name}", overwrite=True)
    with pytest.raises(UserError, match="expected a regular file, found something else"):
        written("/nowhere", capsys, output_path="/dev/null", overwrite=True)


def test_contradicting_options_of_the_output_are_rejected(capsys):
    for values, message in (
        ({"overwrite": True}, "overwrite: expected to be used with `output_path`"),
        ({"interactive": True, "output_path": "x"}, "output_path: expected - with `interactive`"),
        ({"interactive": True, "format": "jsonl"}, "format: expected text with `interactive`"),
        ({"interactive": True, "prompt_path": "-"}, "prompt_path: expected a file with"),
        ({"interactive": True, "num_samples": 2}, "num_samples: expected 1, because a stream"),
    ):
        with pytest.raises(UsageError, match=message):
            written("/nowhere", capsys, **values)


@pytest.mark.parametrize(("length", "code"), [("-1", 0), ("10000000", 130)])
def test_an_interrupted_text_is_written(run_dir, tmp_path, length, code):
    path = tmp_path / "text.jsonl"
    flags = [f"--length={length}", "--engine=numpy", "--format=jsonl", f"--output_path={path}"]
    process = subprocess.Popen(
        arguments_of(run_dir, *flags), stderr=subprocess.PIPE, cwd=REPOSITORY
    )
    while b"seed" not in process.stderr.readline():
        pass
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == code
    record = json.loads(path.read_text("utf-8"))
    assert record["finish_reason"] == "interrupted"
    assert record["num_tokens"] == len(record["text"]) > 0


# Control characters and encodings


def test_generated_text_cannot_drive_a_terminal(control_run_dir):
    """A model may have learned escape sequences that clear the screen or type commands."""
    for flags in ([], ["--num_samples=2"]):
        with Terminal(arguments_of(control_run_dir, "--length=99", *flags)) as terminal:
            shown = terminal.read_until(None)
        assert r"\x1b" in shown
        assert r"\x9b" in shown
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    done = run(control_run_dir, "--length=99")
    assert b"\x1b" in done.stdout
    assert b"\\x1b" not in done.stdout


def test_an_interactive_session_cannot_drive_a_terminal_either(control_run_dir):
    flags = ["--length=99", "--interactive"]
    with Terminal(arguments_of(control_run_dir, *flags)) as terminal:
        terminal.read_until("> ")
        shown = [terminal.ask(line) for line in ("", "/show", "/score", "/undo", "/redo")]
    assert r"\x1b" in shown[0]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", "".join(shown))


def test_text_that_a_pipe_cannot_encode_is_an_error_and_a_terminal_shows_escapes(control_run_dir):
    done = run(control_run_dir, "--length=99", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert "cannot write to standard output: its encoding ascii has no" in last_line(done)
    arguments = arguments_of(control_run_dir, "--length=99")
    with Terminal(arguments, PYTHONIOENCODING="ascii") as terminal:
        shown = terminal.read_until(None)
    assert r"\xe9" in shown
    assert r"\u6f22" in shown


# Interactive sessions in a pipe


def test_a_pipe_gets_only_text(run_dir):
    lines = b"ROMEO:\n/set length 5\n\n/settings\n/help\n/show\n"
    done = run(run_dir, "--interactive", "--stop=", stdin=lines)
    assert done.returncode == 0
    expected = run(run_dir, "--prompt=ROMEO:").stdout
    assert done.stdout.startswith(expected)
    assert b"temperature" not in done.stdout
    assert b"\ntemperature 0.8\n" in done.stderr
    assert b"> " not in done.stderr
    assert b"/retry " in done.stderr


def test_the_last_line_of_a_pipe_may_lack_its_end_and_lines_may_end_as_on_windows(run_dir):
    done = run(run_dir, "--interactive", "--prompt=ab", stdin=b"/add c\r\n/show")
    assert (done.returncode, done.stdout) == (0, b"abc\n")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"/set top_k 3\n/set temprature 3\nab\n", "line 2: unknown option 'temprature'; did you"),
        (b"ab\xff\n", "line 1: text: expected utf-8, received byte 0xff at 2"),
        (
            b"/set unknown error\nX\n",
            "line 2: text: expected characters of the vocabulary, received 'X' at 0; try u",
        ),
        (b"a" * 2_000_000, "line 1: text: expected at most 1,048,576 bytes, received more"),
    ],
)
def test_an_error_in_a_pipe_names_the_line(run_dir, capsys, monkeypatch, lines, message):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    with pytest.raises(UserError) as error:
        written(run_dir, capsys, interactive=True)
    assert str(error.value).startswith(message)
    assert "--" not in str(error.value)


def test_an_error_in_a_pipe_ends_the_session(run_dir):
    done = run(run_dir, "--interactive", stdin=b"/set top_k -1\nab\n")
    assert (done.returncode, done.stdout) == (2, b"")
    assert last_line(done) == "generate: line 1: top_k: expected at least 0, received -1"


@pytest.mark.parametrize(
    ("redirect", "message", "code"),
    [
        ("> /dev/full", "generate: cannot write to standard output: No space left on device", 1),
        (">&-", "generate: cannot write to standard output: it is closed", 1),
        ("<&-", "generate: cannot read standard input: it is closed", 1),
        ("2>&-", None, 0),
        ("2> /dev/full", None, 0),
    ],
)
def test_failing_streams_end_a_session_as_they_end_a_command(run_dir, redirect, message, code):
    done = run(run_dir, "--interactive", stdin=b"ab\n/settings\n", redirect=redirect)
    assert done.returncode == code
    assert message is None or last_line(done) == message


def test_a_closed_pipe_ends_a_session_silently(run_dir):
    done = run(run_dir, "--interactive", stdin=b"ab\n" * 99, redirect="| head -c 2")
    assert (done.returncode, done.stdout) == (0, b"ab")
    assert "best validation loss" in last_line(done)


def test_ctrl_c_in_a_pipe_ends_the_session(run_dir):
    process = subprocess.Popen(
        arguments_of(run_dir, "--interactive", "--length=-1"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    process.stdin.write(b"ab\n/save x\n")
    process.stdin.flush()
    start = process.stdout.read(100)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (start + rest).endswith(b"\n")
    assert errors.endswith(b"generate: interrupted\n")


# Interactive sessions at a terminal


def test_a_session_at_a_terminal(run_dir, tmp_path, state_dir):
    """Errors are shown and the session goes on; a saved text leaves no draft."""
    with Terminal(arguments_of(run_dir, "--interactive")) as terminal:
        greeting = terminal.read_until("> ")
        assert "/help lists the commands" in greeting
        expected = run(run_dir, "--prompt=ROMEO:").stdout.decode()
        assert terminal.ask("ROMEO:") == "ROMEO:\n" + expected.removesuffix("\n")
        assert terminal.ask("/retyr").endswith("did you mean '/retry'?")
        assert terminal.ask("X").startswith("X\nX")  # an unknown character does not stop a writer
        terminal.ask("/undo")
        terminal.ask("/undo")
        terminal.ask("/set unknown error")
        assert terminal.ask("X").endswith("received 'X' at 0; try unknown=nearest or unknown=skip")
        assert terminal.ask("/undo") == "/undo\nundone: 6 characters, the end is 'ROMEO:'"
        terminal.ask(f"/save {tmp_path / 'text.txt'}")
        terminal.send("\x04")
        terminal.read_until(None)
        assert terminal.process.wait(10) == 0
    assert (tmp_path / "text.txt").read_bytes() == b"ROMEO:"
    assert list((state_dir / "drafts").iterdir()) == []
    history = state_dir / "history"
    assert history.read_text("utf-8").splitlines()[:2] == ["ROMEO:", "/retyr"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def ctrl_c_at_the_prompt(terminal):
    """What Ctrl-C shows; the prompt is shown shortly before readline handles it."""
    for _ in range(10):
        time.sleep(0.5)
        terminal.send("\x03")
        with contextlib.suppress(AssertionError):
            return terminal.read_until("> ", seconds=3)
    pytest.fail("expected an answer to Ctrl-C, received none")


@pytest.mark.slow
def test_ctrl_c_stops_the_text_and_keeps_it_and_the_history_returns(run_dir, state_dir):
    flags = ["--interactive", "--length=-1"]
    with Terminal(arguments_of(run_dir, *flags)) as terminal:
        terminal.read_until("> ")
        terminal.send("ab\n")
        time.sleep(1)
        terminal.send("\x03")
        shown = terminal.read_until("\n> ")
        assert "\nstopped; the text so far is kept\n" in shown
        assert "Ctrl-D or /quit ends the session" in ctrl_c_at_the_prompt(terminal)
        terminal.ask("/set length 3")
        count = int(re.search(r"([\d,]+) characters", terminal.ask("/score"))[1].replace(",", ""))
        assert count > 100
        terminal.send("/quit\n")
        shown = terminal.read_until(None)
        assert terminal.process.wait(10) == 0
    [draft] = (state_dir / "drafts").iterdir()
    assert f"The text is not saved; it is kept in {draft}" in shown.replace("\n", "")
    assert len(draft.read_text("utf-8")) == count
    with Terminal(arguments_of(run_dir, "--interactive")) as terminal:
        assert str(draft) in terminal.read_until("> ").replace("\n", "")
        terminal.send("\x10\x10\n")  # Ctrl-P: the line before the last one
        assert "bits per character" in terminal.read_until("\n> ")


@pytest.mark.slow
def test_a_killed_session_leaves_its_draft(run_dir, state_dir):
    """A second Ctrl-C, a closed window and SIGTERM end the process at once."""
    with Terminal(arguments_of(run_dir, "--interactive", "--length=-1")) as terminal:
        terminal.read_until("> ")
        terminal.ask("/add ab")
        terminal.send("\n")
        terminal.read_until("\n")
        time.sleep(1.5)
        terminal.process.send_signal(signal.SIGTERM)
        shown = terminal.read_until(None)
        assert terminal.process.wait(10) == 143
    [draft] = (state_dir / "drafts").iterdir()
    assert str(draft) in shown.replace("\n", "")
    assert draft.read_text("utf-8").startswith("ab")
    assert len(draft.read_text("utf-8")) > 100


def test_a_state_folder_that_cannot_be_written_does_not_end_a_session(run_dir, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    arguments = arguments_of(run_dir, "--interactive")
    with Terminal(arguments, XDG_STATE_HOME=str(tmp_path / "file")) as terminal:
        terminal.read_until("> ")
        assert "is not kept until it is saved" in terminal.ask("ab")
        assert "saved 22 characters" in terminal.ask(f"/save {tmp_path / 'text.txt'}")
        terminal.send("/quit\n")
        assert "Traceback" not in terminal.read_until(None)
        assert terminal.process.wait(10) == 0


@pytest.mark.slow
def test_prompts_go_to_standard_error_if_the_text_goes_to_a_file(run_dir, tmp_path):
    path = tmp_path / "text.txt"
    arguments = arguments_of(run_dir, "--interactive")
    with Terminal(["bash", "-c", f'"$@" > {path}', "bash", *arguments]) as terminal:
        terminal.read_until("> ")
        terminal.ask("ROMEO:")
        terminal.send("\x04")
        terminal.read_until(None)
    assert path.read_bytes() == run(run_dir, "--prompt=ROMEO:").stdout


# Many samples in a file


def many(run_dir, path, **values):
    values = {"run_dir": str(run_dir), "seed": 1, "length": 5, "num_samples": 600, **values}
    generate.main(Options.parse(generate.groups(), {"output_path": str(path), **values}))


@pytest.mark.parametrize("format", ["text", "jsonl"])
def test_many_samples_are_written_in_batches_that_an_interruption_keeps(
    run_dir, tmp_path, monkeypatch, format
):
    many(run_dir, tmp_path / "whole", format=format)
    whole = (tmp_path / "whole").read_bytes()
    if format == "jsonl":
        numbers = [json.loads(line)["sample"] for line in whole.splitlines()]
        assert numbers == list(range(1, 601))
    append = many_samples.SampleFile.append

    def fail(file, *arguments):
        if file.num_done == 512:
            raise KeyboardInterrupt
        append(file, *arguments)

    monkeypatch.setattr(many_samples.SampleFile, "append", fail)
    with pytest.raises(KeyboardInterrupt):
        many(run_dir, tmp_path / "parts", format=format)
    assert not (tmp_path / "parts").exists()
    counted = []
    monkeypatch.setattr(
        many_samples.SampleFile,
        "append",
        lambda file, lines, between: counted.append(len(lines)) or append(file, lines, between),
    )
    many(run_dir, tmp_path / "parts", format=format, seed=-1)  # goes on with the seed
    assert counted == [600 - 512]
    assert (tmp_path / "parts").read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir() if "state" not in path.name) == [
        "parts",
        "whole",
    ]


def test_an_unfinished_file_of_other_samples_is_started_again(run_dir, tmp_path, monkeypatch):
    append = many_samples.SampleFile.append
    monkeypatch.setattr(
        many_samples.SampleFile, "append", lambda file, *rest: append(file, *rest) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        many(run_dir, tmp_path / "out")
    monkeypatch.undo()
    many(run_dir, tmp_path / "out", length=3)
    many(run_dir, tmp_path / "same", length=3)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "same").read_bytes()


def test_two_commands_do_not_write_the_same_file(run_dir, tmp_path):
    with many_samples.SampleFile.open(tmp_path / "out", {}, 1) as file:
        file.append(["A sample.\n"])
        with pytest.raises(UserError, match="expected a file that no other process writes"):
            many(run_dir, tmp_path / "out")
