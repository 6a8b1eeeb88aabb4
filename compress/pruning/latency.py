"""Find, by measurement, the smallest pruning ratio that reaches a latency."""

from __future__ import annotations

import math
from collections.abc import Callable

from compress.contracts import BadInput

STEPS = 64


def least_ratio(latency: Callable[[float], float], limit: float, most: float, what: str) -> float:
    """Find by bisection one of ``STEPS`` evenly spaced ratios up to ``most`` that keeps the limit.

    The next smaller ratio does not keep it.

    Args:
        latency: ratio -> latency of the network pruned by it, in the unit of ``limit``; as it is measured, it may rise
            a little with the ratio.
        what: the start of the error message: the option and its value.

    Raises:
        BadInput: even ``most`` is too slow; the message gives the latency that was reached.
    """

    def ratio(step: int) -> float:
        return math.floor(1e6 * most * step / STEPS) / 1e6

    reached = latency(ratio(STEPS))
    if reached > limit:
        raise BadInput(
            f"{what}: {reached:.3g} is the least that pruning reached (ratio {ratio(STEPS):.3f}); ask for more"
        )
    too_slow, enough = 0, STEPS
    while enough - too_slow > 1:
        middle = (too_slow + enough) // 2
        if latency(ratio(middle)) > limit:
            too_slow = middle
        else:
            enough = middle
    return ratio(enough)
