"""Joins documents to one text and marks their ends. Knows nothing about their source."""

from collections.abc import Iterable, Iterator

END_CHARACTER = "\x03"  # END OF TEXT, a control character that occurs in no text


def join(texts: Iterable[str], separator: str) -> str:
    """Joins texts so that each one starts on a new line and is followed by `separator`."""
    return "".join(text + ending(text, separator) for text in texts)


def separated(texts: Iterable[str], separator: str) -> Iterator[str]:
    """The pieces of `join`, without the end of the last text: the text of one file of documents."""
    before = ""
    for number, text in enumerate(texts):
        if number:
            yield ending(before, separator)
        yield text
        before = text[-1:]


def ending(text: str, separator: str) -> str:
    """What `join` puts after a text: a line end, unless there is one, and `separator`."""
    return "\n" * (not text.endswith("\n")) + separator


def mark_ends(text: str, separator: str) -> str:
    """Replaces each `separator` with an `END_CHARACTER`; no change for an empty separator."""
    return text.replace(separator, END_CHARACTER) if separator else text


def ended(texts: Iterable[str]) -> str:
    """Joins documents so that each one is followed by an `END_CHARACTER` and a line end.

    With the line end, a document starts like a text whose first token is preceded by `start_id`.
    """
    return "".join(f"{text}{END_CHARACTER}\n" for text in texts)


def whole(text: str) -> list[str]:
    """The documents of a text without the blank characters around them; an unfinished one is left
    out."""
    return [document.strip() for document in text.split(END_CHARACTER)[:-1]]
