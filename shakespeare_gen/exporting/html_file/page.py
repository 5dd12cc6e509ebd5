"""One HTML file: the writing page of the server, with its scripts, an engine and a model inside.

The files of the page are those of `serving.page`; only its engine is another one (`page`), which
starts a worker with the scripts of `engine`. Nothing is loaded from elsewhere, and the content
security policy of the file forbids it. Knows nothing about models.
"""

import base64
import hashlib
import html
import importlib.resources
import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

from shakespeare_gen.exporting.html_file import assembler, bundle
from shakespeare_gen.exporting.html_file.content import Content

_ROOT = importlib.resources.files("shakespeare_gen")
_PAGE = _ROOT / "serving" / "page"
_FOLDER = _ROOT / "exporting" / "html_file"


def render(content: Content) -> str:
    """The text of the file."""
    sources = {**_texts(_PAGE, ".js"), **_texts(_FOLDER / "page", ".js")}
    theme = bundle.bundle("theme.js", sources)
    main = bundle.bundle("main.js", sources, given=bundle.imported("theme.js", sources))
    style = "\n" + (_PAGE / "style.css").read_text("utf-8")
    policy = _policy([theme, main], style)
    icon = _base64((_PAGE / "icon.svg").read_bytes())
    text = (_PAGE / "index.html").read_text("utf-8")
    for old, new in {
        '<meta charset="utf-8">': '<meta charset="utf-8">\n'
        f'  <meta http-equiv="Content-Security-Policy" content="{policy}">',
        'href="icon.svg"': f'href="data:image/svg+xml;base64,{icon}"',
        '<link rel="stylesheet" href="style.css">': f"<style>{style}</style>",
        '<script type="module" src="theme.js" blocking="render"></script>': _script(theme),
        '<script type="module" src="main.js"></script>': "",
        '<div id="cards"></div>': f'<div id="cards"></div>\n      {_paragraph(content.note)}',
        "</body>": f"{_data_elements(content)}{_script(main)}\n</body>",
    }.items():
        if text.count(old) != 1:
            raise ValueError(
                f"index.html: expected {old} once, received it {text.count(old)} times"
            )
        text = text.replace(old, new)
    return text


def read(path: pathlib.Path) -> tuple[dict[str, Any], bytes]:
    """The description and the data of a file that `render` made; see `Content`."""
    text = path.read_text("utf-8")
    compressed = base64.b64decode(_text_of("weights", text))
    values = json.loads(_text_of("description", text))
    return values["description"], zlib.decompress(compressed, -zlib.MAX_WBITS)


def kernel() -> bytes:
    """The kernel in WebAssembly."""
    return assembler.assemble((_FOLDER / "engine" / "kernel.wat").read_text("utf-8"))


def _deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def _text_of(element: str, text: str) -> str:
    """The text of an element with data."""
    return text.partition(f' id="{element}">')[2].partition("</script>")[0]


def _texts(folder: Any, suffix: str) -> dict[str, str]:
    paths = [path for path in folder.iterdir() if path.name.endswith(suffix)]
    return {path.name: path.read_text("utf-8") for path in paths}


def _data_elements(content: Content) -> str:
    """Elements that no browser runs; `page/main.js` reads them."""
    values = {"description": content.description, "model": content.model}
    elements = {
        "description": ("application/json", _json(values)),
        "weights": ("text/plain", _base64(_deflated(content.data))),
        "kernel": ("text/plain", _base64(kernel())),
        "worker": ("text/plain", bundle.bundle("worker.js", _texts(_FOLDER / "engine", ".js"))),
    }
    return "".join(
        f'<script type="{kind}" id="{name}">{text}</script>\n'
        for name, (kind, text) in elements.items()
    )


def _json(values: Mapping[str, Any]) -> str:
    """JSON in which no text can end the element that holds it."""
    return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")


def _script(text: str) -> str:
    return f"<script>{text}</script>"


def _paragraph(text: str) -> str:
    return f'<p class="quiet">{html.escape(text)}</p>'


def _policy(scripts: list[str], style: str) -> str:
    """Forbids everything but the scripts and the style of the file, and the worker."""
    hashes = " ".join(map(_source, scripts))
    return (
        f"default-src 'none'; script-src {hashes} 'wasm-unsafe-eval'; worker-src blob:; "
        f"style-src {_source(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
