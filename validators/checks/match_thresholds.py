"""Find the distances up to which two images count as a match, at given false-accept rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from compress.contracts import Check, Distance, EmbeddingSpec, HeldOut, Observation
from validators._distances import Distances
from validators._sampling import affordable, evenly
from validators.checks._outputs import defect
from validators.local_matching import pair_distances
from validators.metrics import binarize
from validators.results import Threshold, Thresholds

FEWEST_ACCEPTS = 10
"""A rate has a threshold only if at least this many pairs are falsely accepted at it."""
_RESAMPLES = 400
_NORMAL = 1.959964
"""Quantile of the normal distribution for 95 %."""


@dataclass(frozen=True)
class _Pairs:
    """Distances between queries and gallery images.

    Attributes:
        distances: float64 [Q, G], in the units of ``pairwise``.
        same: bool [Q, G], pairs that should match.
        different: bool [Q, G], pairs that should not; those that are in neither are not counted.
        each_once: a pair is in the upper triangle only, because queries and gallery are the same images.
    """

    distances: np.ndarray
    same: np.ndarray
    different: np.ndarray
    each_once: bool

    def counted(self, which: np.ndarray) -> np.ndarray:
        """The pairs of ``same`` or ``different``, each of them once: bool [Q, G]."""
        return np.triu(which, 1) if self.each_once else which


@dataclass(frozen=True, kw_only=True)
class MatchThresholds(Check):
    """Measures the distance thresholds at which an app says "match"; measures ``validators.results.Thresholds``.

    All pairs of a held-out query and a held-out gallery image are compared, both embedded by the artifact. A threshold
    is the largest distance at which no more than ``rate`` of the pairs that show different things are accepted.

    Attributes:
        rates: false-accept rates, as shares of the pairs that show different things.
        images: at most this many queries and this many gallery images, evenly spaced; 100 if the distance is local.
    """

    section: ClassVar[str] = "thresholds"

    rates: tuple[Annotated[float, Gt(0), Lt(1)], ...] = (0.01, 0.001, 0.0001)
    images: Annotated[int, Ge(2)] = 1000

    def run(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> Thresholds:
        problem = defect(reference, candidate, embedding)
        try:
            if problem is None:
                return self._measured(reference, candidate, held_out, embedding)
        except ValueError as error:  # activations outside [0, 1]: there are no codes to compare
            problem = str(error)
        return Thresholds.unmeasured(problem)

    def _measured(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> Thresholds:
        expected, given = (self._pairs(each, held_out, embedding) for each in (reference, candidate))
        different = given.counted(given.different)
        count = int(different.sum())
        if not count:
            raise ValueError("no two held-out images show different things")
        wrong = np.sort(given.distances[different])
        wrong_before = np.sort(expected.distances[different])
        scale = float(np.median(wrong_before))
        whole = embedding.distance == "hamming"
        found = []
        for rate in self.rates:
            before = threshold(wrong_before, rate, whole_numbers=whole)
            found.append(_judged(given, wrong, rate, threshold(wrong, rate, whole_numbers=whole), before))
        moved = [
            abs(each.distance - each.source_distance) / scale if scale > 0 else math.nan
            for each in found
            if each.distance is not None and each.source_distance is not None
        ]
        return Thresholds(
            pairs=count,
            matching_pairs=int(given.counted(given.same).sum()),
            at=tuple(found),
            shift=max(moved) if moved else None,
        )

    def _pairs(self, observation: Observation, held_out: HeldOut, embedding: EmbeddingSpec) -> _Pairs:
        most, itself = affordable(self.images, embedding), held_out.leave_one_out
        rows = evenly(len(observation.queries), most)
        columns = rows if itself else evenly(len(observation.gallery), most)
        queries, gallery = observation.queries[rows], observation.gallery[columns]
        truth = held_out.ground_truth
        if truth is not None:
            some = truth.among(rows, columns)
            same, different = np.zeros((len(rows), len(columns)), bool), np.ones((len(rows), len(columns)), bool)
            for row, (relevant, junk) in enumerate(zip(some.relevant, some.junk, strict=True)):
                same[row, relevant] = True
                different[row, relevant] = different[row, junk] = False
        else:
            same = held_out.queries.labels[rows][:, None] == held_out.gallery.labels[columns][None]
            different = ~same
        if itself:
            np.fill_diagonal(same, False)
        return _Pairs(pairwise(queries, gallery, embedding.distance), same, different, itself)


def threshold(wrong: np.ndarray, rate: float, *, whole_numbers: bool = False) -> float | None:
    """The largest distance that accepts no more than ``rate`` of ``wrong``, float64 [n], ascending.

    It lies halfway to the next pair, so that rounding does not change which pairs it accepts.

    Args:
        whole_numbers: distances are numbers of bits; the threshold is one, too.

    Returns:
        None if fewer than ``FEWEST_ACCEPTS`` of so many pairs may be accepted, or if only distance 0 would do.
    """
    allowed = math.floor(rate * len(wrong) * (1 + 1e-12))
    if allowed < FEWEST_ACCEPTS or allowed >= len(wrong):
        return None
    refused = float(wrong[allowed])
    accepted = int(np.searchsorted(wrong, refused))
    if whole_numbers:
        return refused - 1 if refused >= 1 else None
    return None if not accepted else (float(wrong[accepted - 1]) + refused) / 2


def _judged(pairs: _Pairs, wrong: np.ndarray, rate: float, limit: float | None, before: float | None) -> Threshold:
    """Measure one threshold."""
    if limit is None:
        return Threshold(false_accept_rate=rate, distance=None, source_distance=before)
    count = int(np.searchsorted(wrong, limit, side="right"))
    low, high = interval(pairs.distances <= limit, pairs.counted(pairs.different), pairs.each_once)
    right = pairs.distances[pairs.counted(pairs.same)]
    alone = np.where(pairs.different, pairs.distances, np.inf).min(axis=1) <= limit
    asked = pairs.same.any(axis=1)
    eligible = np.where(pairs.same | pairs.different, pairs.distances, np.inf)[asked]
    nearest = eligible.argmin(axis=1)[:, None]
    hit = np.take_along_axis(pairs.same[asked], nearest, 1) & (np.take_along_axis(eligible, nearest, 1) <= limit)
    return Threshold(
        false_accept_rate=rate,
        distance=limit,
        source_distance=before,
        false_accepts=count,
        rate_low=low,
        rate_high=high,
        true_accept_rate=float((right <= limit).mean()) if len(right) else None,
        found_rate=float(hit.mean()) if len(hit) else None,
        false_match_rate=float(alone.mean()),
    )


def interval(accepted: np.ndarray, counted: np.ndarray, each_once: bool) -> tuple[float, float]:
    """The 95 % confidence interval of the false-accept rate: the wider of two in each direction.

    Wilson's interval (1927) takes the pairs as independent. They are not, because an image is in many of them: an image
    that resembles many others alone gives many false accepts. So the images are resampled, too (400 bootstrap samples
    with a fixed seed, queries and gallery images each with replacement).

    Args:
        accepted: bool [Q, G].
        counted: bool [Q, G], the pairs of different things.
        each_once: queries and gallery are the same images.
    """
    rows, columns = np.nonzero(accepted & counted)
    low, high = wilson(len(rows), int(counted.sum()))
    random = np.random.Generator(np.random.PCG64(0))
    queries = _weights(random, counted.shape[0])
    gallery = queries if each_once else _weights(random, counted.shape[1])
    of = np.einsum("bg,bg->b", queries @ counted.astype(np.float32), gallery, dtype=np.float64)
    found = np.array([one[rows] @ other[columns] for one, other in zip(queries, gallery, strict=True)], np.float64)
    if of.any():
        resampled = np.percentile(found[of > 0] / of[of > 0], (2.5, 97.5))
        low, high = min(low, float(resampled[0])), max(high, float(resampled[1]))
    return low, high


def _weights(random: np.random.Generator, count: int) -> np.ndarray:
    """How often each of ``count`` images is in each bootstrap sample: float32 [samples, count]."""
    drawn = random.integers(0, count, (_RESAMPLES, count))
    return np.stack([np.bincount(each, minlength=count) for each in drawn]).astype(np.float32)


def wilson(found: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of the share ``found / of``; ``of`` is at least 1."""
    share, z2 = found / of, _NORMAL**2
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _NORMAL / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def pairwise(queries: np.ndarray, gallery: np.ndarray, distance: Distance) -> np.ndarray:
    """Distances of [Q, D] to [G, D], float64 [Q, G], in the units that apps see.

    l2: Euclidean; cosine: 1 - cosine; hamming: the number of bits that differ; local: as ``pair_distances``.

    Raises:
        ValueError: a value cannot be compared.
    """
    Distances(queries, gallery, distance)  # raises for them
    return np.concatenate(list(_rows(queries, gallery, distance)))


def _rows(queries: np.ndarray, gallery: np.ndarray, distance: Distance) -> Iterator[np.ndarray]:
    if distance == "local":
        yield from (pair_distances(query, gallery)[None] for query in queries)
        return
    if distance == "hamming":
        bits = [np.unpackbits(binarize(each), axis=1).astype(np.float32) for each in (queries, gallery)]
        yield bits[0].sum(1, dtype=np.float64)[:, None] + bits[1].sum(1) - 2.0 * (bits[0] @ bits[1].T)
        return
    one, many = queries.astype(np.float64), gallery.astype(np.float64)
    if distance == "cosine":
        one, many = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-30) for each in (one, many))
        yield 1 - one @ many.T
        return
    squares = np.einsum("nd,nd->n", one, one)[:, None] + np.einsum("nd,nd->n", many, many)
    yield np.sqrt(np.maximum(squares - 2 * (one @ many.T), 0))
