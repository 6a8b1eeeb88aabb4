"""Rank without sorting the gallery: a metric only needs the number of items before each relevant one.

The distances of a query are put into equal bins. Items in bins without a relevant item are only counted; items that
share a bin with a relevant item are compared with it, and if an approximate distance cannot decide, the exact one does.
So the ranking is that of the exact distances, at the cost of a float32 product.

The error of a float32 product is measured: the proven bound, about D * 2**-24, is a hundred times the actual error and
would leave most pairs undecided. The margin is at least twice the largest error among all relevant pairs and all pairs
that were decided exactly, which are those at risk; a larger error increases it, and the query is ranked again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from validators import _rankings
from validators._distances import Distances
from validators._rankings import Groups, Rankings

_BINS = 2**14
_FIRST_MARGIN = 2.0**-22
_SAFETY = 2
_CROWDED = 1 / 16
"""Share of the gallery; if more items are undecided, exact distances are sorted instead."""


class Counter:
    """Ranks the gallery for blocks of queries and keeps the largest error of float32 products. Threads may share it."""

    def __init__(self, distances: Distances) -> None:
        self._distances = distances
        self._margin = _FIRST_MARGIN
        self._turn = threading.Lock()

    def rankings(
        self,
        queries: np.ndarray,
        relevant: Sequence[np.ndarray],
        exclude_self: bool,
        junk: Sequence[np.ndarray] | None = None,
    ) -> Rankings:
        """Rank the gallery for the queries, in their order.

        Args:
            queries: int64 [n]. It is faster if queries of one class are next to each other.
            relevant: the relevant gallery items of each query, int64 [R]; the same object for queries of one class.
            exclude_self: query i is gallery item i, one of its relevant items, and is removed from its ranking.
            junk: further gallery items to remove from each query's ranking, int64, none of them relevant.
        """
        ranked = {"hamming": self._from_codes, "local": self._from_sorted}
        count = ranked.get(self._distances.distance, self._from_features)
        groups = count(queries, relevant, exclude_self, junk)
        return _rankings.from_groups(self._distances.shape[1] - exclude_self, groups)

    def _from_codes(
        self,
        queries: np.ndarray,
        relevant: Sequence[np.ndarray],
        exclude_self: bool,
        junk: Sequence[np.ndarray] | None,
    ) -> list[Groups]:
        """Rank by codes: the number of differing bits is a small integer, so its histogram gives the ranking."""
        found = []
        for number, (query, row, members) in enumerate(
            zip(queries, self._distances.bits(queries), relevant, strict=True)
        ):
            hits = np.bincount(row[members[members != query] if exclude_self else members])
            sizes = np.bincount(row, minlength=len(hits))[: len(hits)]
            if junk is not None:
                sizes -= np.bincount(row[junk[number]], minlength=len(hits))[: len(hits)]
            # Not always at distance 0, because another artifact may have made the gallery's code of the image.
            if exclude_self and row[query] < len(sizes):
                sizes[row[query]] -= 1
            values = np.flatnonzero(hits)
            found.append(((np.cumsum(sizes) - sizes)[values], sizes[values], hits[values]))
        return found

    def _from_sorted(
        self,
        queries: np.ndarray,
        relevant: Sequence[np.ndarray],
        exclude_self: bool,
        junk: Sequence[np.ndarray] | None,
    ) -> list[Groups]:
        """Rank by sorting, for distances that cost far more to compute than to sort."""
        found = []
        for number, (query, row, members) in enumerate(
            zip(queries, self._distances.block(queries), relevant, strict=True)
        ):
            limits, hits = _unique(np.sort(row[members[members != query] if exclude_self else members]))
            row[members] = np.inf
            if junk is not None:
                row[junk[number]] = np.inf
            found.append(_with_hits(*_before_and_ties(np.sort(row), limits), hits))
        return found

    def _from_features(
        self,
        queries: np.ndarray,
        relevant: Sequence[np.ndarray],
        exclude_self: bool,
        junk: Sequence[np.ndarray] | None,
    ) -> list[Groups]:
        values, unit = self._distances.approximate(queries)
        thresholds: list[np.ndarray] = []
        for start, stop in _runs(relevant):
            rows, members = slice(start, stop), relevant[start]
            exact = self._distances.pairs(queries[rows], members)
            error = np.abs(values[rows, members] - exact).max(axis=1, initial=0)
            self._widen(float((error / unit[rows]).max()))
            # Their ranks among each other are already known; at a large distance they are counted nowhere.
            values[rows, members] = np.inf
            if exclude_self:
                exact[members == queries[rows, None]] = np.inf
            exact.sort(axis=1)
            thresholds += list(exact[:, : exact.shape[1] - exclude_self])
        for row, items in enumerate(junk or ()):
            values[row, items] = np.inf
        found: list[Groups | None] = [
            self._count(row, sorted_, float(each), query)
            for row, sorted_, each, query in zip(values, thresholds, unit, queries, strict=True)
        ]
        del values
        crowded = [row for row, groups in enumerate(found) if groups is None]
        if crowded:
            for row, exact in zip(crowded, self._distances.block(queries[crowded]), strict=True):
                exact[relevant[row]] = np.inf
                if junk is not None:
                    exact[junk[row]] = np.inf
                limits, hits = _unique(thresholds[row])
                found[row] = _with_hits(*_before_and_ties(np.sort(exact), limits), hits)
        return [groups for groups in found if groups is not None]

    def _widen(self, error: float) -> None:
        with self._turn:
            self._margin = max(self._margin, _SAFETY * error)

    def _count(self, values: np.ndarray, relevant: np.ndarray, unit: float, query: int) -> Groups | None:
        """Count one query's groups of ties; None if its distances are too close together.

        Args:
            values: float32 [G], approximate; infinite for relevant items, junk and the query itself.
            relevant: float32 [R], exact and sorted.
            unit: the unit of the margin.
        """
        limits, hits = _unique(relevant.astype(np.float64))
        if not len(limits):
            return limits, limits, hits
        while True:
            margin = self._margin * unit
            bins, first, last = _binned(values, limits, margin)
            near = np.cumsum(np.bincount(first, minlength=_BINS) - np.bincount(last + 1, minlength=_BINS)) > 0
            items = np.flatnonzero(near[bins])
            close = values[items].astype(np.float64)
            undecided = _distance_to_nearest(close, limits) <= margin
            if np.count_nonzero(undecided) > len(values) * _CROWDED:
                return None
            if undecided.any():
                exact = self._distances.pairs(np.array([query]), items[undecided])[0]
                self._widen(float(np.abs(close[undecided] - exact).max()) / unit)
                if margin < self._margin * unit:
                    continue
                close[undecided] = exact
            close.sort()
            counts = np.bincount(bins, minlength=_BINS)
            counts[near] = 0
            before, ties = _before_and_ties(close, limits)
            return _with_hits(np.cumsum(counts)[first] + before, ties, hits)


def _runs(values: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Start and stop of every run of one object."""
    starts = [i for i, value in enumerate(values) if i == 0 or value is not values[i - 1]]
    return list(zip(starts, [*starts[1:], len(values)], strict=True))


