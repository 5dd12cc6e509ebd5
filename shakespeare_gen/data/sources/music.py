"""Dance tunes in ABC notation, made by a small grammar.

Every tune has the fields X, T, R, M, L and K, two repeated parts of eight bars, and bars that add
up to the metre; a part ends on the tonic. Within a part, bars are repeated and varied, so that
there is something to learn beyond single bars. The tunes are the same on every machine.

    X:1
    T:The Merry Fiddler
    R:polka
    M:2/4
    L:1/8
    K:G
    |: GA Bc | d2 BG | … :|
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from shakespeare_gen.data.splits import Splits, cut_documents
from shakespeare_gen.options.groups import CorpusOptions

SEED = 0
NUM_TUNES = 4000
BARS_PER_LINE = 4
FORMS = ("abacabad", "abacabcd", "aabcaabd", "abcdabce", "abababcd")  # bars of a part, by motif
STEPS = (-2, -1, -1, -1, 1, 1, 1, 2, -3, 3, 0)  # of a melody, in notes of the scale
SCALE = [*"CDEFGABcdefgab"]  # two octaves
TONICS = {
    "C": "C", "G": "G", "D": "D", "A": "A", "F": "F", "Bb": "B",
    "Am": "A", "Em": "E", "Dm": "D", "Gm": "G", "Ador": "A", "Edor": "E", "Dmix": "D", "Amix": "A",
}  # fmt: skip
ADJECTIVES = (
    "Merry",
    "Lazy",
    "Green",
    "Old",
    "Bonny",
    "Silver",
    "Windy",
    "Lonely",
    "Jolly",
    "Wild",
)
NOUNS = (
    "Fiddler",
    "Miller",
    "Harbour",
    "Meadow",
    "Piper",
    "Weaver",
    "Hill",
    "Mill",
    "Rose",
    "Boat",
)
OWNERS = ("Anna", "Tom", "Molly", "Jack", "Nora", "Peter", "Kate", "Will", "Mary", "Sam")


class Dance(NamedTuple):
    """A metre and the rhythms of its beats.

    Attributes:
      num_beats: beats in a bar; all rhythms of a beat have the same length.
      rhythms: lengths of the notes of a beat, in eighths.
    """

    metre: str
    num_beats: int
    rhythms: tuple[tuple[int, ...], ...]


_EIGHTHS = ((1, 1, 1), (1, 1, 1), (2, 1), (3,))
DANCES = {
    "reel": Dance("4/4", 2, ((1, 1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 2))),
    "jig": Dance("6/8", 2, _EIGHTHS),
    "slip jig": Dance("9/8", 3, _EIGHTHS),
    "waltz": Dance("3/4", 3, ((2,), (2,), (1, 1))),
    "polka": Dance("2/4", 2, ((1, 1), (1, 1), (2,))),
}


def load(argument: str, options: CorpusOptions) -> Splits:
    """`NUM_TUNES` tunes, each a document; every tune occurs once."""
    every = list(dict.fromkeys(tunes(SEED, NUM_TUNES)))
    return cut_documents(every, options.validation_fraction, options.test_fraction)


def tunes(seed: int, num_tunes: int) -> Iterator[str]:
    """Tunes that depend on `seed` only, without a line end after the last bar."""
    rng = random.Random(seed)
    for _ in range(num_tunes):
        yield _tune(rng)


def _tune(rng: random.Random) -> str:
    name, dance = rng.choice(list(DANCES.items()))
    key, tonic = rng.choice(list(TONICS.items()))
    fields = {"X": "1", "T": _title(rng, name), "R": name, "M": dance.metre, "L": "1/8", "K": key}
    low = SCALE.index(tonic) % 7
    parts = [_part(rng, dance, low, start) for start in (low, low + 4)]
    return "\n".join([*(f"{name}:{value}" for name, value in fields.items()), *parts])


def _title(rng: random.Random, dance: str) -> str:
    owner = f"{rng.choice(OWNERS)}'s {dance.title()}"
    return rng.choice([f"The {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}", owner])


def _part(rng: random.Random, dance: Dance, tonic: int, start: int) -> str:
    """Eight bars between repeat signs, on two lines.

    Args:
      tonic, start: the last and the first note, as indices of `SCALE`.
    """
    form = rng.choice(FORMS)
    motifs = {motif: _bar(rng, dance, start) for motif in dict.fromkeys(form)}
    bars = [" ".join(motifs[motif]) for motif in form[:-1]]
    bars.append(" ".join(_ending(motifs[form[-1]], tonic, dance)))
    lines = [" | ".join(bars[i : i + BARS_PER_LINE]) for i in range(0, len(bars), BARS_PER_LINE)]
    return "|: " + " |\n".join(lines) + " :|"


def _bar(rng: random.Random, dance: Dance, start: int) -> list[str]:
    """The beats of a bar: a walk on the scale from near `start`."""
    position = start + rng.choice((0, 0, 2, 4))
    beats = []
    for _ in range(dance.num_beats):
        beat = ""
        for length in rng.choice(dance.rhythms):
            position = min(max(position, 0), len(SCALE) - 1)
            beat += SCALE[position] + (str(length) if length > 1 else "")
            position += rng.choice(STEPS)
        beats.append(beat)
    return beats


def _ending(beats: list[str], tonic: int, dance: Dance) -> list[str]:
    """A bar whose last beat is one long tonic."""
    length = sum(dance.rhythms[0])
    return [*beats[:-1], SCALE[tonic] + (str(length) if length > 1 else "")]
