"""Lines out of Braille dots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlstmd.cli.chart import Line, draw_chart

NAN = float("nan")
COLOR = "\x1b[36m"


def draw(*values, width=30, height=4, is_colored=False, color=""):
    lines = [Line(start=0, values=row, color=color) for row in values]
    return draw_chart(lines, ["from", "to"], width, height, is_colored=is_colored).split("\n")


def body(rows):
    return [row.partition("┤")[2] for row in rows[:-1]]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right():
    rows = body(draw([0.0, 1.0]))
    assert rows[-1][0] != " "
    assert rows[0][-1] != " "
    assert rows[0].startswith(" ")


def test_the_ends_are_labeled():
    rows = draw([2.0, 4.0])
    assert [rows[index].split("┤")[0].strip() for index in (0, 2, 3)] == ["4", "3", "2"]
    assert rows[-1].split() == ["from", "to"]
    assert len(rows[-1]) == 30


def test_a_constant_line_lies_in_the_middle():
    rows = body(draw([5.0, 5.0, 5.0]))
    assert [bool(row) for row in rows] == [False, False, True, False]


def test_a_hole_is_not_bridged():
    rows = body(draw([1.0, 1.0, NAN, NAN, NAN, 1.0, 1.0], width=40))
    assert " " in rows[2].strip()


def test_colors_come_only_where_they_can_be_shown():
    assert any(COLOR in row for row in draw([1.0, 2.0], is_colored=True, color=COLOR))
    assert not any("\x1b" in row for row in draw([1.0, 2.0], color=COLOR))


@pytest.mark.parametrize("values", [[-1.7e308, 1.7e308], [1e-320, 2e-320], [1.0], [0.0, 0.0]])
def test_extreme_values_are_drawn(values):
    assert len(draw(values)) == 5


@given(
    values=st.lists(st.floats(allow_infinity=False), min_size=1, max_size=80),
    width=st.integers(1, 120),
    height=st.integers(1, 30),
)
def test_every_chart_has_its_size(values, width, height):
    rows = draw([*values, 0.0], width=width, height=height)
    assert len(rows) == height + 1
    assert max(map(len, rows)) <= max(width, 20 + 13)
