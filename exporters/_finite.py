"""Find the ends of a range among values that may be infinite."""

from __future__ import annotations

import numpy as np

INFINITE = 1e30
"""Larger values are no results: they stand for infinity, in paddings and masks."""


def finite_ends(values: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest value, without infinities, NaN and numbers that stand for infinity; (0, 0) if none
    is left."""
    low, high = float(values.min()), float(values.max())
    if low > -INFINITE and high < INFINITE:
        return low, high
    left = values[np.abs(values) < INFINITE]  # NaN is not
    return (float(left.min()), float(left.max())) if left.size else (0.0, 0.0)
