"""Checks tunes in ABC notation: fields, bars that add up to the metre, balanced repeats.

A subset of the ABC standard 2.1: one voice of notes, rests, accidentals, broken rhythms, triplets,
repeats and endings. There are no pick-up bars: every bar must have the length of the metre, so the
check is stricter than the standard. Knows nothing about models.

    problem("X:1\\nT:A\\nM:2/4\\nL:1/8\\nK:G\\n|: GA Bc | d4 :|")    # None
"""

import re
from collections.abc import Iterator
from fractions import Fraction

REQUIRED_FIELDS = "XTMLK"

_FIELD = re.compile(r"([A-Za-z]):\s*(.*)")
_VALUES = {
    "X": re.compile(r"\d+"),
    "M": re.compile(r"(\d{1,4})/(\d{1,4})"),
    "L": re.compile(r"(\d{1,4})/(\d{1,4})"),
    "K": re.compile(r"[A-G][#b]?\s*(m|min|maj|ion|dor|phr|lyd|mix|aeo|loc)?", re.IGNORECASE),
}
_TOKEN = re.compile(
    r"""(?P<note>(?:\^{1,2}|_{1,2}|=)?[A-Ga-g][,']*|[zx])
        (?P<number>\d{0,4})(?P<slashes>/{0,4})(?P<divisor>\d{0,4})
    |(?P<bar>:\||\|:|::|\|\]|\|\||\|)
    |(?P<ending>\[?[12])
    |(?P<triplet>\(3)
    |(?P<broken>[<>])
    |(?P<ignored>\s+|-)""",
    re.VERBOSE,
)


class _Invalid(Exception):
    """The tune is not valid; the message is the reason."""


def is_tune(text: str) -> bool:
    """Whether a document looks like a tune, valid or not: it starts with the field X."""
    return text.lstrip().startswith("X:")


def problem(tune: str) -> str | None:
    """The first problem of a tune on one line; None if it is valid."""
    try:
        fields, body = _divided(tune)
        _check_fields(fields)
        bars = list(_bars(body))
        _check_lengths(bars, _fraction(fields["M"], "M") / _fraction(fields["L"], "L"))
        _check_repeats(body)
    except _Invalid as error:
        return str(error)
    return None


def valid_share(tunes: list[str]) -> float | None:
    """The share of valid tunes; None if there are none."""
    return sum(problem(tune) is None for tune in tunes) / len(tunes) if tunes else None


def _divided(tune: str) -> tuple[dict[str, str], str]:
    """The fields of the header, which ends with K, and the music."""
    fields: dict[str, str] = {}
    lines = tune.strip().splitlines()
    for number, line in enumerate(lines, 1):
        found = _FIELD.fullmatch(line)
        if found is None:
            break
        name, value = found.groups()
        if name in fields and name != "T":
            raise _Invalid(f"line {number}: expected one field {name}, found two")
        fields[name] = value.strip()
        if name == "K":
            return fields, "\n".join(lines[number:])
    raise _Invalid("expected a field K at the end of the header, found none")


def _check_fields(fields: dict[str, str]) -> None:
    for name in REQUIRED_FIELDS:
        value, expected = fields.get(name), _VALUES.get(name)
        if not value or (expected and not expected.fullmatch(value)):
            raise _Invalid(f"field {name}: expected a value, found {(value or '')[:40]!r}")
    if next(iter(fields)) != "X":
        raise _Invalid("expected the field X first")


def _fraction(value: str, name: str) -> Fraction:
    above, below = map(int, value.split("/"))
    if not above or not below:
        raise _Invalid(f"field {name}: expected a positive fraction, found {value}")
    return Fraction(above, below)


def _tokens(body: str) -> Iterator[re.Match]:
    position = 0
    while position < len(body):
        found = _TOKEN.match(body, position)
        if found is None:
            raise _Invalid(f"expected music, found {body[position : position + 10]!r}")
        position = found.end()
        if found.lastgroup != "ignored":
            yield found


def _bars(body: str) -> Iterator[Fraction]:
    """The length of each bar in units of the field L; bar lines without notes between are one."""
    length, is_closed, scale, num_scaled = Fraction(0), True, Fraction(1), 0
    for token in _tokens(body):
        if token["bar"]:
            if length:
                yield length
            length, is_closed = Fraction(0), True
        elif token["triplet"]:
            scale, num_scaled = Fraction(2, 3), 3
        elif token["note"]:
            length += _length(token) * (scale if num_scaled else 1)
            num_scaled, is_closed = max(num_scaled - 1, 0), False
    if not is_closed:
        raise _Invalid("expected a bar line at the end, found none")


def _length(note: re.Match) -> Fraction:
    divisor = int(note["divisor"] or 2 ** len(note["slashes"]))
    number = int(note["number"] or 1)
    if not number or not divisor or (note["divisor"] and len(note["slashes"]) != 1):
        raise _Invalid(f"expected the length of a note, found {note[0]!r}")
    return Fraction(number, divisor)


def _check_lengths(bars: list[Fraction], expected: Fraction) -> None:
    if not bars:
        raise _Invalid("expected bars, found none")
    for number, length in enumerate(bars, 1):
        if length != expected:
            raise _Invalid(f"bar {number}: expected a length of {expected}, found {length}")


def _check_repeats(body: str) -> None:
    is_open = False
    for token in _tokens(body):
        if token["bar"] in (":|", "::"):
            if not is_open:
                raise _Invalid(f"expected |: before {token['bar']}, found none")
            is_open = False
        if token["bar"] in ("|:", "::"):
            if is_open:
                raise _Invalid(f"expected :| before {token['bar']}, found none")
            is_open = True
    if is_open:
        raise _Invalid("expected :| after |:, found none")
