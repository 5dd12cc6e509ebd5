"""Options: checks, typed groups, and formatting as flags."""

import dataclasses
import inspect
import os
import pathlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options import (
    OptionGroup,
    Options,
    fields,
    groups,
    help_pages,
    option,
    signatures,
    spelling,
    tables,
)

CHOICES = {"circle": 1, "square": 2}


class ShapeOptions(OptionGroup):
    """A group with one option of each type."""

    TITLE = "Shape"

    shape: str = option("circle", "outline", choices=CHOICES)
    size: int = option(3, "width in pixels", minimum=1)
    scale: float = option(0.5, "factor", above=0, below=2)
    filled: bool = option(False, "fill the outline")
    labels: tuple[str, ...] = option((), "texts of the labels")


class PositionOptions(OptionGroup):
    """Numbers without bounds."""

    offset: int = option(0, "pixels to the right")
    angle: float = option(0.0, "degrees")


class AngleOptions(OptionGroup):
    angles: tuple[int, ...] = option((), "degrees", minimum=0, maximum=360)


class ColorOptions(OptionGroup):
    TITLE = "Color"

    color: str = option("", "name of a color")


@pytest.mark.parametrize("angles", ["0,90", ["0", "90"], (0, np.int64(90)), range(0, 180, 90)])
def test_integers_come_from_a_flag_or_a_sequence(angles):
    assert AngleOptions(angles=angles).angles == (0, 90)


@pytest.mark.parametrize(
    ("angles", "message"),
    [
        ("1,b", "angles: expected integers, received (1, 'b')"),
        ((1, True), "angles: expected integers, received (1, True)"),
        ((1, 361), "angles: expected at most 360, received (1, 361)"),
        (5, "angles: expected integers, received 5"),
    ],
)
def test_invalid_integers_are_rejected(angles, message):
    with pytest.raises(UsageError) as error:
        AngleOptions(angles=angles)
    assert str(error.value) == message


def test_a_tuple_of_paths_holds_strings():
    assert ShapeOptions(labels=[pathlib.Path("a"), "b"]).labels == ("a", "b")
    assert ShapeOptions(labels=pathlib.Path("a")).labels == ("a",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "size: expected at least 1, received 0"),
        ({"size": 2**31}, "size: expected at most 2147483647, received 2147483648"),
        ({"size": "9"}, "size: expected a value of type int, received '9'"),
        ({"size": 1.0}, "size: expected a value of type int, received 1.0"),
        ({"size": True}, "size: expected a value of type int, received True"),
        ({"size": None}, "size: expected a value of type int, received None"),
        ({"scale": 0}, "scale: expected more than 0, received 0"),
        ({"scale": 2.0}, "scale: expected less than 2, received 2.0"),
        ({"scale": float("nan")}, "scale: expected a finite number, received nan"),
        ({"shape": "star"}, "shape: expected one of circle, square, received 'star'"),
        ({"filled": 1}, "filled: expected a value of type bool, received 1"),
        ({"labels": (1,)}, "labels: expected a tuple of strings, received (1,)"),
        ({"labels": ("a", "\udcff")}, "labels: expected utf-8, received ('a', '\\udcff')"),
    ],
)
def test_an_invalid_value_is_rejected_by_name(values, message):
    with pytest.raises(UsageError) as error:
        ShapeOptions(**values)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        (groups.OptimizerOptions, {"clip_value": 1.0}, "expected one of them to be 0"),
        (groups.OptimizerOptions, {"schedule": "exponential"}, "final_learning_rate: expected"),
        (groups.CorpusOptions, {"test_fraction": 0.96}, "expected a sum less than 1"),
        (groups.StartOptions, {"resume": True, "overwrite": True}, "received both"),
        (groups.PromptOptions, {"prompt": "a", "prompt_path": "b"}, "received both"),
        (groups.WindowOptions, {"carry_state": True, "window_stride": 3}, "window_stride: exp"),
        (groups.EvaluationOptions, {"window_stride": 300}, "at most `window_chars=256`"),
        (groups.AdaptationOptions, {"mix": True}, "mix: expected to be used with `adapt`"),
        (groups.AdaptationOptions, {"adapt": True, "adapt_decay": -0.5}, "adapt_decay: expected"),
        (
            groups.AdaptationOptions,
            {"adapt": True, "adapt_tune": True, "adapt_rate": 0.1},
            "adapt_tune: expected to be used without `adapt_rate`",
        ),
    ],
)
def test_options_that_contradict_each_other_are_rejected(group, values, message):
    with pytest.raises(UsageError) as error:
        group(**values)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"offset": -3 * 10**9}, "offset: expected at least -2147483648, received -3000000000"),
        ({"offset": 3 * 10**9}, "offset: expected at most 2147483647, received 3000000000"),
        ({"angle": 10**400}, f"angle: expected a finite number, received {10**400}"),
    ],
)
def test_a_number_without_bounds_must_still_be_representable(values, message):
    """Once, a large negative number was answered with the upper bound."""
    with pytest.raises(UsageError) as error:
        PositionOptions(**values)
    assert str(error.value) == message


