"""Axes end on round numbers and hold every value; names beside points never touch."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from compress.report.axis import axis, counting_axis
from compress.report.charts import Table, line_chart, point_chart
from compress.report.training import training_charts

NUMBERS = Table("numbers", ("a", "b"), ())


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([0.0, 1.0], {}, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([1.28, 2.42], {"zero": True}, ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]),
        (
            [0.7334, 0.7334],
            {"least": 0.02, "inside": (0.0, 1.0)},
            ["0.720", "0.725", "0.730", "0.735", "0.740", "0.745"],
        ),
        ([1.0], {"least": 0.02, "inside": (0.0, 1.0)}, ["0.980", "0.985", "0.990", "0.995", "1.000"]),
        ([3.0, 17.0], {"zero": True}, ["0", "5", "10", "15", "20"]),
    ],
)
def test_ticks_are_round(values: list[float], options: dict, expected: list[str]) -> None:
    found = axis("", values, **options)
    assert [text for _, text in found.ticks] == expected


def test_every_value_lies_on_its_axis() -> None:
    draw = random.Random(1)
    for _ in range(500):
        scale = 10 ** draw.uniform(-6, 6)
        values = [draw.uniform(-1, 1) * scale for _ in range(draw.randint(1, 5))]
        found = axis("", values, zero=draw.random() < 0.5, least=draw.choice([0.0, 0.02]))
        assert all(-1e-9 <= found.share(value) <= 1 + 1e-9 for value in values)
        assert 2 <= len(found.ticks) <= 12
        assert len({text for _, text in found.ticks}) == len(found.ticks)


@pytest.mark.parametrize(
    ("last", "ticks"), [(1, [1, 2]), (3, [1, 2, 3]), (12, [1, 2, 4, 6, 8, 10, 12]), (200, [1, 50, 100, 150, 200])]
)
def test_epochs_are_whole(last: int, ticks: list[int]) -> None:
    assert [value for value, _ in counting_axis("epoch", last).ticks] == ticks


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_names_beside_points_keep_their_distance(count: int) -> None:
    draw = random.Random(count)
    heights = [draw.choice([0.5, 0.5001, draw.random()]) for _ in range(count)]
    points = [(str(n), draw.random(), height) for n, height in enumerate(heights)]
    chart = point_chart("k", "t", "s", axis("", [0, 1]), axis("", [0, 1]), points, NUMBERS)
    names = sorted(point.name_y for point in chart.points)
    assert all(b - a >= 15.9 for a, b in itertools.pairwise(names))
    assert names[0] >= chart.plot[1]
    assert names[-1] <= chart.height


def test_a_point_lies_where_its_values_say() -> None:
    x, y = axis("", [0.0, 10.0]), axis("", [0.0, 1.0])
    chart = line_chart("k", "t", "s", x, y, [("line", [(0, 0), (10, 1), (5, 0.25)])], NUMBERS)
    left, top, right, bottom = chart.plot
    assert chart.lines[0].points == ((left, bottom), (right, top), ((left + right) / 2, bottom - (bottom - top) / 4))


def test_stages_are_drawn_one_after_the_other() -> None:
    lines: list[dict[str, Any]] = [
        {"stage": "train", "epoch": 1, "loss": 3.0, "lr": 0.1},
        {"stage": "train", "epoch": 2, "loss": 2.0, "lr": 0.1},
        {"stage": "prune", "step": 1, "params": 5},
        {"stage": "prune", "step": 1, "epoch": 1, "loss": 2.5, "teacher loss": 0.5},
        {"stage": "prune", "step": 2, "epoch": 1, "loss": 2.25},
        {"stage": "validate", "path": "a"},
    ]
    loss, teacher = training_charts(lines)
    assert (loss.title, teacher.title) == ("Loss", "Teacher loss")
    assert [line.name for line in loss.lines] == ["train", "prune 1", "prune 2"]
    assert [row[:3] for row in loss.numbers.rows] == [
        ("1", "train", "3"),
        ("2", "train", "2"),
        ("3", "prune 1", "2.5"),
        ("4", "prune 2", "2.25"),
    ]
    assert [text for _, text in loss.marks] == ["prune 1", "prune 2"]
    assert training_charts(lines[2:3]) == []
