"""Failing output and input of commands, and text with control characters.

The tests run a small command of their own, so that none of them imports TensorFlow.
"""

import io
import os
import pty
import subprocess
import sys

import pytest

from shakespeare_gen.system import terminal
from tests.conftest import REPOSITORY

COMMAND = r'''
"""Repeats a text."""

import pathlib

from absl import logging

from shakespeare_gen.errors import UserError
from shakespeare_gen.options import OptionGroup, command_line, option
from shakespeare_gen.system import storage, terminal


class EchoOptions(OptionGroup):
    TITLE = "Echo"
    text: str = option("", "text to write")
    text_path: str = option("", "file to write; -: standard input")
    run_dir: str = option("", "folder that must exist")
    times: int = option(1, "number of repetitions", minimum=0)
    log: bool = option(False, "log the text, too")
    show: bool = option(False, "show the text as a report, too")
    newline: bool = option(True, "end each repetition with a line break")


def main(options):
    echo = options[EchoOptions]
    if echo.log:
        logging.info("`times`: %s", echo.text)
    if echo.show:
        terminal.show(echo.text)
    if echo.run_dir and not pathlib.Path(echo.run_dir).exists():
        raise UserError(f"run_dir={echo.run_dir}: expected a folder")
    if echo.text_path:
        if echo.text_path == "-":
            data = terminal.read_standard_input("text_path=-", 64 * 2**20)
        else:
            path = pathlib.Path(echo.text_path)
            data = storage.read_bytes(path, 2**26, label=f"text_path={path}")
        terminal.write(data.decode())
    for _ in range(echo.times):
        print(echo.text, end="\n" if echo.newline else "")


if __name__ == "__main__":
    command_line.run(main, EchoOptions)
'''


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    path = tmp_path_factory.mktemp("command") / "echo.py"
    path.write_text(COMMAND, encoding="utf-8")
    return path


@pytest.fixture
def run(command):
    """Runs the command in a shell, with redirections such as "> /dev/full"."""

    def run(*arguments, redirect="", program=command, **options):
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **options.pop("env", {})}
        return subprocess.run(
            ["bash", "-c", f'"$@" {redirect}', "bash", sys.executable, program, *arguments],
            capture_output=True,
            check=False,
            env=environment,
            timeout=60,
            **options,
        )

    return run


def assert_one_line(done, message, code=1):
    assert done.returncode == code, done.stderr
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"echo: {message}"), lines