def test_whole_numbers_become_floats_where_an_option_is_a_float():
    """Once, they stayed integers and were limited to those of int32."""
    for value in (3, -(10**12)):
        found = PositionOptions(angle=value).angle
        assert (found, type(found)) == (value, float)


def test_values_of_other_libraries_are_converted_to_plain_ones():
    options = ShapeOptions(
        shape=pathlib.Path("square"), size=np.int64(4), scale=1, labels=["a", "b"]
    )
    assert options == ShapeOptions(shape="square", size=4, scale=1.0, labels=("a", "b"))
    assert type(options.size) is int
    assert ShapeOptions(labels="a").labels == ("a",)


def test_groups_are_immutable_and_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ShapeOptions().size = 4
    with pytest.raises(TypeError):
        ShapeOptions("circle")


def test_choices_may_grow_after_the_group_is_defined(monkeypatch):
    """The choices are a registry: components that are registered later can be chosen."""
    monkeypatch.setitem(CHOICES, "star", 3)
    assert ShapeOptions(shape="star").shape == "star"


def test_options_are_found_by_their_group_and_by_name():
    options = Options.parse([ShapeOptions, ColorOptions], {"size": 7, "color": ""})
    assert options[ShapeOptions].size == 7
    assert options.given == {"size", "color"}
    assert options.non_defaults() == {"size": 7}
    assert list(options.by_name()) == ["shape", "size", "scale", "filled", "labels", "color"]
    assert options.only([ShapeOptions]).given == {"size"}
    with pytest.raises(KeyError):
        options.only([ShapeOptions])[ColorOptions]


def test_replaced_options_count_as_given_and_the_others_do_not():
    """Once, all options counted as given after one of them was replaced."""
    options = Options.parse([ShapeOptions, ColorOptions], {"size": 7})
    replaced = options.replaced(color="red")
    assert replaced[ColorOptions].color == "red"
    assert replaced[ShapeOptions].size == 7
    assert replaced.given == {"size", "color"}
    assert options[ColorOptions].color == ""
    with pytest.raises(UsageError, match="size: expected at least 1"):
        options.replaced(size=0)


def test_equal_options_are_equal_and_hashable():
    one, other = (Options.parse([ShapeOptions], {"size": 7}) for _ in range(2))
    assert one == other != Options.parse([ShapeOptions])
    assert len({one, other}) == 1


def test_an_unknown_option_is_rejected():
    with pytest.raises(UsageError, match="unknown option 'sise'; did you mean `size`?"):
        Options.parse([ShapeOptions, ColorOptions], {"sise": 3})
    with pytest.raises(UsageError, match="unknown option 'x'; known: color, filled, labels, scale"):
        Options.parse([ShapeOptions, ColorOptions], {"x": 3})


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("-1", int, -1),
        ("3.0", int, "3.0"),
        ("3", float, 3.0),
        ("1e-3", float, 0.001),
        ("x", float, "x"),
        ("On", bool, True),
        ("false", bool, False),
        ("1", bool, "1"),
        ("text", str, "text"),
        (r'"a\nb"', str, "a\nb"),
        ('"a', str, '"a'),
        ("a b", tuple[str, ...], "a b"),
        (r'["\n", "b"]', tuple[str, ...], ("\n", "b")),
        ("[" * 5000, tuple[str, ...], "[" * 5000),
    ],
)
def test_values_are_read_from_text_and_others_are_left_to_the_group(text, kind, value):
    found = spelling.value(text, kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("message", "flags"),
    [
        ("size: expected at least 1", "--size: expected at least 1"),
        ("size=3: expected at least 1", "--size=3: expected at least 1"),
        ("runs/x: expected size: 3", "runs/x: expected size: 3"),
        ("other: try `size=3` or `filled`", "other: try --size=3 or --filled"),
        ("--size: expected", "--size: expected"),
    ],
)
def test_messages_name_options_as_flags(message, flags):
    assert spelling.as_flags(message, {"size", "filled"}) == flags


