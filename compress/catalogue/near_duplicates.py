"""Find photographs that show nearly the same: the distance of their embeddings is small, though not zero."""

from __future__ import annotations

import numpy as np

from compress.gallery.store import Gallery
from validators.checks.match_thresholds import pairwise

_BLOCK_ITEMS = 2**23


def similar_groups(gallery: Gallery, limit: float) -> tuple[tuple[str, ...], ...]:
    """The names of images that are within ``limit`` of each other, in groups, sorted.

    A group is connected by such pairs, so its ends may be farther apart. Groups of equal embeddings alone are left out.
    Every image is compared with every other: seconds for 10,000 images, minutes for 100,000.

    Args:
        limit: a distance in the units of ``compress.gallery.nearest.Match``.
    """
    features, distance = gallery.features, gallery.embedding.distance
    count = len(features)
    parent = np.arange(count)
    apart = np.zeros(count, bool)
    size = max(1, _BLOCK_ITEMS // count)
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        near = pairwise(features[rows], features[start:], distance) <= limit
        near &= np.arange(start, count)[None] > rows[:, None]
        for row, other in zip(*np.nonzero(near), strict=True):
            one, another = int(rows[row]), int(start + other)
            first, second = _root(parent, one), _root(parent, another)
            different = not np.array_equal(features[one], features[another])
            parent[max(first, second)] = min(first, second)
            apart[min(first, second)] |= different or apart[max(first, second)]
    groups: dict[int, list[str]] = {}
    for row, name in enumerate(gallery.names):
        groups.setdefault(_root(parent, row), []).append(name)
    return tuple(sorted(tuple(sorted(names)) for root, names in groups.items() if len(names) > 1 and apart[root]))


def _root(parent: np.ndarray, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row
