"""Compute charts as plain geometry: pixels of an SVG that a template draws, and the numbers behind them as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compress.report.axis import Axis

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44
GUTTER = 178
"""Space for the names next to a chart of points."""

COLOURS = 6
"""Number of colours in the style sheet; each also has its own dash pattern and marker."""


@dataclass(frozen=True)
class Table:
    """The numbers behind a picture: a caption, column headings, and rows whose first cell is their heading."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Line:
    """A named line: ``look`` is the number of its colour and dashes; ``path`` its points in pixels, ``x,y x,y``."""

    name: str
    look: int
    path: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Point:
    """A named marker at (x, y) pixels; its name is at height ``name_y`` next to the chart."""

    name: str
    look: int
    x: float
    y: float
    name_y: float


@dataclass(frozen=True)
class Chart:
    """Everything a template needs to draw one chart.

    Attributes:
        key: part of ids in the page, so it must be unique among the charts.
        title: title above the chart.
        says: the message in words, for people who cannot see the chart.
        x_ticks, y_ticks: ticks, in pixels, with their text.
        plot: left, top, right and bottom of the plotting area, in pixels.
        rules: horizontal dashed marks, in pixels, with their text.
        marks: vertical dashed marks, in pixels, with their text.
        numbers: the numbers that the chart shows.
    """

    key: str
    title: str
    says: str
    x: Axis
    y: Axis
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    plot: tuple[int, int, int, int]
    numbers: Table
    lines: tuple[Line, ...] = ()
    points: tuple[Point, ...] = ()
    rules: tuple[tuple[float, str], ...] = ()
    marks: tuple[tuple[float, str], ...] = ()
    width: int = WIDTH
    height: int = HEIGHT


def line_chart(
    key: str,
    title: str,
    says: str,
    x: Axis,
    y: Axis,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    numbers: Table,
    marks: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Draw a chart of lines.

    Args:
        lines: name and points (x, y) of each line, in values.
        marks: x values to mark, each with a text.
    """
    plot = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    drawn = []
    for look, (name, values) in enumerate(lines):
        points = tuple((_x(x, plot, a), _y(y, plot, b)) for a, b in values)
        drawn.append(Line(name, look % COLOURS, " ".join(f"{a},{b}" for a, b in points), points))
    return Chart(
        key, title, says, x, y, *_ticks(x, y, plot), plot, numbers,
        lines=tuple(drawn), marks=tuple((_x(x, plot, value), text) for value, text in marks),
    )  # fmt: skip


def point_chart(
    key: str,
    title: str,
    says: str,
    x: Axis,
    y: Axis,
    points: Sequence[tuple[str, float, float]],
    numbers: Table,
    rules: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Draw a chart of named points.

    Args:
        points: name, x and y value of each point.
        rules: y values to mark, each with a text.
    """
    line_height = 16
    height = max(HEIGHT, TOP + BOTTOM + line_height * len(points))
    plot = (LEFT, TOP, WIDTH - GUTTER, height - BOTTOM)
    placed = [(name, _x(x, plot, a), _y(y, plot, b)) for name, a, b in points]
    # Of points at about the same height, the rightmost has its name on top, so that leader lines do not cross.
    order = sorted(range(len(placed)), key=lambda n: (round(placed[n][2] / line_height), -placed[n][1], n))
    heights = _apart([placed[n][2] for n in order], line_height, TOP + 6, plot[3])
    names = dict(zip(order, heights, strict=True))
    drawn = tuple(
        Point(name, number % COLOURS, left, top, names[number]) for number, (name, left, top) in enumerate(placed)
    )
    return Chart(
        key, title, says, x, y, *_ticks(x, y, plot), plot, numbers,
        points=drawn, rules=tuple((_y(y, plot, value), text) for value, text in rules), height=height,
    )  # fmt: skip


def _apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights at least ``gap`` apart, in order and close to ``wanted``, between ``low`` and ``high`` if possible."""
    # Names that would touch form a block around the mean of their wanted heights, as in isotonic regression.
    blocks: list[list[float]] = []
    for number, height in enumerate(wanted):
        blocks.append([height - number * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) >= _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    starts = [_mean(block) for block in blocks for _ in block]
    heights = [start + number * gap for number, start in enumerate(starts)]
    bounds = [(low + number * gap, high - (len(wanted) - 1 - number) * gap) for number in range(len(wanted))]
    return [round(max(least, min(most, height)), 1) for height, (least, most) in zip(heights, bounds, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ticks(
    x: Axis, y: Axis, plot: tuple[int, int, int, int]
) -> tuple[tuple[tuple[float, str], ...], tuple[tuple[float, str], ...]]:
    return (
        tuple((_x(x, plot, value), text) for value, text in x.ticks),
        tuple((_y(y, plot, value), text) for value, text in y.ticks),
    )


def _x(axis: Axis, plot: tuple[int, int, int, int], value: float) -> float:
    return round(plot[0] + axis.share(value) * (plot[2] - plot[0]), 1)


def _y(axis: Axis, plot: tuple[int, int, int, int], value: float) -> float:
    return round(plot[3] - axis.share(value) * (plot[3] - plot[1]), 1)
