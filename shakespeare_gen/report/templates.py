"""The templates of the pages: Jinja escapes all texts; styles and scripts are embedded.

Knows no page.
"""

import importlib.resources
from collections.abc import Callable, Sequence
from typing import Any

_FOLDER = importlib.resources.files("shakespeare_gen.report")


def source(name: str) -> str:
    """The text of a file in this folder."""
    return (_FOLDER / name).read_text("utf-8")


def render(template: str, filters: Sequence[Callable], /, **content: Any) -> str:
    """A page from its template; a filter has the name of its function."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in filters}
    return environment.get_template(template).render(**content)
