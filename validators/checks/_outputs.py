"""Detect outputs that are not embeddings at all."""

from __future__ import annotations

import numpy as np

from compress.contracts import EmbeddingSpec, Observation
from validators.local_matching import unpack

_PLACES = 0.01
"""Tolerance for locations of local features, as a share of the image: twice the rounding of 8 bits for all outputs."""


def directions(features: np.ndarray, embedding: EmbeddingSpec) -> np.ndarray:
    """The vectors whose angles are compared, float64 [N, D'].

    The bits' threshold of 0.5 is subtracted from hash activations. Local features are weighted with their scores,
    because many background features are noise, and used without their locations, which are the same for all images.
    """
    if embedding.kind == "local":
        local = unpack(features.astype(np.float64))
        return np.asarray(local.features * local.scores[..., None]).reshape(len(features), -1)
    return features.astype(np.float64) - (0.5 if embedding.kind == "binary" else 0.0)


def defect(reference: Observation, candidate: Observation, embedding: EmbeddingSpec) -> str | None:
    """Why measurements of ``candidate`` would be meaningless, or None."""
    for part in ("queries", "gallery", "probes"):
        expected, given = getattr(reference, part), getattr(candidate, part)
        if given.shape != expected.shape:
            return f"{part}: the output has shape {list(given.shape)}, the PyTorch model's {list(expected.shape)}"
        broken = np.count_nonzero(~np.isfinite(given).all(axis=1))
        if broken:
            return f"{part}: {broken} of {len(given)} outputs hold NaN or infinity"
        if embedding.kind == "local":
            away = np.abs(unpack(given).locations - unpack(expected).locations).max(initial=0)
            if away > _PLACES:
                return f"{part}: a local feature's location is {away:.3f} of the image away from the PyTorch model's"
        zero = np.count_nonzero(~directions(given, embedding).any(axis=1))
        if zero:
            return f"{part}: {zero} of {len(given)} outputs are zero and have no direction"
    return None
