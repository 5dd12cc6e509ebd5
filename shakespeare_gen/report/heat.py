"""The colors that stand for the loss of a token: one for each whole number of bits."""

import functools
import re

from shakespeare_gen.report import templates

MAX_LEVEL = 8  # bits; more have the same color
NO_COLOR = "#fffefb"  # the ground of a box of the page


def level(bits: float) -> int:
    """The number of the color of a loss, from 0 to `MAX_LEVEL`."""
    return min(max(int(bits), 0), MAX_LEVEL)


@functools.cache
def colors() -> list[str]:
    """The colors of all levels: those of the evaluation page on a light ground."""
    found = re.findall(r"--h\d: (#\w+)", templates.source("page.css"))
    return [NO_COLOR, *found[:MAX_LEVEL]]
