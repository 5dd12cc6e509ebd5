"""Generates the flag tables of docs/flags.md from the code; run by `make docs`."""

import importlib
import pathlib

from shakespeare_gen.__main__ import VERBS
from shakespeare_gen.options import tables

PAGE = pathlib.Path(__file__).parent / "flags.md"


def updated(text: str) -> str:
    """`text` with all its flag tables regenerated."""
    modules = {name: importlib.import_module(verb.module) for name, verb in VERBS.items()}
    return tables.updated(text, {name: module.groups() for name, module in modules.items()})


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
