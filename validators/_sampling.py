"""Choose a sample of items if measuring all of them would cost too much."""

from __future__ import annotations

import numpy as np

from compress.contracts import EmbeddingSpec

LOCAL_QUERIES = 100
"""With geometric verification a query costs a hundred times as much as with other distances."""


def evenly(count: int, limit: int) -> np.ndarray:
    """Choose at most ``limit`` of ``count`` indices, evenly spaced, first and last included: int64, increasing."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))


def affordable(queries: int, embedding: EmbeddingSpec) -> int:
    """The number of queries to search with: ``queries``, or fewer if the distance is ``local``."""
    return min(queries, LOCAL_QUERIES) if embedding.distance == "local" else queries
