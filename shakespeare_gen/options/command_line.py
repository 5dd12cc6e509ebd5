"""Defines flags from option groups; startup and exit of every command.

The only importer of `absl.flags`. A command calls `run(main, *groups())`, which defines and parses
the flags and calls `main(options)`, or shows the help page or the version. A `UserError` ends the
command with one line on standard error and the exit code of the error; so does a failed write to
standard output. Refers to no option by name.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from logging import Formatter, LogRecord
from typing import Any

from absl import app, flags, logging

from shakespeare_gen import __version__
from shakespeare_gen.errors import Interrupted, UsageError, UserError
from shakespeare_gen.options import help_pages, recipes, spelling
from shakespeare_gen.options.fields import OptionGroup, Options, fields_by_name
from shakespeare_gen.system import storage, terminal

VERSION = f"shakespeare_gen {__version__}\n"
_HELP = {"-h", "-help", "--help"}
_FULL_HELP = {"-helpfull", "--helpfull", "-helpshort", "--helpshort"}

_DEFINE: dict[Any, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    tuple[str, ...]: flags.DEFINE_multi_string,
    tuple[int, ...]: flags.DEFINE_list,  # of strings, which the group converts
}
_EXPECTED: dict[Any, str] = {bool: "true or false", int: "an integer", float: "a number"}


def run(main: Callable[[Options], None], *groups: type[OptionGroup]) -> None:
    """Defines the flags of `groups`, parses the command line and calls `main(options)`.

    The command is named after the program file, without folder and extension.
    """
    names = _define_flags(groups)
    _set_up_log(names)

    def parse(argv: list[str]) -> list[str]:
        if page := _requested_page(main, groups, {*argv[1:]}):
            terminal.show(page)
            sys.exit()
        return _parse(argv, groups)

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
    fields = fields_by_name(groups)
    for name, field in fields.items():
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        _DEFINE[field.type](name, default, help_pages.help_text(field))
    return set(fields)


def _requested_page(main: Callable, groups: Sequence[type[OptionGroup]], argv: set[str]) -> str:
    """The help page or the version, if one is requested; else ""."""
    if argv & {"-version", "--version"}:
        return VERSION
    if not argv & (_HELP | _FULL_HELP):
        return ""
    page = help_pages.command(program(), sys.modules[main.__module__].__doc__ or "", groups)
    if argv & _FULL_HELP:
        names = sorted(set(flags.FLAGS) - fields_by_name(groups).keys())
        others = (flags.FLAGS[name] for name in names)
        entries = [help_pages.entry(f.name, f.default, f.help or "") for f in others]
        page += help_pages.other_flags("Flags of absl", dict.fromkeys(entries))
    return page


def _set_up_log(names: Collection[str]) -> None:
    logging.get_absl_handler().setFormatter(_LogFormatter(names))
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)


class _LogFormatter(Formatter):
    """Formats log lines: options are spelled as flags, control characters are escaped."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names

    def format(self, record: LogRecord) -> str:
        # Only the message: the arguments may be generated text.
        record.msg = spelling.as_flags(str(record.msg), self._names)
        return terminal.encodable(terminal.visible(super().format(record)), sys.stderr)


def _parse(argv: list[str], groups: Sequence[type[OptionGroup]]) -> list[str]:
    try:
        rest = flags.FLAGS([argv[0], *recipes.expanded(argv[1:])])
    except flags.UnrecognizedFlagError as error:
        raise UsageError(_unknown_flag(error.flagname, groups)) from None
    except flags.IllegalFlagValueError as error:
        raise UsageError(_illegal_value(error, groups)) from None
    except (flags.Error, ValueError) as error:  # ValueError: --noFLAG=value
        raise UsageError(" ".join(str(error).split())) from None
    if len(rest) > 1:
        raise UsageError(
            f"expected only --flags, received {rest[1]!r}; a value follows its flag and =, in "
            "quotes if it contains spaces"
        )
    return rest


def _unknown_flag(name: str, groups: Sequence[type[OptionGroup]]) -> str:
    fields = fields_by_name(groups)
    names = [*fields, *(f"no{name}" for name, field in fields.items() if field.type is bool)]
    hint = spelling.did_you_mean(name, names) or "--help lists the flags"
    return f"unknown flag --{name}; {hint}"


def _illegal_value(error: Exception, groups: Sequence[type[OptionGroup]]) -> str:
    """absl's "flag --NAME=VALUE: CAUSE", in the words of this package."""
    message = str(error)
    match = re.match(r"flag --(\w+)=", message)
    field = fields_by_name(groups).get(match[1]) if match else None
    if match is None or field is None:
        return " ".join(message.split())
    value = message[match.end() :].removesuffix(f": {error.__context__}")
    return f"{field.name}: expected {_EXPECTED[field.type]}, received {value!r}"


def _parsed(groups: Sequence[type[OptionGroup]]) -> Options:
    """The options of the command line, with defaults for the others."""
    given = {n: flags.FLAGS[n].value for n in fields_by_name(groups) if flags.FLAGS[n].present}
    return Options.parse(groups, given)


def _fail(message: str, exit_code: int, keep: str = "") -> None:
    terminal.report_line(f"{program()}: {message}", keep)
    sys.exit(exit_code)
