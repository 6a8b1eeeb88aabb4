"""Compute ranking metrics as exact expectations over the orders inside ties, for many rankings at once.

Items with equal distance have no defined order. Every function here gives the average over all orders of each tie
group, in closed form: for n tied items of which r are relevant, after N items with H hits, position j holds a relevant
item with probability r/n, and then (r-1)/(n-1) of the j-1 positions before it are expected to be hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Groups = tuple[np.ndarray, np.ndarray, np.ndarray]
"""One ranking's tie groups that hold a relevant item, from first to last: items before each, its size, its hits."""

Denominator = Literal["relevant", "hits", "min"]
Form = Literal["step", "trapezoid"]
Ties = Literal["expected", "best", "worst"]


@dataclass(frozen=True)
class Rankings:
    """Q rankings of L items each, reduced to the T tie groups that hold a relevant item.

    An item that ties with no other is a group of one.

    Attributes:
        length: L; if junk was removed from some rankings, the largest possible length.
        relevant: int64 [Q], relevant items of each ranking.
        row: int64 [T], the ranking a group belongs to.
        before: int64 [T], items ranked before the group.
        size: int64 [T], items in the group.
        hits_before: int64 [T], relevant items ranked before the group.
        hits: int64 [T], relevant items in the group, at least 1.
    """

    length: int
    relevant: np.ndarray
    row: np.ndarray
    before: np.ndarray
    size: np.ndarray
    hits_before: np.ndarray
    hits: np.ndarray

    @property
    def own_cut(self) -> np.ndarray:
        """R of each group's ranking, to be used as k: int64 [T]."""
        found: np.ndarray = self.relevant[self.row]
        return found

    def positions_within(self, k: int | np.ndarray) -> np.ndarray:
        """Count the positions of each group among the first k, one number or one per group: int64 [T]."""
        return np.asarray(np.clip(k - self.before, 0, self.size))

    def cut_by_chance(self, k: int) -> np.ndarray:
        """The groups, at most one per ranking, cut by k so that their hits among the first k are random: bool [T]."""
        inside = self.positions_within(k)
        return (inside > 0) & (inside < self.size) & (self.hits < self.size)

    def per_ranking(self, group_values: np.ndarray) -> np.ndarray:
        """Sum over each ranking's groups: float64 [Q]."""
        return np.bincount(self.row, group_values, minlength=len(self.relevant))


def from_sorted(values: np.ndarray, relevant: np.ndarray) -> Rankings:
    """Make rankings from ``values`` [Q, L], sorted from best to worst, equal for ties, and ``relevant`` bool [Q, L]."""
    count, length = values.shape
    last = np.ones((count, length), dtype=bool)
    last[:, :-1] = values[:, 1:] != values[:, :-1]
    end = np.flatnonzero(last) + 1
    start = np.concatenate(([0], end[:-1]))[: len(end)]
    seen = np.concatenate(([0], np.cumsum(relevant)))
    hits = seen[end] - seen[start]
    kept = hits > 0
    start, end, hits = start[kept], end[kept], hits[kept]
    row = start // max(length, 1)
    return Rankings(
        length=length,
        relevant=np.count_nonzero(relevant, axis=1),
        row=row,
        before=start - row * length,
        size=end - start,
        hits_before=seen[start] - seen[row * length],
        hits=hits,
    )


def from_groups(length: int, groups: Sequence[Groups]) -> Rankings:
    """Make rankings of ``length`` items each from their tie groups."""
    counts = np.array([len(hits) for _, _, hits in groups], dtype=np.int64)
    before, size, hits = (np.concatenate(column).astype(np.int64) for column in zip(*groups, strict=True))
    row = np.repeat(np.arange(len(groups)), counts)
    seen = np.concatenate(([0], np.cumsum(hits)))
    start = np.cumsum(counts) - counts
    return Rankings(
        length=length,
        relevant=seen[start + counts] - seen[start],
        row=row,
        before=before,
        size=size,
        hits_before=seen[:-1] - seen[start][row],
        hits=hits,
    )


def settle_ties(rankings: Rankings, ties: Ties) -> Rankings:
    """Put the relevant items of a tie first (``best``), last (``worst``), or average all orders (``expected``)."""
    if ties == "expected":
        return rankings
    others = rankings.size - rankings.hits
    before = rankings.before + (others if ties == "worst" else 0)
    return replace(rankings, before=before, size=rankings.hits)


def average_precision(rankings: Rankings, k: int | np.ndarray, denominator: Denominator, form: Form) -> np.ndarray:
    """Sum the precision at each hit among the first k and divide by the denominator: float64 [Q], NaN if R is 0."""
    inside = rankings.positions_within(k)
    gain = _precision_sum(rankings.before, rankings.size, rankings.hits_before, rankings.hits, inside, form)
    if denominator == "hits" and isinstance(k, int):
        result = _average_over_hits(rankings, k, gain, form)
    else:
        count = rankings.relevant if denominator == "relevant" else np.minimum(k, rankings.relevant)
        result = rankings.per_ranking(gain) / np.maximum(count, 1)
    return np.where(rankings.relevant > 0, result, np.nan)


