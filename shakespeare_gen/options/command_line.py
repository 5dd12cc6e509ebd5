"""Dataclasses to absl flags and back; how every command starts and ends.

The only import of `absl.flags`. A command is `cli.run(main, *groups)`: flags
are made from the option groups, parsed, checked, and `main(*configs)` runs.
A `UserError` ends the command with one line on standard error and the error's
exit code. This module knows no option by name.
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from shakespeare_gen.errors import Interrupted, UsageError, UserError
from shakespeare_gen.options import fields

_DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    tuple[str, ...]: flags.DEFINE_multi_string,
}


def run(main: Callable[..., None], *groups: type[fields.OptionGroup]) -> None:
    """Defines the flags of `groups`, parses the command line and calls `main(*configs)`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _define_flags(groups)
    try:
        app.run(lambda _: main(*_build(groups)), flags_parser=_parse)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except Interrupted as stop:
        _fail(str(stop), stop.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explicit_options(*groups: type[fields.OptionGroup]) -> dict[str, object]:
    """The options of `groups` that were given on the command line or in a flagfile."""
    names = (field.name for group in groups for field in dataclasses.fields(group))  # type: ignore
    return {name: _value(flags.FLAGS[name]) for name in names if flags.FLAGS[name].present}


def _define_flags(groups: Sequence[type[fields.OptionGroup]]) -> None:
    for group in groups:
        for field in dataclasses.fields(group):  # type: ignore[arg-type]
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            help_text = field.metadata["help"]
            if field.metadata["choices"]:
                help_text += ": " + ", ".join(field.metadata["choices"])
            # absl shows in --help the flags of the module it takes for the program.
            _DEFINE[field.type](field.name, default, help_text, module_name=sys.argv[0])  # type: ignore


def _parse(argv: list[str]) -> list[str]:
    logging.get_absl_handler().setFormatter(None)
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        raise UsageError(" ".join(str(error).split())) from None
    if len(rest) > 1:
        raise UsageError(f"expected only --flags, received {rest[1]!r}")
    return rest


def _value(flag: flags.Flag) -> object:
    return tuple(flag.value) if isinstance(flag.value, list) else flag.value


def _build(groups: Sequence[type[fields.OptionGroup]]) -> list[fields.OptionGroup]:
    names = [f.name for group in groups for f in dataclasses.fields(group)]  # type: ignore
    options = {name: _value(flags.FLAGS[name]) for name in names}
    return fields.from_options(tuple(groups), options)


def _fail(message: str, exit_code: int) -> None:
    command = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    print(f"{command}: {message}", file=sys.stderr)
    sys.exit(exit_code)
