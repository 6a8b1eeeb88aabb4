"""Exact search by faiss: every feature, compared with vector instructions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.contracts import Distance
from compress.indexes._faiss import FaissIndex, metric


@dataclass(frozen=True, kw_only=True)
class Flat(FaissIndex):
    """Searches with faiss IndexFlat (L2 or inner product); the file holds a second copy of the features."""

    least_recall = 0.99

    def make(self, faiss: Any, rows: np.ndarray, distance: Distance, seed: int) -> Any:
        index = faiss.IndexFlat(rows.shape[1], metric(faiss, distance))
        index.add(rows)
        return index
