"""Text to token ids and back: one id per character."""

import json
import pathlib

VALUES = json.loads((pathlib.Path(__file__).parent / "tokenizer.json").read_text("utf-8"))


class Tokenizer:
    """The vocabulary of `tokenizer.json`: the position of a character is its id."""

    def __init__(self) -> None:
        self.characters = VALUES["characters"]
        self.ids = {character: i for i, character in enumerate(self.characters)}

    def encode(self, text: str) -> list[int]:
        """The ids of a text; an unknown character is an error unless there is an id for it."""
        unknown = [c for c in text if c not in self.ids]
        if unknown and not VALUES["has_unknown_id"]:
            raise ValueError(f"character outside the vocabulary: {unknown[0]!r}")
        return [self.ids.get(character, len(self.characters)) for character in text]

    def decode(self, ids) -> str:
        """The text of ids."""
        return "".join((self.characters + "\N{REPLACEMENT CHARACTER}")[i] for i in ids)
