"""Document formats that are not plain text, and how to convert them.

A format is recognized by the suffix of a file or by its first bytes. Knows nothing about corpora.
"""

import dataclasses

_WORD_PROCESSOR = "open it in a word processor and save it as plain text (.txt, UTF-8)"
_CALIBRE = "convert it with Calibre: ebook-convert BOOK BOOK.txt"


@dataclasses.dataclass(frozen=True)
class Format:
    """A document format that is not read.

    Attributes:
      name: with its article, for messages.
      advice: how to obtain plain text.
      magic: the first bytes of every such file, if they identify the format.
    """

    name: str
    advice: str
    magic: bytes = b""


FORMATS = {
    ".docx": Format("a Word document", _WORD_PROCESSOR),
    ".doc": Format("a Word document", _WORD_PROCESSOR, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ".odt": Format("an OpenDocument text", _WORD_PROCESSOR),
    ".rtf": Format("a Rich Text document", _WORD_PROCESSOR, b"{\\rtf"),
    ".epub": Format("an EPUB book", _CALIBRE),
    ".mobi": Format("a Mobipocket book", _CALIBRE),
    ".azw3": Format("a Kindle book", _CALIBRE),
    ".pdf": Format("a PDF document", "convert it with: pdftotext BOOK.pdf BOOK.txt", b"%PDF-"),
    ".html": Format("a web page", "open it in a browser and save it as plain text"),
    ".htm": Format("a web page", "open it in a browser and save it as plain text"),
    ".zip": Format("a ZIP archive or an Office document", "save its text as .txt", b"PK\x03\x04"),
}


def by_name(name: str) -> Format | None:
    """The format of a file with this name; None if it may be plain text."""
    dot = name.lower().rfind(".")
    return FORMATS.get(name.lower()[dot:]) if dot >= 0 else None


def by_content(data: bytes | bytearray) -> Format | None:
    """The format of a file that begins with `data`; None if it may be plain text."""
    return next((f for f in FORMATS.values() if f.magic and data.startswith(f.magic)), None)
