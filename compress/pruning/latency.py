"""The least ratio with which a network is as fast as asked for, by measurement."""

from __future__ import annotations

import math
from collections.abc import Callable

from compress.contracts import BadInput

STEPS = 64


def least_ratio(latency: Callable[[float], float], limit: float, most: float, what: str) -> float:
    """One of ``STEPS`` even ratios up to ``most`` that keeps the limit where the one below does not, by bisection.

    Args:
        latency: of the network pruned by a ratio, in the unit of ``limit``; measured, so that it need not quite fall.
        what: opens the error message: the option and its value.

    Raises:
        BadInput: not even ``most`` is enough; the message says what was reached.
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
