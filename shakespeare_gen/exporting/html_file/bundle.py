"""Joins ES modules into one script, because a page that is opened from disk cannot import any.

Every module becomes a function that returns what it exports, and what it imports comes from the
results of the others, so that names of different modules cannot collide. Only the forms that the
modules of this package use are supported: `import { a, b } from "./x.js"`, and `export` before a
function, a class or a constant. Knows nothing about what the modules do.

    bundle.bundle("b.js", {"a.js": "export const a = 1;", "b.js": 'import { a } from "./a.js";'})
"""

import re
from collections.abc import Iterator, Mapping

_IMPORT = re.compile(r'^import \{(\s*\w+(?:,\s*\w+)*,?\s*)\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:(?:async )?function|class|const)\*? (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
# In any script, a browser reads these as markup.
_MARKUP = re.compile(r"<(?:/script|!--)", re.IGNORECASE)


def bundle(entry: str, sources: Mapping[str, str], given: Mapping[str, str] | None = None) -> str:
    """A script that runs `entry` after everything that it imports, each module once.

    Args:
      sources: the text of every module by its name.
      given: the modules of a script that runs before this one; None: there is none.

    Raises:
      ValueError: a module uses another form of `import` or `export`, or contains markup that ends
        a script.
    """
    needed = {name: sources[name] for name in _ordered(entry, sources, ())}
    parts = [_function(name, text) for name, text in needed.items() if name not in (given or {})]
    head = "const modules = {};\n" if given is None else ""
    return f'"use strict";\n{head}' + "".join(parts)


def imported(entry: str, sources: Mapping[str, str]) -> dict[str, str]:
    """The modules that `entry` consists of, itself included."""
    return {name: sources[name] for name in _ordered(entry, sources, ())}


def _ordered(name: str, sources: Mapping[str, str], path: tuple[str, ...]) -> Iterator[str]:
    """The modules that `name` imports, each after those that it imports; then `name`."""
    if name in path:
        raise ValueError(f"expected modules without a cycle, received {' > '.join([*path, name])}")
    for match in _IMPORT.finditer(sources[name]):
        yield from _ordered(match[2], sources, (*path, name))
    yield name


def _function(name: str, text: str) -> str:
    exports = ", ".join(match[1] for match in _EXPORT.finditer(text))
    body = _IMPORT.sub(_from_modules, text)
    body = _EXPORT.sub("", body)
    for unknown in (_OTHER, _MARKUP):
        if found := unknown.search(body):
            raise ValueError(f"{name}: expected a form that can be joined, received {found[0]}")
    return f'modules["{name}"] = (() => {{\n{body}return {{ {exports} }};\n}})();\n'


def _from_modules(match: re.Match[str]) -> str:
    return f'const {{{match[1]}}} = modules["{match[2]}"];\n'
