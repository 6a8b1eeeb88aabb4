"""Detect problems of half precision from value ranges: overflow, near overflow, underflow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

HALF_MAX = 65504.0
OVERFLOW = 65520.0
"""From this value on, numbers round to infinity: halfway between the largest half-precision number and the next."""

NEAR = HALF_MAX / 4
"""Near overflow: twice the photograph's contrast and twice the scale would overflow."""

UNDERFLOW_SHARE = 0.1
"""Share of an operation's non-zero results that may round to zero without a note."""

SMALLEST_NORMAL = 2.0**-14
"""If a result is larger than this, values that round to zero are below one rounding step, e.g. a saturated sigmoid."""


@dataclass(frozen=True)
class Range:
    """The results of one operation over all images so far, before rounding to the declared type.

    Attributes:
        operation: ``type 'name'``.
        half: whether the program declares the result as half precision.
        largest: the largest absolute value; NaN if any result was NaN.
        nonzero: number of results that were not zero, over the images of the first batch.
        underflowed: number of these that are zero in half precision.
    """

    operation: str
    half: bool
    largest: float = 0.0
    nonzero: int = 0
    underflowed: int = 0

    def joined(self, largest: float, nonzero: int, underflowed: int) -> Range:
        """The range after further images."""
        worst = largest if math.isnan(largest) else max(self.largest, largest)
        return replace(self, largest=worst, nonzero=self.nonzero + nonzero, underflowed=self.underflowed + underflowed)

    @property
    def lost_share(self) -> float:
        """Share of the non-zero results that half precision loses; 0 if these are too small to matter."""
        return self.underflowed / self.nonzero if self.nonzero and self.largest < SMALLEST_NORMAL else 0.0


def notes(ranges: Iterable[Range]) -> tuple[str, ...]:
    """Describe each kind of problem in at most one line: one operation, and the number of others.

    For overflows this is the first operation, which may have caused the later ones; otherwise the worst.
    """
    half = [each for each in ranges if each.half]
    over = [each for each in half if OVERFLOW <= each.largest < math.inf]
    near = sorted((each for each in half if NEAR < each.largest < OVERFLOW), key=lambda each: -each.largest)
    zero = sorted((each for each in half if each.lost_share > UNDERFLOW_SHARE), key=lambda each: -each.lost_share)
    lines = []
    if over:
        lines.append(f"fp16 overflow: {over[0].operation} reaches {over[0].largest:.3g} of 65504{_others(over)}")
    if near:
        lines.append(f"fp16 nears overflow: {near[0].operation} reaches {near[0].largest:.3g} of 65504{_others(near)}")
    if zero:
        lines.append(
            f"fp16 underflow: {zero[0].lost_share:.0%} of the non-zero results of {zero[0].operation} "
            f"round to zero{_others(zero)}"
        )
    return tuple(lines)


def _others(found: Sequence[Range]) -> str:
    return f" (and {len(found) - 1} more operations)" if len(found) > 1 else ""
