"""Which items stand for all of them where measuring all would cost too much."""

from __future__ import annotations

import numpy as np

from compress.contracts import EmbeddingSpec

LOCAL_QUERIES = 100
"""Geometric verification makes a query a hundred times as dear as other distances do."""


def evenly(count: int, limit: int) -> np.ndarray:
    """At most ``limit`` of ``count`` indices, evenly spaced, first and last included: int64, increasing."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))


def affordable(queries: int, embedding: EmbeddingSpec) -> int:
    """``queries``, or the fewer that are searched with where the distance is ``local``."""
    return min(queries, LOCAL_QUERIES) if embedding.distance == "local" else queries
