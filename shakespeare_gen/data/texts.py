"""Operations on large texts, in chunks, to bound the additional memory.

Knows nothing about vocabularies.
"""

from collections.abc import Iterator

import numpy as np

CHUNK_CHARS = 1 << 18
NUM_CODE_POINTS = 0x110000


def chunks(text: str, overlap_chars: int = 0) -> Iterator[tuple[int, str]]:
    """Chunks of `text` with their positions; each one extends `overlap_chars` into the next."""
    for begin in range(0, len(text), CHUNK_CHARS):
        yield begin, text[begin : begin + CHUNK_CHARS + overlap_chars]


def code_points(text: str) -> np.ndarray:
    """Unicode code points of `text`, uint32 [len(text)]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def character_counts(text: str) -> dict[str, int]:
    """The count of each character in `text`, in the order of code points."""
    counts = np.zeros(NUM_CODE_POINTS, np.int64)
    for _, chunk in chunks(text):
        found = np.bincount(code_points(chunk))
        counts[: len(found)] += found
    return {chr(point): int(counts[point]) for point in np.flatnonzero(counts)}


def utf_8(text: str) -> Iterator[bytes]:
    """`text` in UTF-8, in chunks."""
    for _, chunk in chunks(text):
        yield chunk.encode("utf-8", "surrogatepass")


def num_bytes(text: str) -> int:
    """Length of `text` in UTF-8."""
    return sum(map(len, utf_8(text)))


def num_chars(data: bytes) -> int:
    """The number of characters of a text in UTF-8."""
    return len(data) if data.isascii() else int(np.count_nonzero(is_start(data)))


def is_start(data: bytes) -> np.ndarray:
    """Whether each byte of a text in UTF-8 is the first one of a character, bool [len(data)]."""
    return np.frombuffer(data, np.uint8) & 0xC0 != 0x80


def first_surrogate(text: str) -> int | None:
    """Position of the first surrogate, which UTF-8 cannot encode; None if there is none."""
    for begin, chunk in chunks(text):
        try:
            chunk.encode()
        except UnicodeEncodeError as error:
            return begin + error.start
    return None
