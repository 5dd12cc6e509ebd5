r"""Standard input and output of a command.

    with checked_streams():          # a failed write raises `OutputError`
        write(text)                  # a terminal shows "\x1b" instead of interpreting it
        show(report)                 # an ASCII stream receives "+-" for "±"
        report_line("seed 7")        # to standard error
        data = read_standard_input("prompt_path=-", max_bytes=2**20)

Text from other sources (a corpus, generated text, the name of a folder) may contain control
characters, which a terminal interprets: they move the cursor, change colors or set its title.
`visible` escapes them. It is applied to text that is shown to a person: by `write` if standard
output is a terminal, in every log line and in every error message. Text that goes to a file or a
pipe is data and is not changed: if its encoding lacks a character, the write fails. Reports and
messages never fail for that reason; `encodable` replaces the characters.

Knows nothing about the content, and refers to no option by name.
"""

import codecs
import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from shakespeare_gen.errors import OutputError, UserError
from shakespeare_gen.system import storage

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Replacements of equal meaning.
_PLAIN = {
    "±": "+-",
    "×": "x",
    "…": "...",
    "−": "-",
    "–": "-",
    "—": "--",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}


def visible(text: str, keep: str = "\n\t") -> str:
    r"""Replaces control characters and lone surrogates with escapes, such as `\x1b`.

    Args:
      keep: control characters that are not replaced.
    """

    def escape(match: re.Match[str]) -> str:
        code = ord(match[0])
        return match[0] if match[0] in keep else f"\\x{code:02x}" if code < 256 else f"\\u{code:x}"

    return _CONTROL.sub(escape, text)


def encodable(text: str, stream: Any) -> str:
    r"""`text` with replacements for the characters that the encoding of `stream` lacks.

    Punctuation gets plain forms of equal meaning, such as `+-` and `...`, other characters become
    escapes, such as `\xe9`.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "plain_forms").decode(encoding)


def _plain_forms(error: UnicodeError) -> tuple[str, int]:
    """Error handler of a codec: replaces the characters that it cannot encode."""
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    escaped = (c.encode("ascii", "backslashreplace").decode() for c in characters)
    pairs = zip(characters, escaped, strict=True)
    return "".join(_PLAIN.get(c, escape) for c, escape in pairs), error.end


codecs.register_error("plain_forms", _plain_forms)


def write(text: str) -> None:
    """Writes text to standard output and flushes it.

    On a terminal, control characters and characters that its encoding lacks are escaped.

    Raises:
      OutputError: the write failed, or the encoding of a file or a pipe lacks a character.
    """
    if sys.stdout.isatty():
        text = encodable(visible(text), sys.stdout)
    sys.stdout.write(text)
    sys.stdout.flush()


def show(report: str) -> None:
    """Writes a report of this package to standard output and flushes it; see `encodable`.

    Control characters are kept, because a report may be colored.
    """
    sys.stdout.write(encodable(report, sys.stdout))
    sys.stdout.flush()


def report_line(text: str, keep: str = "", end: str = "\n") -> None:
    """Writes a line to standard error and flushes it; escapes control characters.

    A line that cannot be written is lost: the exit code still reports an error.

    Args:
      keep: control characters that are not escaped.
      end: written after the line.
    """
    with contextlib.suppress(OSError):
        sys.stderr.write(encodable(visible(text, keep), sys.stderr) + end)
        sys.stderr.flush()


def decoded(data: bytes, label: str) -> str:
    """The text of UTF-8 input, without a byte order mark and with `\\n` as the line end.

    Raises:
      UserError: `data` is not UTF-8.
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{label}: expected utf-8, received byte 0x{data[error.start]:02x} at {error.start}"
        ) from None


def read_standard_input(label: str, max_bytes: int, one_line: bool = False) -> bytes:
    """Reads standard input to its end, or one line with its line end.

    Raises:
      UserError: it cannot be read, or exceeds `max_bytes`.
    """
    if sys.stdin is None:
        raise UserError(f"{label}: cannot read standard input: it is closed")
    stream = sys.stdin.buffer
    try:
        data = (stream.readline if one_line else stream.read)(max_bytes + 1)
    except OSError as error:
        raise UserError(f"{label}: cannot read standard input: {storage.reason(error)}") from None
    if len(data) > max_bytes:
        raise UserError(f"{label}: expected at most {max_bytes:,} bytes, received more")
    return data


@contextlib.contextmanager
def checked_streams() -> Iterator[None]:
    """A context in which the first failed write raises `OutputError`; later output is dropped.

    Closed standard streams are opened on the null device, so that no other file gets their
    descriptors. Lines that cannot be written to standard error are lost.
    """
    output = _CheckedOutput(sys.stdout)
    _open_closed_descriptors()
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    before, sys.stdout = sys.stdout, output  # type: ignore[assignment]
    try:
        yield
    except SystemExit:
        output.flush()
        raise
    except BaseException:
        with contextlib.suppress(OutputError, OSError):  # the first failure is the one to report
            output.flush()
        raise
    else:
        output.flush()
    finally:
        sys.stdout = before


def flush_errors() -> None:
    """Flushes standard error; drops what cannot be written."""
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


class _CheckedOutput:
    """Wraps standard output and raises failures as user-fixable errors; None: it is closed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if self._stream is None:
            raise OutputError("cannot write to standard output: it is closed")
        with self._reported():
            return self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            with self._reported():
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # the reader (head, less) has closed the pipe
            _discard(self._stream)
            raise
        except OSError as error:
            _discard(self._stream)
            raise OutputError(f"cannot write to standard output: {storage.reason(error)}") from None
        except UnicodeEncodeError as error:
            raise OutputError(
                f"cannot write to standard output: its encoding {error.encoding} has no "
                f"{error.object[error.start]!a}; PYTHONIOENCODING=utf-8 sets another one"
            ) from None


def _open_closed_descriptors() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def _discard(stream: Any) -> None:
    """Redirects a stream to the null device, because Python flushes it again at exit."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
