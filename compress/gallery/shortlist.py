"""Exact nearest neighbours of one query after another, without measuring the whole gallery exactly each time."""

from __future__ import annotations

from typing import Literal

import numpy as np

from validators.metrics import nearest_neighbours

_HALF_ULP = 2.0**-24
_LEAST = 2.0**-126
"""Relative and absolute error of one float32 operation."""


class Shortlist:
    """Ranks every image by one product in float32, and those that may be among the nearest exactly.

    Which may is not guessed: a sum of D products in float32, in whatever order, is off by at most D half units in the
    last place. So the answer is that of ``validators.metrics.nearest_neighbours`` over the whole gallery, unless the
    lengths of its features span more than six orders: then this one tells apart what that one takes for ties.
    """

    def __init__(self, features: np.ndarray, distance: Literal["l2", "cosine"]) -> None:
        """``features`` are float32 [G, D]; they are not copied."""
        self._features, self._distance = features, distance
        self._squares = np.einsum("nd,nd->n", features, features, dtype=np.float64)

    def nearest(self, query: np.ndarray, k: int) -> np.ndarray:
        """int64 [min(k, G)], nearest first, ties to the lower index; ``query`` is float32 [D].

        Raises:
            ValueError: another D, NaN or infinity.
        """
        rows = self.candidates(query, k)
        (found,) = nearest_neighbours(query[None], self._features[rows], k, distance=self._distance)
        return np.asarray(rows[found])

    def candidates(self, query: np.ndarray, k: int) -> np.ndarray:
        """int64 [n], ascending: every image that may be among the ``k`` nearest, and few others."""
        G, D = self._features.shape
        square = float(np.einsum("d,d->", query, query, dtype=np.float64))
        lengths = np.sqrt(self._squares * square)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            products = (self._features @ query).astype(np.float64)
            error = (D + 8) * _HALF_ULP * lengths + D * _LEAST
            # The second term is for what is rounded to float32 once it has been measured exactly.
            if self._distance == "l2":
                sums = self._squares + square
                values, error = sums - 2 * products, 2 * error + 8 * _HALF_ULP * sums
            else:
                # A zero vector is at distance 1 from everything; its error is NaN, so it always is a candidate.
                values, error = 1 - products / lengths, error / lengths + 8 * _HALF_ULP
            limit = np.partition(values + error, min(k, G) - 1)[min(k, G) - 1]
            # Not "<=": what could not be computed in float32 must stay.
            return np.flatnonzero(~(values - error > limit))
