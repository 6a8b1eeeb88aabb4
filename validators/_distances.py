"""Distances between many queries and a gallery: exact where items tie, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np

from compress.contracts import BadInput, Distance
from compress.plugins import did_you_mean

_BLOCK_ITEMS = 2**21
_ROUNDING = 2.0**-42
"""Relative error a float64 product over a few thousand dimensions stays below."""


class Distances:
    """Distances of Q queries to G gallery items, a block of queries at a time.

    Products are taken in float64: in float32 the last bit depends on where an item lies in memory, so that two
    copies of one image would not tie, and the ranking would change with the block size.

    Args:
        queries: [Q, D], any real dtype.
        gallery: [G, D].
        distance: ``l2``; ``cosine`` (a zero vector is at distance 1 from everything); ``hamming`` of the bits
            activation > 0.5, activations in [0, 1].

    Raises:
        ValueError: the shapes do not match, a value is not finite, or an activation lies outside [0, 1].
        BadInput: unknown distance.
    """

    def __init__(self, queries: np.ndarray, gallery: np.ndarray, distance: Distance) -> None:
        known = list(get_args(Distance))
        if distance not in known:
            raise BadInput(f"distance {distance!r} must be one of {', '.join(known)}{did_you_mean(distance, known)}")
        self._distance = distance
        same = gallery is queries
        queries, gallery = np.asarray(queries), np.asarray(gallery)
        if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not queries.shape[1]:
            raise ValueError(
                f"queries {list(queries.shape)} and gallery {list(gallery.shape)} must be [Q, D] and [G, D] with D >= 1"
            )
        if not len(queries) or not len(gallery):
            raise ValueError(f"{len(queries)} queries and {len(gallery)} gallery items: each must be at least 1")
        for name, features in {"queries": queries, "gallery": gallery}.items():
            _require_usable(name, features, distance)
        if distance == "hamming":
            # Counts of bits are exact in float32.
            self._gallery = (gallery > 0.5).astype(np.float32)
            self._queries = self._gallery if same else (queries > 0.5).astype(np.float32)
        elif distance == "cosine":
            self._gallery = _unit(gallery)
            self._queries = self._gallery if same else _unit(queries)
        else:
            centre = gallery.mean(axis=0, dtype=np.float64)
            self._gallery = gallery - centre
            self._queries = self._gallery if same else queries - centre
            # One power of two for all: it keeps the squares inside float32 and changes neither ranking nor rounding.
            scale = 2.0 ** np.frexp(max(np.abs(self._gallery).max(), np.abs(self._queries).max()))[1]
            self._gallery /= scale
            if not same:
                self._queries /= scale
        self._gallery_norms = np.einsum("gd,gd->g", self._gallery, self._gallery)

    def block(self, rows: slice) -> np.ndarray:
        """float32 [n, G], never negative, in the order of the distance (l2: squared and scaled)."""
        queries = self._queries[rows]
        products: np.ndarray = queries @ self._gallery.T
        if self._distance == "cosine":
            distances = np.subtract(1, products, out=products)
            distances[distances < _ROUNDING] = 0
        else:
            norms = np.einsum("qd,qd->q", queries, queries)[:, None] + self._gallery_norms
            products *= 2
            distances = np.subtract(norms, products, out=products)
            if self._distance == "l2":
                norms *= _ROUNDING
                distances[distances <= norms] = 0
        return np.asarray(distances, dtype=np.float32)

    def block_rows(self) -> Iterator[slice]:
        """The queries in blocks that keep one block of distances near 2 million items."""
        size = max(32, _BLOCK_ITEMS // len(self._gallery))
        for start in range(0, len(self._queries), size):
            yield slice(start, min(start + size, len(self._queries)))


def _require_usable(name: str, features: np.ndarray, distance: Distance) -> None:
    if not np.isfinite(features).all():
        count = np.count_nonzero(~np.isfinite(features).all(axis=1))
        raise ValueError(f"{name}: {count} of {len(features)} features hold NaN or infinity and cannot be ranked")
    if distance == "hamming" and (features.min() < 0 or features.max() > 1):
        raise ValueError(
            f"{name}: activations reach from {features.min():g} to {features.max():g}; "
            "hamming takes values in [0, 1], one column a bit"
        )


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64; zero rows stay zero."""
    largest = np.abs(features).max(axis=1, keepdims=True).astype(np.float64)
    scaled = features / np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(norms > 0, norms, 1))
