"""Text to token ids and back: words, punctuation, and the spelling of what is rare.

Ids below 256 are bytes, the others the texts of `tokenizer.json`. A piece that is not among them is
spelled: by characters, or by the bytes of a character that has no id.
"""

import json
import pathlib
import re
import unicodedata

VALUES = json.loads((pathlib.Path(__file__).parent / "tokenizer.json").read_text("utf-8"))
NUM_BYTES = 256
END = "\x03"  # of a document
MARKS = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c)[0] == "M")
LETTER = r"[^\W\d_]"
WORD = rf"[ '’]?{LETTER}+(?:[{MARKS}]+{LETTER}*)*"
PIECE = re.compile(rf"{WORD}| ?\d+| ?(?:[^\w\s{END}]|_)| +|[\s{END}]")


class Tokenizer:
    """The vocabulary of `tokenizer.json`."""

    def __init__(self) -> None:
        self.bytes = [bytes([i]) for i in range(NUM_BYTES)]
        self.bytes += [text.encode("utf-8") for text in VALUES["texts"]]
        self.ids = {chr(i): i for i in range(0x80)}
        self.ids |= {text: i for i, text in enumerate(VALUES["texts"], NUM_BYTES)}

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        found: list[int] = []
        for piece in PIECE.findall(text):
            parts = [piece] if piece in self.ids else piece
            for part in parts:
                found += [self.ids[part]] if part in self.ids else part.encode("utf-8")
        return found

    def decode(self, ids) -> str:
        """The text of ids; invalid bytes become U+FFFD."""
        return b"".join(self.bytes[i] for i in ids).decode("utf-8", "replace")
