"""A session at a terminal or in a pipe: only text goes to standard output.

    run(Session(generator, settings))

At a terminal, errors are shown and the session goes on. In a pipe, the first error ends it, with
the number of the line: what follows would work on another text than intended. Knows nothing about
models and about single commands.
"""

import signal
from collections.abc import Callable

from shakespeare_gen.errors import Interrupted, OutputError, UserError
from shakespeare_gen.options import spelling
from shakespeare_gen.options.groups import GenerationOptions
from shakespeare_gen.system import terminal
from shakespeare_gen.system.signals import Interruption
from shakespeare_gen.writing import drafts, lines
from shakespeare_gen.writing.commands import Commands, Reply
from shakespeare_gen.writing.drafts import Draft
from shakespeare_gen.writing.lines import Lines
from shakespeare_gen.writing.session import Session

GREETING = "Type a line for the model to continue; /help lists the commands, Ctrl-D ends."
NOTHING = "no text: a stop string or the end of the document comes first"


def run(session: Session) -> None:
    """Reads lines from standard input until they end, and carries them out.

    Raises:
      UserError: standard output failed; or, in a pipe, a line cannot be carried out.
      Interrupted: SIGTERM; or, in a pipe, Ctrl-C.
    """
    with lines.standard_input() as source:
        (_Terminal if source.is_terminal else _Pipe)(session, source).run()


class _Pipe:
    """Carries out the lines of a program."""

    def __init__(self, session: Session, source: Lines) -> None:
        self._session = session
        self._commands = Commands(session)
        self._source = source

    def run(self) -> None:
        """Carries out all lines."""
        while self._next():
            pass

    def _next(self) -> bool:
        """Carries out one line; returns whether others may follow."""
        try:
            line = self._source.read()
            return line is not None and self._answer(line)
        except OutputError:
            raise
        except UserError as error:
            self._reject(error)
            return True

    def _reject(self, error: UserError) -> None:
        message = spelling.as_names(str(error))
        raise type(error)(f"line {self._source.number}: {message}") from None

    def _answer(self, line: str) -> bool:
        # Deferred: a signal that Python raises within a destructor would be lost.
        with Interruption() as interruption, interruption.deferred():
            reply = self._commands.run(line, interruption.check)
            self._show(reply, interruption.check)
        if reply.message:
            terminal.report_line(reply.message, keep="\n")
        return not reply.ends

    def _show(self, reply: Reply, check: Callable[[], None]) -> None:
        terminal.write(reply.text)
        last = reply.text
        try:
            for last in reply.pieces or ():
                terminal.write(last)
                self._keep()
                check()
        except Interrupted:
            _end_line(last)
            raise
        _end_line(last)
        has_length = self._session.settings[GenerationOptions].length != 0
        if reply.pieces and last is reply.text and has_length:
            terminal.report_line(NOTHING)

    def _keep(self) -> None:
        """Called while the model writes."""


class _Terminal(_Pipe):
    """Carries out the lines of a person: an error or Ctrl-C does not end the session."""

    def __init__(self, session: Session, source: Lines) -> None:
        super().__init__(session, source)
        self._draft: Draft | None = Draft()

    def run(self) -> None:
        """Carries out all lines."""
        earlier = drafts.newest()
        if earlier:
            terminal.report_line(f"Text of an earlier session: /load {earlier}")
        if self._session.text:
            terminal.report_line(f"The text has {len(self._session.text):,} characters.")
        terminal.report_line(GREETING)
        try:
            super().run()
        finally:
            self._close()

    def _next(self) -> bool:
        try:
            return super()._next()
        except KeyboardInterrupt as stop:
            if isinstance(stop, Interrupted) and stop.signal_number != signal.SIGINT:
                raise
            terminal.report_line("stopped; the text so far is kept")
        finally:
            self._keep(now=True)
        return True

    def _reject(self, error: UserError) -> None:
        terminal.report_line(spelling.as_names(str(error)))

    def _keep(self, now: bool = False) -> None:
        if self._draft and (now or self._draft.is_due):
            try:
                self._draft.keep(self._session.text)
            except UserError as error:
                terminal.report_line(f"the text is not kept until it is saved: {error}")
                self._draft = None

    def _close(self) -> None:
        text = self._session.text
        if self._draft is None or self._draft.path is None:
            return
        if text in ("", self._commands.saved):
            self._draft.remove()
        else:
            terminal.report_line(f"The text is not saved; it is kept in {self._draft.path}")


def _end_line(text: str) -> None:
    if text and not text.endswith("\n"):
        terminal.write("\n")
