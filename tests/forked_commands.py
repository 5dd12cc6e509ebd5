"""Commands in forks of one process that has imported them: each takes no start of Python."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from tests.conftest import REPOSITORY

PROGRAM = """
import importlib, json, os, sys
from shakespeare_gen.__main__ import VERBS, main

folder = sys.argv[1]  # a command changes the arguments
for verb in VERBS.values():
    importlib.import_module(verb.module)
for number, arguments in enumerate(json.load(sys.stdin)):
    if not os.fork():
        for descriptor, name in enumerate(("stdout", "stderr"), 1):
            file = os.open(f"{folder}/{number}.{name}", os.O_CREAT | os.O_WRONLY)
            os.dup2(file, descriptor)
        try:
            main(arguments)
        finally:
            with open(f"{folder}/{number}.modules", "w") as file:
                file.write(" ".join(sys.modules))
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command did."""

    arguments: list[str]
    returncode: int
    stdout: str
    stderr: str
    modules: frozenset[str]  # that it and all other commands import at their start, or it later


def run(commands, cwd=REPOSITORY) -> list[Done]:
    """Runs the commands one after the other, each a list of a verb and its flags."""
    with tempfile.TemporaryDirectory() as folder:
        codes = subprocess.run(
            [sys.executable, "-c", PROGRAM, folder],
            capture_output=True,
            check=True,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            input=json.dumps(commands),
            text=True,
        ).stdout.split()
        return [
            Done(arguments, int(code), *_files_of(pathlib.Path(folder), number))
            for number, (arguments, code) in enumerate(zip(commands, codes, strict=True))
        ]


def _files_of(folder, number):
    names = ("stdout", "stderr", "modules")
    out, err, modules = ((folder / f"{number}.{n}").read_text("utf-8") for n in names)
    return out, err, frozenset(modules.split())
