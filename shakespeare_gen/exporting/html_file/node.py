"""Runs the script of a page in Node, where that is installed.

node.run(path, [{"method": "complete", "values": {"request": {"prompt": "ROMEO:"}}}])
"""

import dataclasses
import json
import pathlib
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from shakespeare_gen.errors import UserError

MAX_SECONDS = 600
_PROGRAM = pathlib.Path(__file__).parent / "run_page.mjs"


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a page answered.

    Attributes:
      runtime: what computed it, with its version.
      answers: `result`, `text` and `seconds` for each request; arrays are in base64.
    """

    runtime: str
    answers: list[dict[str, Any]]


def find() -> str | None:
    """The path of Node; None if it is not installed."""
    return shutil.which("node")


def run(path: pathlib.Path, requests: Sequence[dict[str, Any]], is_plain: bool = False) -> Answers:
    """The answers of the worker of a page.

    Args:
      requests: the `method` and `values` of each; see `engine/worker.js`.
      is_plain: computes without WebAssembly.

    Raises:
      UserError: Node or the page failed.
    """
    node = find()
    assert node is not None
    arguments = [node, str(_PROGRAM), str(path), *(["plain"] if is_plain else [])]
    try:
        done = subprocess.run(
            arguments,
            input=json.dumps(requests),
            capture_output=True,
            text=True,
            timeout=MAX_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"expected answers of the page within {MAX_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())[-300:]
        raise UserError(f"the page cannot be run in Node: {said}") from None
    loaded, *answers = json.loads(done.stdout)
    version = subprocess.run([node, "-v"], capture_output=True, text=True).stdout.strip()
    return Answers(f"Node {version}, {loaded['result']['kernel']}", answers)
