"""Diagrams, and pictures of texts: what they show, read back from the figures."""

import numpy as np
import pytest

from shakespeare_gen.errors import UsageError
from shakespeare_gen.report import diagrams, figures, text_pictures


def words(figure):
    """All texts of a figure that are inside it."""
    figure.canvas.draw()
    width, height = figure.bbox.size
    found = []
    for panel in figure.axes:
        for text in panel.texts:
            box = text.get_window_extent()
            inside = box.x0 > -2 and box.y0 > -2 and box.x1 < width + 2 and box.y1 < height + 2
            assert inside or not text.get_text().strip(), text.get_text()
            found.append(text.get_text())
    return found


def test_an_unrolled_network_reads_and_predicts_each_character():
    shown = words(diagrams.unrolled("to be"))
    assert [t for t in shown if (len(t) == 1 and t.islower()) or t == "␣"] == list("too␣␣bbe")
    assert shown.count("R") == 4
    assert "loss" in words(diagrams.unrolled("ab", gradients=True))
    with pytest.raises(UsageError, match="expected at least 2 characters"):
        diagrams.unrolled("a")


@pytest.mark.parametrize(("vocabulary_size", "units"), [(8, 16), (65, 100), (65, 7)])
def test_the_shapes_are_those_of_the_matrices(vocabulary_size, units):
    shown = words(diagrams.shapes(vocabulary_size, units))
    assert f"W [{vocabulary_size}, {units}]" in shown
    assert f"O [{units}, {vocabulary_size}]" in shown


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_a_cell_is_drawn_with_its_equations(cell):
    shown = words(diagrams.cell(cell))
    assert any(text.startswith("h' =") or "h' = o" in text for text in shown)
    assert figures.saved(diagrams.cell(cell), "svg").startswith(b"<?xml")


def test_an_unknown_cell_is_reported():
    with pytest.raises(UsageError, match="expected one of simple_rnn, gru, lstm, received 'rnn'"):
        diagrams.cell("rnn")


def test_a_map_has_a_column_for_each_token():
    values = np.linspace(0, 1, 15).reshape(3, 5)
    figure = text_pictures.map_of(list("a $\n_"), {"forget": values, "input": 1 - values})
    first, second, _ = figure.axes
    assert [t.get_text() for t in first.get_xticklabels()] == ["a", "␣", r"\$", "⏎", " _"]
    np.testing.assert_array_equal(second.images[0].get_array(), 1 - values)


def test_colored_text_breaks_lines_and_shows_values():
    figure = text_pictures.colored(list("abc\nde"), np.array([0, 1, -1, 0, 0, 1.0]), line_chars=2)
    panel = figure.axes[0]
    assert [(t.get_text(), t.get_position()) for t in panel.texts] == [
        ("a", (0.5, 0.5)),
        ("b", (1.5, 0.5)),
        ("c", (0.5, 1.5)),
        ("⏎", (1.5, 1.5)),
        ("d", (0.5, 2.5)),
        ("e", (1.5, 2.5)),
    ]
    colors = [patch.get_facecolor() for patch in panel.patches]
    assert colors[1] == colors[5]
    assert colors[1][0] > colors[1][2]  # high: red
    assert colors[2][0] < colors[2][2]  # low: blue


def test_bars_show_the_likeliest_tokens_before_and_after():
    before, after = np.array([0.1, 0.6, 0.3]), np.array([0, 1.0, 0])
    figure = text_pictures.bars(["a", " ", "c"], {"greedy": after}, before, num_shown=2)
    panel = figure.axes[0]
    assert [t.get_text() for t in panel.get_xticklabels()] == ["␣", "c"]
    assert [bar.get_height() for bar in panel.patches] == [0.6, 0.3, 1, 0]
