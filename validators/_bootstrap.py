"""How far a mean over the queries may be off."""

from __future__ import annotations

import numpy as np

RESAMPLES = 1000


def interval(values: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of ``values`` [n], by the bootstrap; the seed is fixed."""
    random = np.random.Generator(np.random.PCG64(0))
    means = [values[random.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
