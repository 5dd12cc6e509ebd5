"""The sketch of the lines of a text against exact sets of lines."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shakespeare_gen.data import line_sketch
from shakespeare_gen.data.line_sketch import LineSketch


def numbered(first, last):
    return "".join(f"  This is the line with the number {i}.\n" for i in range(first, last))


def test_a_short_text_is_compared_exactly():
    sketch = LineSketch.of([numbered(0, 100)])
    found = sketch.compare(numbered(75, 175))
    assert (found.num_compared, found.num_found, found.share) == (100, 25, 0.25)


def test_short_lines_and_blanks_do_not_count():
    sketch = LineSketch.of(["To be, or not to be: that is the question.\nExeunt.\n"])
    assert sketch.compare("\t To be, or not to be: that is the question.  \r\nExeunt.").share == 1
    assert sketch.compare("Exeunt.\n" * 50).num_compared == 0
    assert sketch.compare("").share == 0


def test_of_a_long_text_a_sample_estimates_the_share():
    sketch = LineSketch.of([numbered(0, 100_000)])
    assert len(sketch.hashes) == line_sketch.MAX_LINES
    found = sketch.compare(numbered(90_000, 120_000))
    # A third: with 4,900 compared lines, five standard deviations are 0.034.
    assert 4000 < found.num_compared < 6000
    assert abs(found.share - 1 / 3) < 0.034
    assert sketch.compare(numbered(100_000, 110_000)).num_found == 0


def test_merged_sketches_are_the_sketch_of_both_texts():
    first, second = numbered(0, 30_000), numbered(20_000, 50_000)
    merged = LineSketch.of([first]).merged(LineSketch.of([second]))
    np.testing.assert_array_equal(merged.hashes, LineSketch.of([first, second]).hashes)


@given(st.text("ab \n", max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_pieces_of_any_length_give_the_same_sketch(text, cuts):
    text = text.replace("a", "all of this is one word ")
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(bounds)]
    np.testing.assert_array_equal(LineSketch.of(pieces).hashes, LineSketch.of([text]).hashes)
