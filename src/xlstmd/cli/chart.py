"""Lines on a terminal, drawn with the dots of Braille characters: two across and four down each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DOTS_ACROSS: Final = 2
DOTS_DOWN: Final = 4
BRAILLE: Final = 0x2800

# The bit of a character for the dot in each row, left and right.
BITS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
NARROWEST: Final = 20
PLAIN: Final = "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
      start: place of its first point.
      values: at this place and the following ones; NaN where there is a hole.
      color: escape sequence of the terminal; empty for its own color.
    """

    start: int
    values: Sequence[float]
    color: str = ""


def draw_chart(
    lines: Sequence[Line], labels: Sequence[str], width: int, height: int, *, is_colored: bool
) -> str:
    """Draws lines over each other, the last one on top.

    Args:
      lines: with at least one number among them.
      labels: of the left end, of the places between at equal distances, and of the right end.
      width: in characters.
      height: in characters, the labels not counted.
      is_colored: whether colors can be shown.

    Returns:
      Lines of text.
    """
    numbers = [value for line in lines for value in line.values if value == value]
    low, high = min(numbers), max(numbers)
    marks = [f"{high:.4g}", f"{low / 2 + high / 2:.4g}", f"{low:.4g}"]
    margin = max(map(len, marks)) + 2
    canvas = _Canvas(max(width - margin, NARROWEST), height)
    last = max(line.start + len(line.values) for line in lines) - 1
    for line in lines:
        canvas.draw(line, last, low, high)
    rows = canvas.rows(is_colored=is_colored)
    places = {0: marks[0], height // 2: marks[1], height - 1: marks[2]}
    text = [f"{places.get(index, ''):>{margin - 2}} ┤{row}" for index, row in enumerate(rows)]
    return "\n".join([*text, " " * margin + _spread(labels, canvas.width)])


class _Canvas:
    """Characters by their dots and colors."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._colors = [[""] * width for _ in range(height)]

    def draw(self, line: Line, last: int, low: float, high: float) -> None:
        across, down = self.width * DOTS_ACROSS - 1, self.height * DOTS_DOWN - 1
        before = None
        for offset, value in enumerate(line.values):
            if value != value:
                before = None
                continue
            # Halves first: the distance of two huge numbers may not be a number any more.
            span = high / 2 - low / 2
            share = (value / 2 - low / 2) / span if span else 0.5
            place = (line.start + offset) / max(last, 1)
            dot = (round(place * across), round((1.0 - share) * down))
            self._connect(before or dot, dot, line.color)
            before = dot

    def _connect(self, start: tuple[int, int], end: tuple[int, int], color: str) -> None:
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(steps + 1):
            x = start[0] + round((end[0] - start[0]) * step / steps)
            y = start[1] + round((end[1] - start[1]) * step / steps)
            row, column = y // DOTS_DOWN, x // DOTS_ACROSS
            self._bits[row][column] |= BITS[y % DOTS_DOWN][x % DOTS_ACROSS]
            self._colors[row][column] = color

    def rows(self, *, is_colored: bool) -> list[str]:
        rows = []
        for bits, colors in zip(self._bits, self._colors, strict=True):
            cells = [
                f"{color}{chr(BRAILLE + dots)}{PLAIN}" if is_colored and color else _cell(dots)
                for dots, color in zip(bits, colors, strict=True)
            ]
            rows.append("".join(cells).rstrip())
        return rows


def _cell(dots: int) -> str:
    return chr(BRAILLE + dots) if dots else " "


def _spread(labels: Sequence[str], width: int) -> str:
    """Puts labels at equal distances; the outer ones within the width."""
    text = [" "] * width
    for index, label in enumerate(labels):
        share = index / max(len(labels) - 1, 1)
        start = min(max(round(share * width - len(label) * share), 0), max(width - len(label), 0))
        text[start : start + len(label)] = label[:width]
    return "".join(text).rstrip()
