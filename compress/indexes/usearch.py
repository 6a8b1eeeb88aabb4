"""A navigable graph by usearch: read from disk as needed, in half precision, changed without building it again."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from compress.contracts import BadInput, Distance, Index, MissingTool, OpenIndex
from compress.system.files import atomic

_CANDIDATES = 4
"""So many times the images that were asked for are found by the rounded features and ranked by the exact ones."""


@dataclass(frozen=True, kw_only=True)
class Usearch(Index):
    """Searches with usearch (Vardanian, 2023), an HNSW graph like ``hnsw``'s over half-precision features.

    The file is mapped into memory: processes share it, and only the pages that queries touch are read. Candidates are
    ranked by the gallery's own features. ``compress index --index`` adds and removes images without building it again.

    Attributes:
        m: links per image (twice as many on the lowest level).
        ef_construction: candidates kept while an image is linked.
        ef_search: candidates kept while a query is searched.
    """

    file = "index.usearch"
    updatable: ClassVar[bool] = True
    stored: ClassVar[Literal["f16", "i8"]] = "f16"

    m: Annotated[int, Ge(2), Le(256)] = 16
    ef_construction: Annotated[int, Ge(4), Le(4096)] = 64
    ef_search: Annotated[int, Ge(1), Le(65536)] = 64

    def check(self, images: int) -> None:
        if importlib.util.find_spec("usearch") is None:
            raise MissingTool(
                f"the index {self.component_name()} needs usearch, not installed here; "
                'install with: pip install "compress-retrieval[index]"'
            )

    def build(self, path: Path, features: np.ndarray, distance: Distance, seed: int) -> None:
        index = self._new(features.shape[1], distance)
        _add(index, np.arange(len(features), dtype=np.uint64), features)
        _save(index, path)

    def update(self, path: Path, keys: np.ndarray, features: np.ndarray, distance: Distance) -> tuple[int, int]:
        before = _restored(path, view=False) if path.exists() else None
        known = before.keys[:] if before is not None else np.empty(0, np.uint64)
        gone, new = np.setdiff1d(known, keys), ~np.isin(keys, known)
        if before is None or len(gone) > len(known) // 2:  # removed images leave gaps, which slow the search down
            before, gone, new = self._new(features.shape[1], distance), gone, np.ones(len(keys), bool)
        elif len(gone):
            before.remove(gone)
        _add(before, keys[new], features[new])
        _save(before, path)
        return int(new.sum()), len(gone)

    def open(self, path: Path, features: np.ndarray, distance: Distance) -> OpenIndex:
        return self.open_keys(path, np.arange(len(features), dtype=np.uint64), features, distance)

    def open_keys(self, path: Path, keys: np.ndarray, features: np.ndarray, distance: Distance) -> OpenIndex:
        self.check(len(features))
        index = _restored(path, view=True)
        metric = {"cos": "cosine", "l2sq": "l2"}.get(str(index.metric_kind.name).lower(), "")
        if (len(index), index.ndim) != (len(features), features.shape[1]) or metric != distance:
            raise BadInput(
                f"{path}: holds {len(index)} features of {index.ndim} values by {metric or 'another distance'}, the "
                f"gallery {len(features)} of {features.shape[1]} by {distance}; take both files of one run, or update "
                "it with 'compress index --index'"
            )
        if not np.all(index.contains(keys)):
            raise BadInput(f"{path}: holds other images than the gallery; update it with 'compress index --index'")
        index.expansion_search = self.ef_search
        return _Open(index, keys, np.argsort(keys), features, distance)

    def _new(self, dim: int, distance: Distance) -> Any:
        self.check(0)
        from usearch.index import Index as Graph

        return Graph(
            ndim=dim,
            metric="cos" if distance == "cosine" else "l2sq",
            dtype=self.stored,
            connectivity=self.m,
            expansion_add=self.ef_construction,
            expansion_search=self.ef_search,
        )


@dataclass(frozen=True)
class _Open:
    """Attributes: ``order`` sorts ``keys``, so that a key's row is found."""

    index: Any
    keys: np.ndarray
    order: np.ndarray
    features: np.ndarray
    distance: Distance

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        distances = np.full((len(queries), k), np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        for number, query in enumerate(np.ascontiguousarray(queries, np.float32)):
            rows = self._candidates(query, min(_CANDIDATES * k, len(self.keys)))
            measured = _measured(query, self.features[rows], self.distance)
            best = np.lexsort((rows, measured))[:k]
            distances[number, : len(best)], ids[number, : len(best)] = measured[best], rows[best]
        return distances, ids

    def _candidates(self, query: np.ndarray, wanted: int) -> np.ndarray:
        if self.distance == "cosine" and not query.any():  # no direction leads through the graph
            return np.arange(len(self.keys))
        keys = np.asarray(self.index.search(query, wanted, threads=1).keys)
        return np.asarray(self.order[np.searchsorted(self.keys, keys, sorter=self.order)])


def _measured(query: np.ndarray, rows: np.ndarray, distance: Distance) -> np.ndarray:
    """Distances of [D] to [n, D], float64 [n]."""
    one, many = query.astype(np.float64), rows.astype(np.float64)
    if distance == "l2":
        return np.asarray(np.linalg.norm(many - one, axis=1))
    norms = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    return np.asarray(1 - np.divide(many @ one, norms, out=np.zeros(len(many)), where=norms > 0))


def _add(index: Any, keys: np.ndarray, features: np.ndarray) -> None:
    if len(keys):  # one thread, so that the same features give the same bytes
        index.add(keys, np.ascontiguousarray(features, np.float32), threads=1)


def _save(index: Any, path: Path) -> None:
    with atomic(path) as unfinished:
        try:
            index.save(str(unfinished))
        except RuntimeError as error:  # says no more than "Failed to serialize into stream"
            raise MissingTool(
                f"{path}: the index cannot be written ({error}): the disk may be full; free some space and start the "
                "same command again"
            ) from error


def _restored(path: Path, *, view: bool) -> Any:
    from usearch.index import Index as Graph

    try:
        if not path.is_file() or path.stat().st_size < 64:
            raise ValueError("no usearch index")
        found = Graph.restore(str(path), view=view)
    except (RuntimeError, MemoryError, ValueError, OSError, KeyError) as error:
        raise BadInput(f"{path}: damaged ({' '.join(str(error).split())[:200]}); take the file of the run") from error
    if found is None:
        raise BadInput(f"{path}: damaged (no usearch index); take the file of the run")
    return found
