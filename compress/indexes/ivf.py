"""Inverted lists by faiss: k-means divides the gallery, a query searches the lists nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from compress.contracts import BadInput, Distance
from compress.indexes._faiss import FaissIndex, metric


@dataclass(frozen=True, kw_only=True)
class Ivf(FaissIndex):
    """Searches with faiss IndexIVFFlat (Jégou et al., Product quantization for nearest neighbor search, 2011, sec. IV).

    Attributes:
        nlist: number of lists; null takes 4 * sqrt(images), but at least 39 images per list, which k-means requires.
        nprobe: number of lists that a query searches; if it searches all of them, the search is exact.
    """

    nlist: Annotated[int, Ge(1), Le(65536)] | None = None
    nprobe: Annotated[int, Ge(1), Le(65536)] = 16

    def check(self, images: int) -> None:
        super().check(images)
        if self.nlist is not None and self.nlist > images:
            raise BadInput(f"ivf: nlist {self.nlist} is more than the gallery's {images} images; lower it")

    def make(self, faiss: Any, rows: np.ndarray, distance: Distance, seed: int) -> Any:
        count, dim = rows.shape
        lists = self.nlist or max(1, min(round(4 * sqrt(count)), count // 39))
        kind = metric(faiss, distance)
        index = faiss.IndexIVFFlat(faiss.IndexFlat(dim, kind), dim, lists, kind)
        index.cp.seed = seed % 2**31
        index.cp.min_points_per_centroid = 1  # otherwise faiss warns for small galleries
        index.cp.max_points_per_centroid = 64  # instead of 256: k-means takes a quarter of the time
        index.train(rows)
        index.add(rows)
        index.nprobe = min(self.nprobe, lists)
        return index
