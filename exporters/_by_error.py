"""Order what can stay exact by how much rounding it alone changes the embeddings, measured on calibration images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_NEGLIGIBLE = 1e-3
"""What causes less than this share of the sum of all squared errors is always rounded."""


def relative_error(found: np.ndarray, right: np.ndarray) -> float:
    """Root mean square error of embeddings [n, D] as a share of their spread, or of their length if all are equal."""
    import numpy as np

    spread = float(np.linalg.norm(right - right.mean(0))) or float(np.linalg.norm(right)) or 1.0
    return float(np.linalg.norm(found - right)) / spread


def worst_first(errors: Mapping[str, float], sizes: Mapping[str, int]) -> list[str]:
    """Order names by their squared error per size, the largest first; negligible errors are left out.

    Args:
        errors: name -> error of the embeddings if it alone is rounded, as ``relative_error``.
        sizes: name -> what it costs to keep it exact.
    """
    least = _NEGLIGIBLE * sum(error**2 for error in errors.values())
    found = [name for name in errors if errors[name] ** 2 > least]
    return sorted(found, key=lambda name: errors[name] ** 2 / sizes[name], reverse=True)


def evenly(images: np.ndarray, count: int) -> np.ndarray:
    """Take at most ``count`` of the images, evenly spaced."""
    import numpy as np

    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return np.asarray(images[chosen])
