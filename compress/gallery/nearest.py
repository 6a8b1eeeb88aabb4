"""Rank a gallery, or the images an index finds in it, by distance to queries. Needs neither PyTorch nor a runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.contracts import Distance, OpenIndex
from compress.gallery.shortlist import Shortlist
from compress.gallery.store import Gallery
from validators._distances import Distances
from validators.local_matching import pair_distances
from validators.metrics import nearest_neighbours


@dataclass(frozen=True)
class Match:
    """One gallery image that a query found.

    Attributes:
        distance: l2: Euclidean; cosine: 1 - cosine, in [0, 2]; hamming: the number of bits that differ; local: the
            number of features without a verified match, see ``validators.local_matching``.
    """

    name: str
    label: str
    distance: float


def nearest(
    gallery: Gallery,
    queries: np.ndarray,
    k: int,
    without: tuple[str, ...] = (),
    index: OpenIndex | None = None,
    shortlist: Shortlist | None = None,
) -> list[list[Match]]:
    """Find the ``k`` nearest gallery images of every query, nearest first; equal distances in the gallery's order.

    Args:
        queries: float32 [Q, D] as an artifact of this embedding space gives them.
        k: at least 1; a smaller gallery gives all its images.
        without: for every query the name of a gallery image that is left out, e.g. the query itself; or empty.
        index: rank the images it finds, which may be fewer than ``k``, instead of the whole gallery.
        shortlist: made from this gallery; gives the same answer and is faster for many calls. Not used with an index.

    Raises:
        ValueError: a wrong D, NaN or infinity, or activations of codes outside [0, 1].
    """
    distance = gallery.embedding.distance
    more = k + 1 if without else k
    if index is not None:
        _check(queries, gallery)
        found = [ids[ids >= 0] for ids in index.search(queries, min(more, len(gallery.names)))[1]]
    elif shortlist is not None:
        _check(queries, gallery)
        found = [shortlist.nearest(query, more) for query in queries]
    else:
        found = list(nearest_neighbours(queries, gallery.features, more, distance=distance))
    matches = []
    for number, rows in enumerate(found):
        kept = rows[[gallery.names[row] != without[number] for row in rows]] if without else rows
        measured = distances(queries[number], gallery.features[kept], distance)
        if index is not None:  # it measures in float32 and may order ties differently
            order = np.lexsort((kept, measured))
            kept, measured = kept[order], measured[order]
        matches.append(
            [
                Match(gallery.names[row], gallery.labels[row], float(value))
                for row, value in zip(kept[:k], measured[:k], strict=True)
            ]
        )
    return matches


def _check(queries: np.ndarray, gallery: Gallery) -> None:
    """Raises ValueError for the queries that the exact ranking refuses; an index may not check them."""
    Distances(queries, gallery.features[:1], gallery.embedding.distance)


def distances(query: np.ndarray, features: np.ndarray, distance: Distance) -> np.ndarray:
    """Measure from ``query`` [D] to each of ``features`` [n, D]: float64 [n] in the units of ``Match.distance``."""
    if distance == "hamming":
        return np.asarray(np.count_nonzero((query > 0.5) != (features > 0.5), axis=1), np.float64)
    if distance == "local":
        return pair_distances(query, features)
    one, many = query.astype(np.float64), features.astype(np.float64)
    if distance == "l2":
        return np.asarray(np.linalg.norm(many - one, axis=1))
    norms = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    # A zero vector has no direction and is at distance 1 from everything, as in validators.metrics.
    cosines: np.ndarray = np.divide(many @ one, norms, out=np.zeros(len(many)), where=norms > 0)
    return 1 - cosines
