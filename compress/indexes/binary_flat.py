"""Exact search of hash codes by faiss: every code, compared by popcount."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from compress.contracts import Distance
from compress.indexes._faiss import FaissIndex


@dataclass(frozen=True, kw_only=True)
class BinaryFlat(FaissIndex):
    """Searches the packed codes, as the gallery stores them, with faiss IndexBinaryFlat."""

    distances: ClassVar[tuple[Distance, ...]] = ("hamming",)
    least_recall = 0.99

    def make(self, faiss: Any, rows: np.ndarray, distance: Distance, seed: int) -> Any:
        index = faiss.IndexBinaryFlat(8 * rows.shape[1])
        index.add(rows)
        return index
