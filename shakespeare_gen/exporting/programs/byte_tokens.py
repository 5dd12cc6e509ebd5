"""Text to token ids and back: one id per byte of UTF-8."""


class Tokenizer:
    """Byte b has the id b."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return list(text.encode("utf-8"))

    def decode(self, ids) -> str:
        """The text of ids; invalid bytes become U+FFFD."""
        return bytes(ids).decode("utf-8", "replace")
