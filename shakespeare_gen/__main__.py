"""The console script `shakespeare-gen VERB`, and the list of verbs.

    shakespeare-gen train --flagfile=flags/quick.cfg
    python -m shakespeare_gen train --flagfile=flags/quick.cfg

A command is a module with `groups()`, which returns its option groups, and `main(options)`. One
line in `VERBS` registers it. Knows nothing about options, and imports only the
requested command.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options import command_line
from shakespeare_gen.system import terminal


class Verb(NamedTuple):
    """A command: a one-line summary and its module."""

    summary: str
    module: str


VERBS = {
    "train": Verb("train a model on a text", "shakespeare_gen.train"),
    "generate": Verb("generate text with a trained model", "shakespeare_gen.generate"),
    "serve": Verb("serve a model: a page to write with, and an API", "shakespeare_gen.serve"),
    "evaluate": Verb("score a model on held-out text", "shakespeare_gen.evaluate"),
    "export": Verb("write a model in the format of other programs", "shakespeare_gen.export"),
    "tune": Verb("search for the best options of training", "shakespeare_gen.tune"),
    "compare": Verb("compare several runs", "shakespeare_gen.compare"),
    "prepare": Verb("tokenize a text once, as arrays to train on", "shakespeare_gen.prepare"),
    "describe": Verb("describe a text before training on it", "shakespeare_gen.describe"),
    "numpy_rnn": Verb("train a character RNN from scratch in NumPy", "shakespeare_gen.numpy_rnn"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command named by the first argument; without arguments, lists the commands.

    Args:
      arguments: the verb and its flags; None: the arguments of the process.
    """
    verb, *flags = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    sys.argv = ["shakespeare-gen"]
    with command_line.exit_codes():
        if verb in ("--help", "-h", "help", "--helpfull", "--helpshort", "--version"):
            terminal.show(command_line.VERSION if verb == "--version" else help_page())
            return
        if verb not in VERBS:
            raise UsageError(f"unknown command {verb!r}; known: {', '.join(VERBS)}")
    sys.argv = [verb, *flags]
    command = importlib.import_module(VERBS[verb].module)
    command_line.run(command.main, *command.groups())


def help_page() -> str:
    """The list of commands."""
    width = max(map(len, VERBS))
    lines = [f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: shakespeare-gen COMMAND [--flagfile=FILE] [--flag=value ...]",
            "",
            *lines,
            "",
            "shakespeare-gen COMMAND --help lists the flags of a command.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