def test_a_command_line_is_quoted_for_a_shell():
    values = {"prompt": "it's", "filled": False, "adapt": True, "stop": ("a", "b c"), "size": 3}
    assert spelling.command_line("train", values) == (
        "python -m shakespeare_gen.train "
        "'--prompt=it'\"'\"'s' --nofilled --adapt --stop=a '--stop=b c' --size=3"
    )


def test_tables_of_a_page_are_regenerated():
    page = "before\n<!-- flags: draw -->\nold\n<!-- end -->\nafter\n"
    assert tables.updated(page, {"draw": [ShapeOptions, ColorOptions]}) == (
        "before\n<!-- flags: draw -->\n"
        "| flag | default | |\n|---|---|---|\n"
        "| **Shape** | | |\n"
        "| `--shape` | `circle` | outline (`circle`, `square`) |\n"
        "| `--size` | `3` | width in pixels |\n"
        "| `--scale` | `0.5` | factor |\n"
        "| `--filled` | `false` | fill the outline |\n"
        "| `--labels` |  | texts of the labels |\n"
        "| **Color** | | |\n"
        "| `--color` |  | name of a color |\n"
        "<!-- end -->\nafter\n"
    )


def test_a_help_page_shows_defaults_and_choices():
    page = help_pages.command("draw", "Draws a shape.\n", [ShapeOptions, ColorOptions])
    assert page == (
        "usage: draw [--flagfile=FILE] [--flag=value ...]\n\n"
        "Draws a shape.\n\n"
        "Shape:\n\n"
        "  --shape=circle\n      outline (circle, square)\n\n"
        "  --size=3\n      width in pixels\n\n"
        "  --scale=0.5\n      factor\n\n"
        "  --[no]filled (default: off)\n      fill the outline\n\n"
        "  --labels=\n      texts of the labels\n\n"
        "Color:\n\n"
        "  --color=\n      name of a color\n\n"
        "--flagfile reads flags from a file, or from a recipe of this package by its name. "
        "--version\nprints the version, --helpfull also lists the flags of absl.\n"
    )


class PenOptions(OptionGroup):
    """Shares its options with `ColorOptions` and `ShapeOptions`."""

    TITLE = "Pen"

    color: str = option("", "name of a color")
    scale: float = option(0.5, "factor", above=0, below=2)


class InkOptions(OptionGroup):
    TITLE = "Ink"

    color: str = option("", "name of a color")
    ink_path: str = option("", "file of the ink")


def test_an_option_that_groups_share_is_listed_once():
    """Tables once listed it in each group, and a title without options remained."""
    shared = [ShapeOptions, ColorOptions, PenOptions, InkOptions]
    titles = [title for title, _ in fields.sections(shared)]
    assert titles == ["Shape", "Color", "Ink"]
    assert help_pages.command("draw", "", shared).count("--color=") == 1
    assert tables.table(shared).count("`--color`") == 1
    assert "Pen" not in tables.table(shared)


@signatures.typed([ShapeOptions, InkOptions])
def draw(color="", **options) -> int:
    """Draws a shape.

    Args:
      {options}

    Returns:
      An area.
    """
    return Options.parse([ShapeOptions, InkOptions], {"color": color, **options})


def test_a_function_lists_its_options_with_types_defaults_and_help():
    signature = inspect.signature(draw)
    parameters = list(signature.parameters.values())
    assert [parameter.name for parameter in parameters] == [
        *("color", "shape", "size", "scale", "filled", "labels", "ink_path"),
    ]
    assert parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {parameter.kind for parameter in parameters[1:]} == {inspect.Parameter.KEYWORD_ONLY}
    assert signature.parameters["size"].default == 3
    assert signature.return_annotation is int
    kinds = {parameter.name: parameter.annotation for parameter in parameters}
    assert kinds["size"] is int
    assert kinds["shape"] is str  # its choices are a registry, which may grow
    assert kinds["ink_path"] == str | os.PathLike[str]
    assert kinds["labels"] == str | Sequence[str]
    assert draw.__doc__.startswith("Draws a shape.\n\nArgs:\n  color: name of a color.\n")
    assert "\n  shape: outline (`circle`, `square`).\n" in draw.__doc__
    assert draw.__doc__.endswith("Returns:\n  An area.")


def test_fixed_choices_are_part_of_the_type():
    [field] = [f for f in fields.fields_of(groups.LoadOptions) if f.name == "checkpoint"]
    assert signatures.annotation(field) == Literal["best", "last"]
