"""The common part of the faiss indexes (Douze et al., The Faiss library, 2024): import, threads and files."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import BadInput, Distance, Index, MissingTool, OpenIndex
from compress.system.files import atomic
from validators.metrics import binarize


@dataclass(frozen=True, kw_only=True)
class FaissIndex(Index):
    """An index that faiss builds, stores and searches. The file is faiss's own format, its search options included."""

    file = "index.faiss"

    def check(self, images: int) -> None:
        # Not imported: see _load.
        if importlib.util.find_spec("faiss") is None:
            raise MissingTool(
                f"the index {self.component_name()} needs faiss-cpu, not installed here; "
                'install with: pip install "compress-retrieval[index]"'
            )

    def make(self, faiss: Any, rows: np.ndarray, distance: Distance, seed: int) -> Any:
        """Train faiss's index and fill it with ``rows``, as ``_rows`` gives them."""
        raise NotImplementedError

    def build(self, path: Path, features: np.ndarray, distance: Distance, seed: int) -> None:
        self.check(len(features))
        faiss = _load()
        index = self.make(faiss, _rows(features, distance), distance, seed)
        write = faiss.write_index_binary if distance == "hamming" else faiss.write_index
        with atomic(path) as unfinished:
            write(index, str(unfinished))

    def open(self, path: Path, features: np.ndarray, distance: Distance) -> OpenIndex:
        self.check(len(features))
        faiss = _load()
        read = faiss.read_index_binary if distance == "hamming" else faiss.read_index
        try:
            index = read(str(path))
        except (RuntimeError, MemoryError) as error:
            raise BadInput(
                f"{path}: damaged ({' '.join(str(error).split())[:200]}); take the file of the run"
            ) from error
        dim = 8 * -(-features.shape[1] // 8) if distance == "hamming" else features.shape[1]
        if (index.ntotal, index.d) != (len(features), dim):
            raise BadInput(
                f"{path}: holds {index.ntotal} features of {index.d} values, the gallery {len(features)} of {dim}; "
                "take both files of one run"
            )
        return _Open(faiss, index, distance)


@dataclass(frozen=True)
class _Open:
    faiss: Any
    index: Any
    distance: Distance

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        # Set for every call, because OpenMP stores the number per thread. More threads do not speed up one query.
        self.faiss.omp_set_num_threads(1)
        found, ids = self.index.search(_rows(queries, self.distance), k)
        distances = found.astype(np.float32)
        if self.distance == "l2":
            distances = np.sqrt(np.maximum(distances, 0))
        elif self.distance == "cosine":
            distances = 1 - distances
        return np.where(ids < 0, np.float32(np.inf), distances), ids.astype(np.int64)


def metric(faiss: Any, distance: Distance) -> Any:
    """faiss's metric for a distance; the cosine is the inner product of rows of length 1."""
    return faiss.METRIC_L2 if distance == "l2" else faiss.METRIC_INNER_PRODUCT


def _load() -> Any:
    """Import faiss and limit it to one thread.

    Its wheels contain their own OpenMP, as PyTorch's do. On macOS, loading both ends the process (OMP: Error #15,
    faiss-wheels#73); on Linux each starts its own threads, which wait busily for each other (building HNSW with torch
    loaded took four times as long on two threads as on one). So faiss is never imported in a process that trains
    (``compress.bundle.gallery_index`` starts a separate one), and runs on one thread, which also makes HNSW's graph
    reproducible.
    """
    import faiss

    faiss.omp_set_num_threads(1)
    return faiss


def _rows(features: np.ndarray, distance: Distance) -> np.ndarray:
    """The rows that faiss compares: codes uint8 [N, ceil(D / 8)] or float32 [N, D], for the cosine of length 1 or 0."""
    if distance == "hamming":
        return binarize(features)
    rows = np.ascontiguousarray(features, dtype=np.float32)
    if distance == "cosine":
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return rows
