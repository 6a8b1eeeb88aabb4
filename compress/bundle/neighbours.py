"""Search the bundle's own gallery with the golden images, as an app does, and compare with the recorded neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.bundle.golden import Golden
from compress.bundle.manifest import EmbeddingEntry
from compress.contracts import OpenIndex
from compress.gallery.nearest import Match, distances, nearest
from compress.gallery.store import GALLERY, Gallery
from validators.results import Neighbours

_TOLERANCE = 1e-5
"""Relative tolerance of distances; golden.json gives them with six digits."""


def gallery_problems(golden: Golden, gallery: Gallery, embedding: EmbeddingEntry) -> list[str]:
    """One line if the gallery does not belong to the bundle and its golden images, otherwise none."""
    for key, value in embedding:
        if gallery.meta.get(key) != value:
            return [f"{GALLERY}: its {key} is {gallery.meta.get(key)!r}, the bundle's is {value!r}"]
    try:
        found = _found(golden, gallery, golden.embeddings)
    except ValueError as error:
        return [f"{GALLERY}: golden/embeddings.f32 cannot be searched for in it ({error})"]
    other = [
        golden.files[number]
        for number, (expected, matches) in enumerate(zip(golden.neighbours, found, strict=True))
        if not _same(expected, matches, _to_named(gallery, golden.embeddings[number], expected))
    ]
    if not other:
        return []
    return [
        f"{GALLERY}: {len(other)} of {len(golden.files)} golden images have other neighbours in it than "
        f"golden/golden.json records, e.g. {other[0]}"
    ]


def _same(expected: Sequence[Match], found: Sequence[Match], again: np.ndarray) -> bool:
    """Compare by distance, not by name, because images at equal distance may be in any order."""
    recorded = [match.distance for match in expected]
    if len(found) != len(recorded):
        return False
    slack = _TOLERANCE * max(recorded, default=0)
    return all(
        np.allclose(given, recorded, rtol=_TOLERANCE, atol=slack) for given in (again, [m.distance for m in found])
    )


def _to_named(gallery: Gallery, query: np.ndarray, named: Sequence[Match]) -> np.ndarray:
    """The distances from ``query`` to the gallery images of these names; infinite where one is missing."""
    row_of = {name: row for row, name in enumerate(gallery.names)}
    rows = np.array([row_of.get(match.name, -1) for match in named], dtype=np.int64)
    measured = distances(query, gallery.features[rows], gallery.embedding.distance)
    return np.where(rows < 0, np.inf, measured)


def neighbour_overlap(golden: Golden, gallery: Gallery, embeddings: np.ndarray) -> Neighbours:
    """Measure how well an artifact's queries find the PyTorch model's neighbours in the PyTorch model's gallery.

    Args:
        embeddings: float32 [P, D], the artifact's, of the golden images.

    Returns:
        ``golden_neighbours``, the mean share of an image's nearest neighbours (10, or as many as the gallery has) that
        are correct. A neighbour is correct if the PyTorch model's distance to it is not above that to the last expected
        neighbour, so that the order of ties does not matter, as in ann-benchmarks. None if the embeddings cannot be
        ranked.
    """
    try:
        found = _found(golden, gallery, embeddings)
    except ValueError:
        return Neighbours(golden_neighbours=None)
    return Neighbours(golden_neighbours=_right(golden, gallery, found))


def index_recall(golden: Golden, gallery: Gallery, index: OpenIndex) -> float:
    """Measure the same share for the PyTorch model's own embeddings when an index of the gallery is searched."""
    return _right(golden, gallery, _found(golden, gallery, golden.embeddings, index))


def _right(golden: Golden, gallery: Gallery, found: list[list[Match]]) -> float:
    shares = []
    for query, expected, matches in zip(golden.embeddings, golden.neighbours, found, strict=True):
        right = _to_named(gallery, query, matches[: len(expected)])
        limit = expected[-1].distance * (1 + _TOLERANCE) if expected else 0.0
        shares.append(np.count_nonzero(right <= limit) / len(expected) if expected else 1.0)
    return float(np.mean(shares))


def _found(
    golden: Golden, gallery: Gallery, embeddings: np.ndarray, index: OpenIndex | None = None
) -> list[list[Match]]:
    most = max(map(len, golden.neighbours), default=0)
    return nearest(gallery, embeddings, max(1, most), golden.left_out, index)
