"""What value ranges say about half precision: overflow, nearly overflow, underflow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

HALF_MAX = 65504.0
OVERFLOW = 65520.0
"""From here on a number rounds to infinity: halfway between the largest half-precision number and the next step."""

NEAR = HALF_MAX / 4
"""Twice a photograph's contrast and twice an unlucky scale would overflow."""

UNDERFLOW_SHARE = 0.1
"""Share of an operation's non-zero results that may round to zero without a word."""

SMALLEST_NORMAL = 2.0**-14
"""Beside a result larger than this, what rounds to zero is below one rounding step: a saturated sigmoid is no loss."""


@dataclass(frozen=True)
class Range:
    """What one operation gave over all images so far, before rounding to the declared type.

    Attributes:
        operation: ``type 'name'``.
        half: whether the program declares the result as half precision.
        largest: the largest absolute value; NaN if there was one.
        nonzero: how many results were not zero, over the images of the first batch.
        underflowed: how many of those are zero in half precision.
    """

    operation: str
    half: bool
    largest: float = 0.0
    nonzero: int = 0
    underflowed: int = 0

    def joined(self, largest: float, nonzero: int, underflowed: int) -> Range:
        """With further images."""
        worst = largest if math.isnan(largest) else max(self.largest, largest)
        return replace(self, largest=worst, nonzero=self.nonzero + nonzero, underflowed=self.underflowed + underflowed)

    @property
    def lost_share(self) -> float:
        """Share of the non-zero results that half precision loses, 0 where their size does not matter."""
        return self.underflowed / self.nonzero if self.nonzero and self.largest < SMALLEST_NORMAL else 0.0


def notes(ranges: Iterable[Range]) -> tuple[str, ...]:
    """At most one line per kind of trouble, about one operation, and how many others there are.

    Of overflows the first is told, which the later ones may follow from; of the others the worst.
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
