"""What makes an artifact's output no embedding at all."""

from __future__ import annotations

import numpy as np

from compress.contracts import EmbeddingSpec, Observation


def directions(features: np.ndarray, embedding: EmbeddingSpec) -> np.ndarray:
    """float64 [N, D], the vectors whose angles matter: hash activations count from the bits' threshold of 0.5."""
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
        zero = np.count_nonzero(~directions(given, embedding).any(axis=1))
        if zero:
            return f"{part}: {zero} of {len(given)} outputs are zero and have no direction"
    return None
