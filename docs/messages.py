"""The messages that users can meet, and those that docs/troubleshooting.md explains.

    python -m docs.messages        # lists messages without an entry, and entries without a message

Messages are collected from the code: the errors of `shakespeare_gen.errors`, those of requests, and
warnings. `…` stands for what differs from case to case. An entry of the page is the first cell of a
table row, in backticks; its `…` stand for any text. A message that only passes on another one has
no text of its own and is left out.
"""

import ast
import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterable, Iterator

from shakespeare_gen import errors
from shakespeare_gen.serving.failures import RequestError

REPOSITORY = pathlib.Path(__file__).parent.parent
PACKAGE = REPOSITORY / "shakespeare_gen"
PAGE = REPOSITORY / "docs" / "troubleshooting.md"
ANY = "…"
MIN_LETTERS = 8  # of the fixed text of a message
MIN_OWN_LETTERS = 4  # of that of an entry, without the words of all messages
# Functions whose argument is a message, and its position.
CALLS = {"warning": 0, "invalid": 0, RequestError.__name__: 1} | {
    name: int(name == "Interrupted")
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of the code: where it is, and its text with `…` for what differs."""

    place: str
    text: str


Values = dict[str, list[ast.expr]]
_COMMON = re.compile(r"expected|received|found")


def collected() -> list[Message]:
    """All messages of the package with a text of their own."""
    found = {
        path: list(ast.walk(ast.parse(path.read_text("utf-8"))))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    returned = _returned(node for nodes in found.values() for node in nodes)
    return [
        Message(f"{path.relative_to(REPOSITORY)}:{node.lineno}", text)
        for path, nodes in found.items()
        for assigned in (_assigned(nodes),)
        for node in nodes
        if isinstance(node, ast.Call)
        for text in _texts(node, assigned, returned)
        if num_letters(text) >= MIN_LETTERS
    ]


def entries(page: str) -> list[str]:
    """The messages that a page explains, with `…` for any text."""
    cells = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    return [entry for cell in cells for entry in re.findall(r"`([^`]+)`", cell)]


def explains(entry: str, message: str) -> bool:
    """Whether an entry is about a message; one with little text of its own has to be equal."""
    return bool(_pattern(entry).fullmatch(message.replace("`", "")))


@functools.cache
def _pattern(entry: str) -> re.Pattern[str]:
    if num_letters(_COMMON.sub("", entry)) < MIN_OWN_LETTERS:
        return re.compile(re.escape(entry))
    return re.compile(".*".join(map(re.escape, entry.split(ANY))), re.DOTALL)


def num_letters(text: str) -> int:
    return sum(character.isalpha() for character in text)


def _returned(nodes: Iterable[ast.AST]) -> Values:
    """What functions return, by name; messages of several lines of code come from such ones."""
    found: Values = {}
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            values = [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
            found.setdefault(node.name, []).extend(values)
    return found


def _assigned(nodes: Iterable[ast.AST]) -> Values:
    """What the variables of a module are set to, by name."""
    found: Values = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _resolved(value: ast.expr, assigned: Values, returned: Values) -> list[ast.expr]:
    """What a message may be: itself, or what a variable or a function of the package is."""
    if isinstance(value, ast.Name):
        return [v for a in assigned.get(value.id, []) for v in _resolved(a, {}, returned)]
    if isinstance(value, ast.Call) and (found := returned.get(_name(value))):
        return found
    return [value]


def _texts(node: ast.Call, assigned: Values, returned: Values) -> Iterator[str]:
    """The texts of a message that a call makes."""
    name = _name(node)
    if name not in CALLS or len(node.args) <= CALLS[name]:
        return
    found = _resolved(node.args[CALLS[name]], assigned, returned)
    for value in found:
        text = _text(value)
        if name == "warning":
            text = re.sub(r"%[\d.]*[sdrg]", ANY, text)
        yield re.sub(rf"{ANY}+", ANY, text)


def _name(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return ANY


def main() -> None:
    """Prints what the page lacks, and what it explains in vain."""
    found, known = collected(), entries(PAGE.read_text("utf-8"))
    for message in found:
        if not any(explains(entry, message.text) for entry in known):
            print(f"{message.place}: {message.text}")
    for entry in known:
        if not any(explains(entry, message.text) for message in found):
            print(f"{PAGE.name}: no such message: {entry}")


if __name__ == "__main__":
    main()
