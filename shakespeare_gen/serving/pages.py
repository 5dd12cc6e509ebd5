"""The files of the page at `/`, and what types they have. Knows nothing about their contents.

The files are read and compressed once, from the package: no path of a request reaches the file
system.
"""

import dataclasses
import gzip
import hashlib
import importlib.resources
import pathlib

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}


@dataclasses.dataclass(frozen=True)
class Form:
    """The content of a file as it is sent.

    Attributes:
      tag: identifies the content; differs between the forms of a file.
    """

    content: bytes
    tag: str


@dataclasses.dataclass(frozen=True)
class File:
    """A static file; `compressed` is in gzip."""

    media_type: str
    plain: Form
    compressed: Form

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "File":
        """Compresses the content."""
        digest = hashlib.sha256(content).hexdigest()[:16]
        compressed = gzip.compress(content, mtime=0)
        return cls(media_type, Form(content, f'"{digest}"'), Form(compressed, f'"{digest}-gzip"'))


def files() -> dict[str, File]:
    """The files by their path in a URL; `/` is index.html. Other types of files are left out."""
    with importlib.resources.as_file(importlib.resources.files(__package__) / "page") as folder:
        found = {
            f"/{path.relative_to(folder).as_posix()}": _read(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in TYPES
        }
    return {"/" if path == "/index.html" else path: file for path, file in found.items()}


def _read(path: pathlib.Path) -> File:
    return File.of(path.read_bytes(), TYPES[path.suffix])