def run_on_terminal(command, *arguments):
    """The standard output and error that a terminal receives from the command."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        os.close(slave)
        received = b""
        try:
            while data := os.read(master, 4096):
                received += data
        except OSError:  # Linux reports the end of a terminal without writers in this way
            pass
        os.close(master)
    return process.returncode, received.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x07\r", r"\x1b[31mred\x07\x0d"),
        ("\x9b2J\x7f\0", r"\x9b2J\x7f\x00"),
        ("naïve 漢字 🙂 \u200f", "naïve 漢字 🙂 \u200f"),
        ("\udcff", r"\udcff"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert terminal.visible(text) == shown


def test_a_terminal_does_not_receive_escape_sequences(command, tmp_path):
    """Generated text could clear the screen or set the title of the window."""
    path = tmp_path / "text.txt"
    path.write_bytes(b"\x1b[2Jred\n")
    assert run_on_terminal(command, f"--text_path={path}", "--times=0") == (0, b"\\x1b[2Jred\n")


def test_a_file_receives_the_text_unchanged(run, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\x1b[2Jred\n")
    assert run(f"--text_path={path}", "--times=0").stdout == b"\x1b[2Jred\n"


def test_messages_and_log_lines_have_no_escape_sequences(run):
    done = run("--run_dir=/\x1b[31m")
    assert_one_line(done, r"--run_dir=/\x1b[31m: expected a folder")
    done = run("--log", "--text=`times`\x1b[31m")
    assert done.stderr == b"--times: `times`\\x1b[31m\n"


def test_a_full_disk_is_reported_on_one_line(run):
    for text in ("short", "long" * 10_000):
        done = run(f"--text={text}", redirect="> /dev/full")
        assert_one_line(done, "cannot write to standard output: No space left on device")
    assert_one_line(run("--help", redirect="> /dev/full"), "cannot write to standard output")


def test_a_full_disk_does_not_hide_an_earlier_error(run):
    """Output fails only when it is flushed at the end; the first error is the one to report."""
    done = run("--text_path=/nowhere", "--text=x", redirect="> /dev/full")
    assert_one_line(done, "--text_path=/nowhere: cannot be read: No such file or directory")


def test_an_encoding_without_the_character_is_reported_on_one_line(run):
    done = run("--text=caf\xe9", env={"PYTHONIOENCODING": "ascii"})
    assert_one_line(done, "cannot write to standard output: its encoding ascii has no '\\xe9'; PY")


def test_reports_and_messages_have_plain_forms_in_other_encodings(run):
    """`±` and `…` in a table once ended the command."""
    text = "0.5 ± 0.1 … “caf\xe9” 漢"
    plain = rb"""0.5 +- 0.1 ... "caf\xe9" \u6f22"""
    ascii = {"PYTHONIOENCODING": "ascii"}
    assert run(f"--text={text}", "--show", "--times=0", env=ascii).stdout == plain
    done = run(f"--text={text}", "--log", "--times=0", env=ascii)
    assert done.stderr == b"--times: " + plain + b"\n"
    done = run(f"--run_dir=/{text}", env=ascii)
    assert_one_line(done, f"--run_dir=/{plain.decode()}: expected a folder")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("latin-1", 'café ± ... "\\u6f22"'),
        ("utf-8", "café ± … “漢”"),
        ("cp1252", "café ± … “\\u6f22”"),
    ],
)
def test_a_report_keeps_the_characters_that_its_encoding_has(encoding, shown):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    assert terminal.encodable("café ± … “漢”", stream) == shown


def test_a_closed_pipe_is_not_an_error(run):
    done = run("--text=line", "--times=100000", redirect="| head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"line\n", b"")


@pytest.mark.parametrize("redirect", ["<&-", "2>&-", "<&- 2>&-", "2> /dev/full"])
def test_streams_that_are_not_needed_may_be_closed(run, redirect):
    done = run("--text=line", "--log", redirect=redirect)
    assert (done.returncode, done.stdout) == (0, b"line\n")


def test_a_closed_output_is_reported_on_one_line_if_there_is_output(run):
    """Python writes to a closed standard output without an error: text was once lost silently."""
    done = run("--text=line", redirect=">&-")
    assert_one_line(done, "cannot write to standard output: it is closed")
    assert run("--times=0", redirect=">&-").returncode == 0


@pytest.mark.parametrize("redirect", ["2>&-", "2> /dev/full", ">&- 2>&-"])
def test_an_error_without_a_place_to_report_it_keeps_its_exit_code(run, redirect):
    assert run("--times=-1", redirect=redirect).returncode == 2
    assert run("--run_dir=/nowhere", redirect=redirect).returncode == 1


def test_a_closed_descriptor_is_not_given_to_another_file(run, tmp_path):
    """The next opened file once became standard output, and text was written to it."""
    program = tmp_path / "echo.py"
    program.write_text(
        "import os, sys\n"
        "from shakespeare_gen.options import command_line\n"
        "def main(options):\n"
        "    sys.exit(os.open(os.devnull, os.O_RDONLY))\n"
        "command_line.run(main)\n",
        encoding="utf-8",
    )
    assert run(program=program, redirect="<&- >&- 2>&-").returncode > 2


def test_standard_input_is_read(run):
    assert run("--text_path=-", "--times=0", input=b"abc").stdout == b"abc"


def test_a_closed_standard_input_is_reported_on_one_line(run):
    done = run("--text_path=-", redirect="<&-")
    assert_one_line(done, "--text_path=-: cannot read standard input: it is closed")


def test_endless_input_is_rejected(run):
    """`--prompt_path=/dev/zero` was once read until memory was full."""
    done = run("--text_path=-", redirect="< /dev/zero")
    assert_one_line(done, "--text_path=-: expected at most 67,108,864 bytes, received more")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nolog=3"], "--nolog=3 does not take an argument"),
        (["--notimes=3"], "unknown flag --notimes; did you mean --times?"),
        (["--run_dir=a\udcff"], r"--run_dir: expected utf-8, received 'a\udcff'"),
        (["--\udcff"], r"unknown flag --\udcff; --help lists the flags"),
        (["--times=\udcff"], r"--times: expected an integer, received '\udcff'"),
        (["--flagfile=/nowhere"], "--flagfile=/nowhere: expected a file or a recipe; "),
    ],
)
def test_malformed_flags_are_reported_on_one_line(run, arguments, message):
    """A value for --noFLAG and bytes that are not UTF-8 once ended in a traceback."""
    assert_one_line(run(*arguments), message, code=2)


def test_a_flagfile_that_is_not_utf_8_is_reported_on_one_line(run, tmp_path):
    (tmp_path / "latin.cfg").write_bytes("--text=caf\xe9\n".encode("latin-1"))
    flag = f"--flagfile={tmp_path / 'latin.cfg'}"
    assert_one_line(run(flag), f"{flag}: expected utf-8, received byte 0xe9 at 10", code=2)


def test_a_path_that_the_system_rejects_is_reported_on_one_line(run):
    done = run(f"--run_dir={'x' * 300}/run")
    assert_one_line(done, f"{'x' * 300}/run: File name too long")


def test_an_unreadable_parent_folder_is_reported_on_one_line(run, tmp_path):
    """Testing whether a path exists fails if its parent may not be searched."""
    closed = tmp_path / "closed"
    closed.mkdir()
    program = tmp_path / "echo.py"
    # Root may read every folder, so the command continues as another user.
    program.write_text(
        COMMAND.replace(
            "    command_line.run(",
            "    import os\n    os.geteuid() == 0 and os.seteuid(65534)\n    command_line.run(",
        ),
        encoding="utf-8",
    )
    closed.chmod(0)
    try:
        done = run(f"--run_dir={closed / 'run'}", program=program)
    finally:
        closed.chmod(0o700)
    assert_one_line(done, f"{closed / 'run'}: Permission denied")


def test_the_help_page_lists_every_option(run):
    done = run("--help")
    assert done.returncode == 0
    page = done.stdout.decode()
    assert page.startswith("usage: echo [--flagfile=FILE]")
    for part in ("Repeats a text.", "Echo:", "--times=1", "number of repetitions", "--[no]newline"):
        assert part in page
