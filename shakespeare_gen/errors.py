"""User-fixable errors, reported on one line.

A `UserError` carries a message for the user and the exit code of the command. Every other
exception is a bug and keeps its traceback.

A message refers to an option by its Python name, in backticks or at the start: "units: expected
at least 1, received 0; try `units=256`". Commands show these names as flags.
"""


class UserError(Exception):
    """The request cannot be carried out; the message says what to change."""

    exit_code = 1
    is_multiline = False


class UsageError(UserError):
    """An option is unknown, out of bounds or contradicts another one."""

    exit_code = 2


class OutputError(UserError):
    """Standard output is closed, full, or lacks a character."""


class NotFiniteError(UserError):
    """The training loss or a weight became NaN or infinite."""

    exit_code = 3


class WorkerLostError(UserError):
    """Another worker of a training run has ended, was stopped, or cannot be reached."""


class CorpusUnavailableError(UserError):
    """A corpus is not on this machine and cannot be downloaded."""

    exit_code = 4
    is_multiline = True  # the message lists several solutions


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended the command; the exit code is 128 plus the signal number.

    Not an `Exception`, so that `except Exception` does not catch it.
    """

    def __init__(self, signal_number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
