"""Which items stand for all of them where measuring all would cost too much."""

from __future__ import annotations

import numpy as np


def evenly(count: int, limit: int) -> np.ndarray:
    """At most ``limit`` of ``count`` indices, evenly spaced, first and last included: int64, increasing."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))
