"""Measure how many of the true neighbours an index finds, and its time relative to comparing with every image."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compress.contracts import Distance, OpenIndex
from compress.gallery.nearest import distances
from validators.metrics import binarize, nearest_neighbours

K = 10

_RELATIVE, _ABSOLUTE = 1e-5, 1e-6
"""Errors of float32, relative to the distance and to the vectors' length."""


@dataclass(frozen=True)
class Searched:
    """The result of searching with Q queries.

    Attributes:
        recall: in [0, 1].
        milliseconds: float64 [Q], of each query on its own.
    """

    recall: float
    milliseconds: np.ndarray


def searched(
    index: OpenIndex, features: np.ndarray, queries: np.ndarray, own: np.ndarray, distance: Distance
) -> Searched:
    """Search for one query after the other, as an app does.

    Args:
        features: float32 [G, D], from which the index was built.
        queries: float32 [Q, D].
        own: int64 [Q], the gallery's id of the query itself, which is never an answer; -1 if it is not in the gallery.
    """
    k = min(K + 1, len(features))
    found, milliseconds = [], []
    for query in queries:
        start = time.perf_counter()
        ids = index.search(query[None], k)[1]
        milliseconds.append(1000 * (time.perf_counter() - start))
        found.append(ids[0])
    return Searched(recall(features, queries, np.stack(found), own, distance), np.array(milliseconds))


def recall(
    features: np.ndarray,
    queries: np.ndarray,
    found: np.ndarray,
    own: np.ndarray,
    distance: Distance,
    k: int = K,
    exact: np.ndarray | None = None,
) -> float:
    """Compute recall@k: the mean share of a query's k true neighbours that were found.

    It is counted as in ann-benchmarks (Aumüller et al., 2020): an answer is correct if it is not farther than the k-th
    true neighbour, so that the order of ties does not matter. A smaller gallery has fewer neighbours to find. A missing
    answer is wrong, and an answer given twice counts once.

    Args:
        found: int64 [Q, >= k + 1], ids nearest first, negative where an answer is missing.
        exact: int64 [Q, k + 1], the true neighbours, if they are known.

    Returns:
        A value in [0, 1]; 1 if there is nothing to find.
    """
    if exact is None:
        exact = nearest_neighbours(queries, features, k + 1, distance=distance)
    shares = []
    for query, true, ids, itself in zip(queries, exact, found, own, strict=True):
        true = true[true != itself][:k]
        ids = ids[(ids >= 0) & (ids != itself)]
        ids = ids[np.sort(np.unique(ids, return_index=True)[1])][:k]
        if len(true):
            limit = distances(query, features[true[-1:]], distance)[0]
            scale = np.linalg.norm(query) if distance == "l2" else 1.0
            right = distances(query, features[ids], distance) <= limit * (1 + _RELATIVE) + _ABSOLUTE * scale
            shares.append(np.count_nonzero(right) / len(true))
    return float(np.mean(shares)) if shares else 1.0


def exhaustive(features: np.ndarray, distance: Distance) -> Callable[[np.ndarray, int], np.ndarray]:
    """Make search(query float32 [D], k) -> ids int64 [k], one product in NumPy: the baseline for an index's speed."""
    if distance == "hamming":
        codes = binarize(features)

        def bits(query: np.ndarray) -> np.ndarray:
            return np.asarray(np.unpackbits(codes ^ binarize(query), axis=1).sum(axis=1, dtype=np.int32))

        return lambda query, k: _smallest(bits(query), k)
    if distance == "cosine":
        rows = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return lambda query, k: _smallest(-(rows @ query), k)
    norms = np.einsum("gd,gd->g", features, features)
    return lambda query, k: _smallest(norms - 2 * (features @ query), k)


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    nearest = np.argpartition(values, k - 1)[:k] if k < len(values) else np.arange(len(values))
    return nearest[np.argsort(values[nearest], kind="stable")]