def _unique(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of a sorted array, and how often each occurs."""
    start = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)])
    return ordered[start], np.diff(np.append(start, len(ordered)))


def _with_hits(before: np.ndarray, ties: np.ndarray, hits: np.ndarray) -> Groups:
    """Make groups from the number of irrelevant items before and in each of them."""
    return before + np.cumsum(hits) - hits, ties + hits, hits


def _before_and_ties(ordered: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the sorted values that are before each limit, and those equal to it."""
    before, through = (np.searchsorted(ordered, limits, side) for side in ("left", "right"))
    return before, through - before


def _binned(values: np.ndarray, limits: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bins 0 to _BINS - 1 of all values, and the first and last bin that may hold a value within margin of each limit.

    Subtracting, scaling and cutting never exchange two float32 numbers, so a value below a limit's first bin is below
    the limit.
    """
    lower, upper = (_rounded(limits + side, side) for side in (-margin, margin))
    low, high = lower[0], upper[-1]
    scale = np.float32((_BINS - 8) / (float(high) - float(low)))

    def bin_of(numbers: np.ndarray) -> np.ndarray:
        scaled = numbers - low
        scaled *= scale
        np.clip(scaled, -3, _BINS - 4, out=scaled)
        scaled += 3
        return np.asarray(scaled, dtype=np.intp)

    return bin_of(values), bin_of(lower), bin_of(upper)


def _rounded(values: np.ndarray, direction: float) -> np.ndarray:
    """The next float32 or the one after it, downwards if ``direction`` is negative, otherwise upwards."""
    return np.asarray(np.nextafter(values.astype(np.float32), np.float32(np.copysign(np.inf, direction))))


def _distance_to_nearest(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """float64 [n] from each value to the nearest of the sorted limits."""
    edges = np.concatenate(([-np.inf], limits, [np.inf]))
    place = np.searchsorted(limits, values)
    return np.asarray(np.minimum(edges[place + 1] - values, values - edges[place]))
