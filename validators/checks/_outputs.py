"""What makes an artifact's output no embedding at all."""

from __future__ import annotations

import numpy as np

from compress.contracts import EmbeddingSpec, Observation
from validators.local_matching import unpack

_PLACES = 0.01
"""Places of local features, as shares of the image: what 8 bits for all outputs round by, twice."""


def directions(features: np.ndarray, embedding: EmbeddingSpec) -> np.ndarray:
    """float64 [N, D'], the vectors whose angles matter.

    Hash activations count from the bits' threshold of 0.5. Local features are weighted with their scores, since many a
    background's feature is noise, and go without their places, which are the same for all images.
    """
    if embedding.kind == "local":
        local = unpack(features.astype(np.float64))
        return np.asarray(local.features * local.scores[..., None]).reshape(len(features), -1)
    return features.astype(np.float64) - (0.5 if embedding.kind == "binary" else 0.0)


def defect(reference: Observation, candidate: Observation, embedding: EmbeddingSpec) -> str | None:
    """Why no measurement of ``candidate`` means anything, or None."""
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
                return f"{part}: a local feature's place is {away:.3f} of the image away from the PyTorch model's"
        zero = np.count_nonzero(~directions(given, embedding).any(axis=1))
        if zero:
            return f"{part}: {zero} of {len(given)} outputs are zero and have no direction"
    return None
