"""The choice under a limit, worked by hand."""

from __future__ import annotations

import pytest

from exporters.rewrites._choice import Form, Place, choose, unchanged

PLACES = [
    Place("a", (Form("plain", 10, 0, unchanged), Form("fast", 2, 100, unchanged), Form("half", 5, 20, unchanged))),
    Place("b", (Form("plain", 10, 0, unchanged), Form("fast", 9, 50, unchanged))),
]


@pytest.mark.parametrize(
    ("free", "names"),
    [
        (None, ["fast", "fast"]),
        (150, ["fast", "fast"]),
        (149, ["fast", "plain"]),  # b loses 1 for 50 bytes, a at least 3 for 80
        (99, ["half", "plain"]),  # 3 for 80 bytes is less than 8 for 100
        (19, ["plain", "plain"]),
        (-1, ["plain", "plain"]),
    ],
)
def test_the_least_gain_per_byte_goes_first(free: int | None, names: list[str]) -> None:
    assert [form.name for form in choose(PLACES, free)] == names
