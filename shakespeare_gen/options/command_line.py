"""Defines flags from option groups; startup and exit of every command.

The only importer of `absl.flags`. A command calls `run(main, *groups())`, which defines and parses
the flags and calls `main(options)`. A `UserError` ends the command with one line on standard error
and the exit code of the error; so does a failed write to standard output. Refers to no option by
name.
"""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from logging import Formatter, LogRecord, getLogger
from typing import Any

from absl import app, flags, logging

from shakespeare_gen.errors import Interrupted, UsageError, UserError
from shakespeare_gen.options import help_pages, spelling
from shakespeare_gen.options.fields import OptionGroup, Options, fields_of
from shakespeare_gen.system import storage, terminal

MAX_FLAGFILE_BYTES = 1 << 20

_DEFINE: dict[Any, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    tuple[str, ...]: flags.DEFINE_multi_string,
    tuple[int, ...]: flags.DEFINE_list,  # of strings, which the group converts
}


def run(main: Callable[[Options], None], *groups: type[OptionGroup]) -> None:
    """Defines the flags of `groups`, parses the command line and calls `main(options)`.

    The command is named after the program file, without folder and extension.
    """
    names = _define_flags(groups)
    _set_up_log(names)

    def parse(argv: list[str]) -> list[str]:
        if {"-h", "--help"} & set(argv):
            summary = sys.modules[main.__module__].__doc__ or ""
            terminal.show(help_pages.command(program(), summary, groups))
            sys.exit()
        return _parse(argv)

    with exit_codes(names):
        app.run(lambda _: main(_parsed(groups)), flags_parser=parse)


@contextlib.contextmanager
def exit_codes(names: Collection[str] = ()) -> Iterator[None]:
    """A context that turns a user-fixable error into one line and an exit code.

    Args:
      names: the options of the command.
    """
    try:
        with terminal.checked_streams():
            yield
    except UserError as error:
        keep = "\n" if error.is_multiline else ""
        _fail(spelling.as_flags(str(error), names), error.exit_code, keep)
    except Interrupted as stop:
        _fail(spelling.as_flags(str(stop), names), stop.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of the output (head, less) has closed the pipe
        pass
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{os.fsdecode(error.filename)}: {storage.reason(error)}", UserError.exit_code)
    finally:
        terminal.flush_errors()


def program() -> str:
    """The name of the running command, for messages."""
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]


def _define_flags(groups: Sequence[type[OptionGroup]]) -> set[str]:
    names: set[str] = set()
    for field in (field for group in groups for field in fields_of(group)):
        if field.name in names:  # two model families may share an option
            continue
        names.add(field.name)
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        # --helpshort of absl lists the flags of the module that it considers the program.
        _DEFINE[field.type](
            field.name, default, help_pages.help_text(field), module_name=sys.argv[0]
        )
    return names


def _set_up_log(names: Collection[str]) -> None:
    logging.get_absl_handler().setFormatter(_LogFormatter(names))
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)
    getLogger("matplotlib").setLevel("WARNING")  # it reports its font cache


class _LogFormatter(Formatter):
    """Formats log lines: options are spelled as flags, control characters are escaped."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names

    def format(self, record: LogRecord) -> str:
        # Only the message: the arguments may be generated text.
        record.msg = spelling.as_flags(str(record.msg), self._names)
        return terminal.encodable(terminal.visible(super().format(record)), sys.stderr)


def _check_flagfiles(argv: Sequence[str]) -> None:
    """absl reads a flagfile without bounds, and waits for a pipe."""
    for argument in argv[1:]:
        name, _, path = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "flagfile" and path:
            file = pathlib.Path(os.path.expanduser(path))
            try:
                storage.read_bytes(
                    file, MAX_FLAGFILE_BYTES, follow_links=True, label=f"--flagfile={path}"
                )
            except UserError as error:
                raise UsageError(str(error)) from None


def _parse(argv: list[str]) -> list[str]:
    _check_flagfiles(argv)
    try:
        rest = flags.FLAGS(argv)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UsageError(
            f"--flagfile: expected utf-8, received byte 0x{byte:02x} at {error.start}"
        ) from None
    except (flags.Error, ValueError) as error:  # ValueError: --noFLAG=value
        raise UsageError(" ".join(str(error).split())) from None
    if len(rest) > 1:
        raise UsageError(f"expected only --flags, received {rest[1]!r}")
    return rest


def _parsed(groups: Sequence[type[OptionGroup]]) -> Options:
    """The options of the command line, with defaults for the others."""
    names = {field.name for group in groups for field in fields_of(group)}
    given = {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}
    return Options.parse(groups, given)


def _fail(message: str, exit_code: int, keep: str = "") -> None:
    terminal.report_line(f"{program()}: {message}", keep)
    sys.exit(exit_code)
