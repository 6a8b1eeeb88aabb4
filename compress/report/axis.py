"""A chart's axis: a range of values with round numbers as ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """An axis with ticks.

    Attributes:
        label: what is measured, with its unit.
        low, high: the values at its two ends, low below high.
        ticks: values between them, with their text.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """The position of a value along the axis: 0 at ``low``, 1 at ``high``."""
        return (value - self.low) / (self.high - self.low)


def axis(
    label: str,
    values: Sequence[float],
    *,
    zero: bool = False,
    least: float = 0.0,
    inside: tuple[float, float] | None = None,
) -> Axis:
    """Make an axis that contains all ``values``, with its ends on ticks.

    Args:
        zero: begin at 0.
        least: cover at least this much, so that noise does not look like a difference.
        inside: never reach beyond these two values.
    """
    low, high = (min(values, default=0.0), max(values, default=1.0))
    low = min(0.0, low) if zero else low
    missing = max(least, 1e-9) - (high - low)
    if missing > 0:
        low, high = (low, high + missing) if zero else (low - missing / 2, high + missing / 2)
    if inside is not None:
        low, high = max(low, inside[0]), min(high, inside[1])
        low = min(low, high - least)
    step = _step(high - low)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1))
    return Axis(label, ticks[0][0], ticks[-1][0], ticks)


def counting_axis(label: str, last: int) -> Axis:
    """Make an axis of whole numbers from 1 to ``last``, or to 2 if that is larger."""
    last = max(2, last)
    step = max(1, math.ceil(_step(last - 1)))
    numbers = [1, *range(step if step > 1 else 2, last + 1, step)]
    return Axis(label, 1, last, tuple((number, str(number)) for number in numbers))


def _step(span: float) -> float:
    """The distance of ticks: 1, 2 or 5 times a power of ten, a quarter to a sixth of the span."""
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if rough <= step * power * 1.2)