def _average_over_hits(rankings: Rankings, k: int, gain: np.ndarray, form: Form) -> np.ndarray:
    """Average the ratio over the number of hits among the first k, which is random if k cuts a tie."""
    inside, chance = rankings.positions_within(k), rankings.cut_by_chance(k)
    gains = rankings.per_ranking(np.where(chance, 0.0, gain))
    hits = rankings.per_ranking(np.where(chance, 0.0, rankings.hits * inside / rankings.size))
    result: np.ndarray = gains / np.maximum(hits, 1)
    for group in np.flatnonzero(chance):
        row, drawn = rankings.row[group], inside[group]
        drawn_hits, probability = _hypergeometric(rankings.size[group], rankings.hits[group], drawn)
        more = _precision_sum(rankings.before[group], drawn, rankings.hits_before[group], drawn_hits, drawn, form)
        result[row] = probability @ ((gains[row] + more) / np.maximum(hits[row] + drawn_hits, 1))
    return result


def hits_within(rankings: Rankings, k: int | np.ndarray) -> np.ndarray:
    """Expected number of relevant items among the first k: float64 [Q]."""
    return rankings.per_ranking(rankings.hits * rankings.positions_within(k) / rankings.size)


def any_hit_within(rankings: Rankings, k: int) -> np.ndarray:
    """Probability that a relevant item is among the first k: float64 [Q]."""
    inside, chance = rankings.positions_within(k), rankings.cut_by_chance(k)
    result = (rankings.per_ranking(np.where(chance, 0, inside)) > 0).astype(np.float64)
    for group in np.flatnonzero(chance):
        row = rankings.row[group]
        if result[row] == 0:
            drawn_hits, probability = _hypergeometric(rankings.size[group], rankings.hits[group], inside[group])
            result[row] = probability[drawn_hits > 0].sum()
    return result


def mean_precision(rankings: Rankings, k: int | np.ndarray) -> np.ndarray:
    """Mean over k' = 1..k of the expected precision of the first k' items: float64 [Q].

    Args:
        k: one for all rankings, or int64 [Q], one for each; 0 gives 0.
    """
    cuts = np.broadcast_to(k, rankings.relevant.shape)
    own = cuts[rankings.row]
    # A hit at position i adds 1/k' to the precision at every k' from i to k.
    harmonic = _harmonic(int(cuts.max(initial=0)))
    below = np.concatenate(([0.0], np.cumsum(harmonic)))
    inside = np.clip(own - rankings.before, 0, rankings.size)
    first = np.minimum(rankings.before, own)
    share = rankings.hits / rankings.size
    gain = share * (inside * harmonic[own] - (below[first + inside] - below[first]))
    return np.asarray(rankings.per_ranking(gain) / np.maximum(cuts, 1))


def _precision_sum(
    before: np.ndarray, size: np.ndarray, hits_before: np.ndarray, hits: np.ndarray, inside: np.ndarray, form: Form
) -> np.ndarray:
    """Expected sum of the precision at the hits among the first ``inside`` positions of tie groups."""
    share = hits / size
    slope = (hits - 1) / np.maximum(size - 1, 1)
    harmonic = _harmonic(int(np.max(before + inside, initial=0)))
    # Precision at position N+j, given a hit there: (H+1 + (j-1) slope) / (N+j) = slope + (H+1 - (N+1) slope) / (N+j).
    reciprocals = np.where(inside == 1, 1 / (before + 1), harmonic[before + inside] - harmonic[before])
    total = slope * inside + (hits_before + 1 - (before + 1) * slope) * reciprocals
    if form == "trapezoid":
        # Precision one position earlier, (H + (j-1) slope) / (N+j-1); the Oxford code defines it as 1 at the top.
        at_top = np.where(inside > 0, 1 + slope * (inside - 1), 0)
        earlier = harmonic[np.maximum(before + inside - 1, 0)] - harmonic[np.maximum(before - 1, 0)]
        total = (total + np.where(before == 0, at_top, slope * inside + (hits_before - before * slope) * earlier)) / 2
    return np.asarray(share * total)


def _hypergeometric(size: int, hits: int, drawn: int) -> tuple[np.ndarray, np.ndarray]:
    """Distribution of the hits among ``drawn`` of ``size`` items with ``hits`` hits: counts and their probabilities."""
    counts = np.arange(max(0, drawn - (size - hits)), min(drawn, hits) + 1)
    low = counts[:-1]
    ratios = (hits - low) * (drawn - low) / ((low + 1) * (size - hits - drawn + low + 1))
    logs = np.concatenate(([0.0], np.cumsum(np.log(ratios))))
    weights = np.exp(logs - logs.max())
    return counts, weights / weights.sum()


def _harmonic(n: int) -> np.ndarray:
    """The harmonic numbers H_0 = 0, H_1 = 1, H_2 = 1 + 1/2, … to H_n: float64 [n + 1]."""
    return np.concatenate(([0.0], np.cumsum(1 / np.arange(1, n + 1))))
