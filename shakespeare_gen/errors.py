"""Mistakes a person can mend, told in one line.

A `UserError` carries a message for a reader and the exit code of the command;
`cli.run` prints the one and returns the other, without a traceback. Every
other exception is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Something the user asked for can't be done; the message says the way out."""

    exit_code = 1


class UsageError(UserError):
    """A flag is unknown, out of bounds or contradicts another."""

    exit_code = 2


class NotFiniteError(UserError):
    """The training loss became NaN or infinite."""

    exit_code = 3


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended the command; the exit code is the one a shell gives that signal.

    No `Exception`, so that nobody's `except Exception` takes it.
    """

    def __init__(self, signal_number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class CorpusUnavailableError(UserError):
    """A corpus is not on this machine and can't be fetched now."""

    exit_code = 4
