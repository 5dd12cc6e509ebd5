"""Where the log goes: to standard error, but in a notebook to standard output.

A notebook shows standard error in red, as if something had failed. Libraries of this package log
with absl and write progress to `stream()`. Knows nothing about the messages.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; does not import IPython."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def stream() -> TextIO:
    """The stream for progress and log lines."""
    return sys.stdout if in_notebook() else sys.stderr


def set_up_notebook() -> None:
    """In a notebook, shows the lines that commands log on standard output; otherwise nothing."""
    from absl import logging as absl_logging

    logger = absl_logging.get_absl_logger()
    if in_notebook() and not any(isinstance(h, _NotebookHandler) for h in logger.handlers):
        absl_logging.set_verbosity(absl_logging.INFO)
        logger.addHandler(_NotebookHandler())
        logger.propagate = False  # other handlers write to standard error


@contextlib.contextmanager
def errors_only(name: str) -> Iterator[None]:
    """A context in which the logger `name` drops everything but errors."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def every_error_only() -> Iterator[None]:
    """A context in which all loggers drop everything but errors, whatever their levels."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _NotebookHandler(logging.StreamHandler):
    """Writes to the current standard output: a notebook replaces it."""

    @property
    def stream(self) -> Any:
        return sys.stdout

    @stream.setter
    def stream(self, value: Any) -> None:
        del value
