"""Exact nearest neighbours for single queries, without measuring the whole gallery in float64 for each."""

from __future__ import annotations

from typing import Literal

import numpy as np

from validators.metrics import nearest_neighbours

_HALF_ULP = 2.0**-24
_LEAST = 2.0**-126
"""Relative and absolute error of one float32 operation."""


class Shortlist:
    """Measures every image by one product in float32, and those that may be among the nearest exactly.

    The candidates follow from a proven bound: a sum of D products in float32, in any order, has an error of at most D
    half units in the last place. So the answer equals that of ``validators.metrics.nearest_neighbours`` over the whole
    gallery, unless the lengths of its features span more than six orders of magnitude: then this search separates
    images that the other treats as ties.
    """

    def __init__(self, features: np.ndarray, distance: Literal["l2", "cosine"]) -> None:
        """``features`` are float32 [G, D]; they are not copied."""
        self._features, self._distance = features, distance
        self._squares = np.einsum("nd,nd->n", features, features, dtype=np.float64)

    def nearest(self, query: np.ndarray, k: int) -> np.ndarray:
        """Find the nearest images of ``query`` (float32 [D]): int64 [min(k, G)], nearest first, ties by lower index.

        Raises:
            ValueError: a wrong D, NaN or infinity.
        """
        rows = self.candidates(query, k)
        (found,) = nearest_neighbours(query[None], self._features[rows], k, distance=self._distance)
        return np.asarray(rows[found])

    def candidates(self, query: np.ndarray, k: int) -> np.ndarray:
        """Every image that may be among the ``k`` nearest, and few others: int64 [n], ascending."""
        G, D = self._features.shape
        square = float(np.einsum("d,d->", query, query, dtype=np.float64))
        lengths = np.sqrt(self._squares * square)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            products = (self._features @ query).astype(np.float64)
            error = (D + 8) * _HALF_ULP * lengths + D * _LEAST
            # The second term covers the rounding of exact distances to float32.
            if self._distance == "l2":
                sums = self._squares + square
                values, error = sums - 2 * products, 2 * error + 8 * _HALF_ULP * sums
            else:
                # A zero vector is at distance 1 from everything; its error is NaN here.
                values, error = 1 - products / lengths, error / lengths + 8 * _HALF_ULP
            # Where float32 overflows, or a length is 0, nothing is known of the distance.
            known = np.isfinite(values) & np.isfinite(error)
            limit = np.partition(np.where(known, values + error, np.inf), min(k, G) - 1)[min(k, G) - 1]
            return np.flatnonzero(~known | (values - error <= limit))
