"""Folds characters to ASCII. Knows nothing about vocabularies."""

import unicodedata

# Characters that NFKD does not decompose to ASCII.
_REPLACEMENTS = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": "'",
        "‛": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‐": "-",
        "‑": "-",
        "‒": "-",
        "–": "-",
        "—": "--",
        "―": "--",
        "−": "-",
        "ß": "ss",
        "æ": "ae",
        "Æ": "AE",
        "œ": "oe",
        "Œ": "OE",
        "ø": "o",
        "Ø": "O",
        "đ": "d",
        "Đ": "D",
        "ł": "l",
        "Ł": "L",
        "þ": "th",
        "Þ": "Th",
        "\t": " ",
    }
)


def nearest(character: str) -> str:
    """Folds a character to ASCII: é to e, ’ to ', ﬁ to fi; "" if there is no similar text."""
    normal = unicodedata.normalize("NFKC", character).translate(_REPLACEMENTS)
    decomposed = unicodedata.normalize("NFKD", normal)
    return "".join(c for c in decomposed if not unicodedata.combining(c) and c.isascii())
