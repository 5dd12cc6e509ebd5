"""Sections of a page in Markdown, each written by a benchmark of its own.

    write(path, "## Memory", "`python benchmarks/serve_memory.py`: …")

The empty heading is the beginning of a page. Knows nothing about what is measured.
"""

import pathlib
import re


def write(path: pathlib.Path, heading: str, text: str) -> None:
    """Replaces a section of a page, or adds it at the end; the others stay."""
    page = path.read_text("utf-8") if path.exists() else ""
    beginning, *parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    sections = {"": beginning, **{part.partition("\n")[0]: part for part in parts}}
    sections[heading] = f"{heading}\n\n{text}" if heading else text
    path.write_text("\n\n".join(part.strip() for part in sections.values()) + "\n", "utf-8")
