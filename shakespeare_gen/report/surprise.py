"""A text colored by the surprise of a model, as an SVG picture for notebooks.

    shakespeare_gen.surprise_map(generator, "To be, or not to be")

Pointing at a token shows its surprise and the most likely tokens in its place. SVG, because code
hosts show it; they remove the colors of HTML.
"""

import dataclasses
import html
from collections.abc import Iterator, Sequence

import numpy as np

from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import Generator
from shakespeare_gen.generation.reading import Reader
from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.report import heat

MAX_CHARS = 10_000  # each token is an element of the picture
COLUMNS = 80
NUM_CANDIDATES = 4
# In pixels. The width of a character does not depend on the font: each line is stretched to fit.
CHAR_WIDTH, LINE_HEIGHT, FONT_SIZE, MARGIN = 8.4, 20, 14, 12
INK, MUTED = "#1f1d1a", "#5f594f"
NAMES = {"\n": "line end", " ": "space", "\t": "tab", "": "part of a character"}


@dataclasses.dataclass(frozen=True)
class _Cell:
    """The characters of a token on one line of the picture."""

    text: str
    line: int
    column: int
    token: int


@dataclasses.dataclass(frozen=True)
class SurpriseMap:
    """A text, and how much each of its tokens surprised a model; a notebook shows it as a picture.

    Attributes:
      tokens: the texts of the tokens.
      bits: float32 [N], the surprise of each token: -log2 of its probability.
      candidates: the most likely tokens at each place, with their probabilities.
    """

    tokens: Sequence[str]
    bits: np.ndarray
    candidates: Sequence[Sequence[tuple[str, float]]]

    @property
    def mean_bits(self) -> float:
        """Mean surprise per character."""
        return float(self.bits.sum()) / max(sum(map(len, self.tokens)), 1)

    def _repr_svg_(self) -> str:
        cells = list(_cells(self.tokens))
        num_lines = cells[-1].line + 2  # and the scale
        width = 2 * MARGIN + COLUMNS * CHAR_WIDTH
        height = 2 * MARGIN + (num_lines + 0.6) * LINE_HEIGHT
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" font-family="monospace" '
            f'font-size="{FONT_SIZE}">',
            f'<rect width="100%" height="100%" fill="{heat.NO_COLOR}"/>',
            *(self._colored(cell) for cell in cells),
            *_lines(cells),
            *self._scale(num_lines),
            "</svg>",
        ]
        return "\n".join(parts)

    def __repr__(self) -> str:
        return f"SurpriseMap({len(self.tokens):,} tokens, {self.mean_bits:.2f} bits per character)"

    def _colored(self, cell: _Cell) -> str:
        color = heat.colors()[heat.level(float(self.bits[cell.token]))]
        width = max(len(cell.text), 0.5) * CHAR_WIDTH
        return (
            f'<rect x="{MARGIN + cell.column * CHAR_WIDTH:.1f}" y="{_top(cell.line):g}" '
            f'width="{width:.1f}" height="{LINE_HEIGHT}" fill="{color}">'
            f"<title>{html.escape(self._tip(cell.token))}</title></rect>"
        )

    def _tip(self, i: int) -> str:
        likely = [f"{_name(token)} {100 * p:.1f} %" for token, p in self.candidates[i]]
        return f"{_name(self.tokens[i])}: {self.bits[i]:.1f} bits. Likely: {', '.join(likely)}"

    def _scale(self, line: int) -> Iterator[str]:
        """The colors with their bits, and the mean, below the text."""
        top, x = _top(line) + 0.3 * LINE_HEIGHT, float(MARGIN)
        yield _text(f"{self.mean_bits:.2f} bits per character.  Bits:", x, top, MUTED)
        x += 32 * CHAR_WIDTH
        for level, color in enumerate(heat.colors()):
            label = f"{level}{'+' * (level == heat.MAX_LEVEL)}"
            yield (
                f'<rect x="{x:.1f}" y="{top:g}" width="{3 * CHAR_WIDTH:.1f}" '
                f'height="{LINE_HEIGHT}" fill="{color}" stroke="#dfd9cc"/>'
            )
            yield _text(label, x + CHAR_WIDTH, top, INK)
            x += 3 * CHAR_WIDTH


def surprise_map(
    generator: Generator, text: str, *, before: str = "", unknown: str = "error"
) -> SurpriseMap:
    """Colors a text by how much each token surprises a model.

    Args:
      before: text that the model reads first and that is not shown.
      unknown: what to do about characters outside the vocabulary, as in `Generator.read`.

    Raises:
      UsageError: the text is empty or longer than 10,000 characters.
      UserError: the text has characters outside the vocabulary.
    """
    tokenizer = generator.tokenizer
    start = generator.read(before, unknown)
    ids = tokenizer.encode(tokenizer.prepare(text, unknown))
    if not 0 < len(text) <= MAX_CHARS or not len(ids):
        raise UsageError(f"text: expected 1 to {MAX_CHARS:,} characters, received {len(text):,}")
    scores, _ = Reader(generator.model, tokenizer).token_scores(ids, start, NUM_CANDIDATES)
    candidates = [
        [(tokenizer.label(int(i)), float(np.exp(nats))) for i, nats in zip(*row, strict=True)]
        for row in zip(scores.top_ids, scores.top_nats, strict=True)
    ]
    bits = -bits_per_character(1) * scores.nats
    return SurpriseMap(tokenizer.pieces(ids), bits, candidates)


def _cells(tokens: Sequence[str]) -> Iterator[_Cell]:
    """The places of the tokens; a line end is half a character wide."""
    line = column = 0
    for number, token in enumerate(tokens):
        *whole, rest = token.expandtabs(4).split("\n")
        for part in whole:
            yield _Cell(part, line, column, number)
            line, column = line + 1, 0
        if column + len(rest) > COLUMNS:
            line, column = line + 1, 0
        if rest:
            yield _Cell(rest, line, column, number)
            column += len(rest)


def _lines(cells: Sequence[_Cell]) -> Iterator[str]:
    """The characters, one element per line, so that they can be selected."""
    texts: dict[int, str] = {}
    for cell in cells:
        texts[cell.line] = texts.get(cell.line, "") + cell.text
    for line, text in texts.items():
        if shown := text.rstrip():
            yield _text(shown, MARGIN, _top(line), INK)


def _text(text: str, x: float, top: float, color: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{top + 0.72 * LINE_HEIGHT:.1f}" fill="{color}" '
        f'textLength="{len(text) * CHAR_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs" '
        f'xml:space="preserve" pointer-events="none">{html.escape(text)}</text>'
    )


def _top(line: float) -> float:
    return MARGIN + line * LINE_HEIGHT


def _name(token: str) -> str:
    return NAMES.get(token, repr(token))
