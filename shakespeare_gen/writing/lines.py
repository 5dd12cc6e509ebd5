"""Lines that a person types at a terminal, or that a program sends through a pipe.

    with lines.standard_input() as source:
        while (line := source.read()) is not None: ...

At a terminal, Python's `readline` edits the line and keeps a history in the user's state folder.
Prompts go to standard error, or to the terminal itself. Knows nothing about the meaning of a line.
"""

import contextlib
import sys
from typing import Protocol, Self

from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage, terminal, user_state

PROMPT = "> "
MAX_LINE_BYTES = 2**20
MAX_HISTORY_LINES = 1000
HINT = "Ctrl-D or /quit ends the session"


class Lines(Protocol):
    """A source of lines; a context.

    Attributes:
      is_terminal: whether a person types them.
      number: of the line that was read last, from 1.
    """

    is_terminal: bool
    number: int

    def __enter__(self) -> Self: ...

    def __exit__(self, *_) -> None: ...

    def read(self) -> str | None:
        """The next line without its line end; None at the end.

        Raises:
          UserError: the input is not UTF-8, or a line is too long.
        """


def standard_input() -> Lines:
    """The lines of standard input.

    Raises:
      UserError: it is closed.
    """
    if sys.stdin is None:
        raise UserError("cannot read standard input: it is closed")
    return TypedLines() if sys.stdin.isatty() else PipedLines()


class PipedLines:
    """Lines of a pipe or a file."""

    is_terminal = False
    number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        pass

    def read(self) -> str | None:
        """See `Lines`."""
        self.number += 1
        return _read_line()


class TypedLines:
    """Lines that a person types, with editing and a history if `readline` is available."""

    is_terminal = True
    number = 0

    def __enter__(self) -> Self:
        with contextlib.suppress(UserError):  # without a history, lines can still be edited
            _load_history()
        return self

    def __exit__(self, *_) -> None:
        try:
            _save_history()
        except UserError as error:
            terminal.report_line(str(error))

    def read(self) -> str | None:
        """See `Lines`. Ctrl-C drops the line, Ctrl-D ends."""
        self.number += 1
        while True:
            try:
                line = self._prompted()
            except KeyboardInterrupt:
                terminal.report_line(f"\n{HINT}", keep="\n")
                continue
            if line is None:
                terminal.report_line("")
            return line

    def _prompted(self) -> str | None:
        if sys.stdout.isatty():  # only then does `input` edit the line
            try:
                return input(PROMPT)
            except EOFError:
                return None
            except UnicodeDecodeError:
                raise UserError("text: expected utf-8, received other bytes") from None
        terminal.report_line(PROMPT, end="")
        return _read_line()


def _read_line() -> str | None:
    data = terminal.read_standard_input("text", MAX_LINE_BYTES, one_line=True)
    return terminal.decoded(data, "text").removesuffix("\n") if data else None


def _load_history() -> None:
    try:
        import readline
    except ImportError:  # Windows
        return
    readline.clear_history()
    path = user_state.folder() / "history"
    if path.exists():
        text = storage.read_bytes(path, MAX_LINE_BYTES * 64).decode("utf-8", "replace")
        for line in text.rstrip("\n").split("\n")[-MAX_HISTORY_LINES:]:
            readline.add_history(line)


def _save_history() -> None:
    readline = sys.modules.get("readline")
    if readline is None:
        return
    num_items = readline.get_current_history_length()
    first = max(num_items - MAX_HISTORY_LINES, 0)
    items = (readline.get_history_item(i + 1) for i in range(first, num_items))
    text = "".join(f"{item}\n" for item in items if item)
    if text:
        user_state.write(user_state.folder() / "history", text)
