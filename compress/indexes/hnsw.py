"""A navigable graph by faiss: every image is linked to near ones, a query follows the links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from compress.contracts import Distance
from compress.indexes._faiss import FaissIndex, metric


@dataclass(frozen=True, kw_only=True)
class Hnsw(FaissIndex):
    """Searches with faiss IndexHNSWFlat (Malkov and Yashunin, Hierarchical navigable small world graphs, 2018).

    Attributes:
        m: links per image (twice as many on the lowest level).
        ef_construction: candidates kept while an image is linked.
        ef_search: candidates kept while a query is searched.
    """

    m: Annotated[int, Ge(2), Le(256)] = 16
    ef_construction: Annotated[int, Ge(4), Le(4096)] = 64
    ef_search: Annotated[int, Ge(1), Le(65536)] = 64

    def make(self, faiss: Any, rows: np.ndarray, distance: Distance, seed: int) -> Any:
        index = faiss.IndexHNSWFlat(rows.shape[1], self.m, metric(faiss, distance))
        index.hnsw.rng = faiss.RandomGenerator(seed % 2**31)
        index.hnsw.efConstruction = self.ef_construction
        index.hnsw.efSearch = self.ef_search
        index.add(rows)
        return index
