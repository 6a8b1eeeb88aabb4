"""Compute distances between many queries and a gallery, exact for ties, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np

from compress.contracts import BadInput, Distance
from compress.plugins import did_you_mean
from validators.local_matching import LocalDistances

_BLOCK_ITEMS = 2**23
_TILE_ITEMS = 2**21
_ROUNDING = 2.0**-42
"""Upper bound of the relative error of a float64 product over a few thousand dimensions."""

_LEAST_UNIT = 2.0**-60
"""Keeps quotients by a unit inside float32 if all features are equal."""

Index = slice | np.ndarray


class Distances:
    """Distances of Q queries to G gallery items, a block of queries at a time.

    Exact distances come from products in float64: in float32 the last bit depends on an item's position in memory, so
    that two copies of one image would not tie, and the ranking would change with the block size. Approximate distances,
    from products in float32, take half the time and show which pairs need no exact distance.

    In addition to the caller's arrays, a float32 copy of each is kept; float64 rows are made when they are needed.

    Args:
        queries: [Q, D], any real dtype.
        gallery: [G, D].
        distance: ``l2``; ``cosine`` (a zero vector is at distance 1 from everything); ``hamming`` of the bits
            activation > 0.5, activations in [0, 1]; ``local``, see ``local_matching``.

    Raises:
        ValueError: the shapes do not match, a value is not finite, or an activation is outside [0, 1].
        BadInput: unknown distance.
    """

    def __init__(self, queries: np.ndarray, gallery: np.ndarray, distance: Distance) -> None:
        known = list(get_args(Distance))
        if distance not in known:
            raise BadInput(f"distance {distance!r} must be one of {', '.join(known)}{did_you_mean(distance, known)}")
        self.distance = distance
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
        self.shape = (len(queries), len(gallery))
        if distance == "local":
            self._local = LocalDistances(queries, gallery)
            return
        if distance == "hamming":
            self._gallery_words = np.ascontiguousarray(_words(gallery).T)
            self._query_words = _words(queries)
            return
        make = _centred_rows(queries, gallery) if distance == "l2" else _unit_rows
        self._gallery = _Rows(gallery, make)
        self._queries = self._gallery if same else _Rows(queries, make)

    def block_rows(self) -> Iterator[slice]:
        """Divide the queries into blocks of about 8 million distances."""
        count, items = self.shape
        size = max(32, _BLOCK_ITEMS // items)
        for start in range(0, count, size):
            yield slice(start, min(start + size, count))

    def block(self, queries: Index) -> np.ndarray:
        """Compute exact distances: float32 [n, G], never negative, in the distance's order (l2: squared, scaled)."""
        if self.distance == "hamming":
            return self.bits(queries).astype(np.float32)
        if self.distance == "local":
            return self._local.block(queries)
        items = self.shape[1]
        rows = self._queries.exact(queries)
        found = np.empty((len(rows), items), dtype=np.float32)
        step = max(256, _TILE_ITEMS // rows.shape[1])
        for start in range(0, items, step):
            tile = slice(start, min(start + step, items))
            found[:, tile] = self._exact(rows, self._queries.norms[queries], tile)
        return found

    def pairs(self, queries: Index, items: Index) -> np.ndarray:
        """Compute the values of ``block`` for these gallery items: float32 [n, m]; for l2 and cosine only."""
        return self._exact(self._queries.exact(queries), self._queries.norms[queries], items)

    def approximate(self, queries: Index) -> tuple[np.ndarray, np.ndarray]:
        """Compute ``block`` by products in float32, and the unit of their error; for l2 and cosine only.

        Returns:
            float32 [n, G], and float64 [n], a unit to which rounding errors are proportional: the error is a multiple
            of 2**-24 of the unit; the multiple depends on D and on the order in which the products are summed.
        """
        l2 = self.distance == "l2"
        found: np.ndarray = (self._queries.rounded[queries] * (-2 if l2 else -1)) @ self._gallery.rounded.T
        norms = self._queries.norms[queries]
        if not l2:
            found += 1
            return found, np.full(len(norms), 2.0)
        gallery_norms = self._gallery.norms.astype(np.float32)
        # Row by row: a row stays in the processor's cache, a block does not.
        for row, norm in zip(found, norms.astype(np.float32), strict=True):
            row += gallery_norms
            row += norm
        return found, np.maximum(norms + self._gallery.norms.max(), _LEAST_UNIT)

    def bits(self, queries: Index) -> np.ndarray:
        """Count the bits that differ: uint16 [n, G]; for hamming only."""
        words = self._query_words[queries]
        found = np.zeros((len(words), self.shape[1]), dtype=np.uint16)
        # Row by row: one code against the gallery stays in the processor's cache.
        for row, code in zip(found, words, strict=True):
            for word, column in zip(code, self._gallery_words, strict=True):
                row += _popcount(column ^ word)
        return found

    def _exact(self, rows: np.ndarray, norms: np.ndarray, items: Index) -> np.ndarray:
        products: np.ndarray = rows @ self._gallery.exact(items).T
        if self.distance == "cosine":
            distances = np.subtract(1, products, out=products)
            distances[distances < _ROUNDING] = 0
        else:
            sums = norms[:, None] + self._gallery.norms[items]
            products *= 2
            distances = np.subtract(sums, products, out=products)
            sums *= _ROUNDING
            distances[distances <= sums] = 0
        return np.asarray(distances, dtype=np.float32)


class _Rows:
    """Features in the types that the products need.

    Attributes:
        rounded: float32 [N, D].
        norms: float64 [N], squared lengths of the exact rows.
    """

    def __init__(self, features: np.ndarray, make: Callable[[np.ndarray], np.ndarray]) -> None:
        self._features = features
        self._make = make
        self.rounded = np.empty(features.shape, dtype=np.float32)
        self.norms = np.empty(len(features))
        step = max(1, _TILE_ITEMS // features.shape[1])
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            exact = self.exact(rows)
            self.rounded[rows] = exact
            self.norms[rows] = np.einsum("nd,nd->n", exact, exact)

    def exact(self, index: Index) -> np.ndarray:
        """The exact rows, float64 [n, D]."""
        return self._make(self._features[index])


def _centred_rows(queries: np.ndarray, gallery: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function that subtracts the gallery's mean and divides by one number for all."""
    centre = gallery.mean(axis=0, dtype=np.float64)
    reach = max(
        max((each.max(axis=0) - centre).max(), (centre - each.min(axis=0)).max()) for each in (queries, gallery)
    )
    # A power of two keeps the squares inside float32 and changes neither ranking nor rounding.
    factor = 2.0 ** -np.frexp(reach)[1].astype(np.float64)

    def make(rows: np.ndarray) -> np.ndarray:
        centred: np.ndarray = np.subtract(rows, centre, dtype=np.float64)
        centred *= factor
        return centred

    return make


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; zero rows stay zero."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float64)
    scaled = rows / np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(norms > 0, norms, 1))


def _words(activations: np.ndarray) -> np.ndarray:
    """Pack the bits activation > 0.5 into uint64 [N, ceil(K / 64)]."""
    packed = np.packbits(activations > 0.5, axis=1)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)


def _popcount(words: np.ndarray) -> np.ndarray:
    """Count the set bits of uint64 [n]: uint8 [n]."""
    if hasattr(np, "bitwise_count"):
        counts: np.ndarray = np.bitwise_count(words)
        return counts
    # NumPy 1 cannot count bits, so a table of all 16-bit numbers is used.
    return np.asarray(_BITS_OF[words.view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.uint8))


_BITS_OF = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(axis=1, dtype=np.uint8)


def _require_usable(name: str, features: np.ndarray, distance: Distance) -> None:
    if not np.isfinite(features).all():
        count = np.count_nonzero(~np.isfinite(features).all(axis=1))
        raise ValueError(f"{name}: {count} of {len(features)} features hold NaN or infinity and cannot be ranked")
    if distance == "hamming" and (features.min() < 0 or features.max() > 1):
        raise ValueError(
            f"{name}: activations reach from {features.min():g} to {features.max():g}; "
            "hamming takes values in [0, 1], one column a bit"
        )
