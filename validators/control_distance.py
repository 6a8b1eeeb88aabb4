"""Check whether an artifact is nearer to the right output than to the outputs of broken exports.

Limits on single images cannot distinguish a coarse precision from a small mistake, such as swapped colours in a network
for nearly grey images. All golden images together can: rounding moves embeddings in arbitrary directions, but a mistake
moves them to the embeddings of the broken model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compress.contracts import EmbeddingSpec
from validators.checks._outputs import directions
from validators.results import Separation


def separation(
    right: np.ndarray, given: np.ndarray, broken: Mapping[str, np.ndarray], embedding: EmbeddingSpec
) -> Separation:
    """Compare distances, Euclidean over all P probes together.

    Args:
        right: float32 [P, D], the PyTorch model's.
        given: the artifact's; with another shape or NaN nothing is measured.
        broken: name -> output of a broken model. Models that give exactly the right output are left out.
    """
    if given.shape != right.shape or not np.isfinite(given).all():
        return Separation(control_ratio=None, nearest_control=None)
    expected, found = directions(right, embedding), directions(given, embedding)
    away = float(np.linalg.norm(found - expected))
    ratios = {}
    for name, output in broken.items():
        other = directions(output, embedding)
        if np.array_equal(other, expected):
            continue
        distance = float(np.linalg.norm(found - other))
        ratios[name] = away / distance if distance else float("inf")
    if not ratios:
        return Separation(control_ratio=None, nearest_control=None)
    nearest = max(ratios, key=lambda name: ratios[name])
    return Separation(control_ratio=ratios[nearest], nearest_control=nearest)
