"""Locality-sensitive hashing that any app can read: tables of random-hyperplane codes, exact ranks inside.

Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002, section 3, in L tables as in Indyk and
Motwani, STOC 1998. Two vectors at the angle theta share a bit with probability 1 - theta / pi, so a code of b bits
with that to the power of b, and at least one of L tables with 1 - (1 - (1 - theta / pi)^b)^L.

``gallery/index.sqlite`` holds three tables:

``meta (key TEXT PRIMARY KEY, value TEXT)``, each value being JSON: schema 1, index "lsh", tables, bits, dim, images.

``planes (tab INTEGER, bit INTEGER, plane BLOB)``: the normal of each hyperplane, ``dim`` float32 little-endian.

``buckets (tab INTEGER, code INTEGER, ids BLOB)``: the images of each bucket that is not empty, int32 little-endian,
increasing, as ``images.id`` in gallery.sqlite.

The code of a vector x in a table: bit i is 1 where x . plane_i >= 0, bit 0 being the most significant of ``bits``. To
search, join the buckets of the query's codes and rank these images by the distance to their features in gallery.sqlite.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from compress.contracts import BadInput, Distance, Index, OpenIndex
from compress.system import sqlite as database

_SCHEMA = 1
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE planes (tab INTEGER, bit INTEGER, plane BLOB NOT NULL, PRIMARY KEY (tab, bit)) WITHOUT ROWID;
CREATE TABLE buckets (tab INTEGER, code INTEGER, ids BLOB NOT NULL, PRIMARY KEY (tab, code)) WITHOUT ROWID;
"""
_FLOAT, _ID = np.dtype("<f4"), np.dtype("<i4")
_ROWS = 16384
"""Number of features hashed at once."""


@dataclass(frozen=True, kw_only=True)
class Lsh(Index):
    """Hash features by random hyperplanes and rank the images that share a bucket with the query.

    The hyperplanes go through the origin, so buckets depend on directions alone, whichever distance ranks.

    Attributes:
        tables: number of tables; more tables find more neighbours and compare more images.
        bits: hyperplanes per table; more bits compare fewer images and find fewer neighbours. null takes log2(images /
            8).
    """

    file = "index.sqlite"

    tables: Annotated[int, Ge(1), Le(256)] = 16
    bits: Annotated[int, Ge(1), Le(32)] | None = None

    def build(self, path: Path, features: np.ndarray, distance: Distance, seed: int) -> None:
        count, dim = features.shape
        bits = self.bits or min(32, max(1, round(log2(count / 8))))
        normals = np.random.Generator(np.random.PCG64(seed)).standard_normal((self.tables, bits, dim))
        planes = normals.astype(_FLOAT)
        codes = hashed(features, planes)
        meta = {"schema": _SCHEMA, "index": "lsh", "tables": self.tables, "bits": bits, "dim": dim, "images": count}
        with database.written(path, _TABLES) as file:
            file.executemany("INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(meta[key])) for key in sorted(meta)])
            for table in range(self.tables):
                rows = [(table, bit, planes[table, bit].tobytes()) for bit in range(bits)]
                file.executemany("INSERT INTO planes VALUES (?, ?, ?)", rows)
                order = np.argsort(codes[table], kind="stable")
                values, starts = np.unique(codes[table][order], return_index=True)
                buckets = np.split(order.astype(_ID), starts[1:])
                named = zip(values.tolist(), buckets, strict=True)
                file.executemany(
                    "INSERT INTO buckets VALUES (?, ?, ?)", [(table, code, ids.tobytes()) for code, ids in named]
                )

    def open(self, path: Path, features: np.ndarray, distance: Distance) -> OpenIndex:
        try:
            with closing(database.Reader(path)) as file:
                meta = file.values("meta")
                if (meta["index"], meta["schema"]) != ("lsh", _SCHEMA):
                    raise ValueError(f"{meta['index']} of schema {meta['schema']} instead of lsh of schema {_SCHEMA}")
                planes = file.rows("SELECT plane FROM planes ORDER BY tab, bit")
                buckets = file.rows("SELECT tab, code, ids FROM buckets ORDER BY tab, code")
            normals, tables = _arrays(meta, planes, buckets, features.shape)
            return _Open(features, distance, normals.astype(np.float64), tables)  # converted once, not for every query
        except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: the index is damaged ({error}); take the file of the run") from error


def hashed(features: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Compute the codes int64 [L, N] of features [N, D] by planes [L, b, D]."""
    tables, bits, dim = planes.shape
    # In float64, rounding on any processor moves no image to the other side of a plane, unless it is on the plane.
    normals = planes.reshape(-1, dim).T.astype(np.float64, copy=False)
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    codes = np.empty((tables, len(features)), np.int64)
    for start in range(0, len(features), _ROWS):
        rows = slice(start, start + _ROWS)
        above = features[rows].astype(np.float64) @ normals >= 0
        codes[:, rows] = (above.reshape(-1, tables, bits) @ weights).T
    return codes


def _arrays(
    meta: dict[str, Any], planes: list[tuple[bytes]], buckets: list[tuple[int, int, bytes]], shape: tuple[int, int]
) -> tuple[np.ndarray, list[_Table]]:
    """The planes float32 [L, b, D] and the tables. Raises ValueError unless each table holds every image once."""
    count, dim = shape
    if (meta["images"], meta["dim"]) != shape:
        raise ValueError(f"made of {meta['images']} features of {meta['dim']} values, the gallery has {count} of {dim}")
    normals = np.frombuffer(b"".join(plane for (plane,) in planes), _FLOAT).reshape(meta["tables"], meta["bits"], dim)
    if not np.isfinite(normals).all():
        raise ValueError("a plane holds NaN or infinity")
    owner = np.array([table for table, _, _ in buckets])
    tables = []
    for number in range(meta["tables"]):
        own = [buckets[row] for row in np.flatnonzero(owner == number)]
        ids = np.frombuffer(b"".join(blob for _, _, blob in own), _ID)
        if not np.array_equal(np.sort(ids), np.arange(count)):
            raise ValueError(f"table {number} does not hold each of {count} images once")
        sizes = [len(blob) // _ID.itemsize for _, _, blob in own]
        codes = np.array([code for _, code, _ in own], np.int64)
        tables.append(_Table(codes, np.cumsum([0, *sizes]), ids))
    return normals, tables


@dataclass(frozen=True)
class _Table:
    """One hash table.

    Attributes:
        codes: the codes of the buckets that are not empty, increasing.
        starts: where the bucket of each code begins in ``ids``, and the end of the last one.
    """

    codes: np.ndarray
    starts: np.ndarray
    ids: np.ndarray

    def bucket(self, code: int) -> np.ndarray:
        place = int(np.searchsorted(self.codes, code))
        if place == len(self.codes) or self.codes[place] != code:
            return self.ids[:0]
        return self.ids[self.starts[place] : self.starts[place + 1]]


@dataclass(frozen=True)
class _Open:
    features: np.ndarray
    distance: Distance
    planes: np.ndarray
    tables: list[_Table]

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        distances = np.full((len(queries), k), np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        for row, codes in enumerate(hashed(queries, self.planes).T):
            candidates = self.candidates(codes)
            measured = self._measured(queries[row], candidates)
            # Candidates increase, so that a stable sort puts the lower id of a tie first.
            nearest = np.argsort(measured, kind="stable")[:k]
            distances[row, : len(nearest)] = measured[nearest]
            ids[row, : len(nearest)] = candidates[nearest]
        return distances, ids

    def candidates(self, codes: np.ndarray) -> np.ndarray:
        """The images that share a bucket with a query of these ``codes`` (int64 [L]): int32, increasing."""
        seen = np.zeros(len(self.features), bool)
        for table, code in zip(self.tables, codes.tolist(), strict=True):
            seen[table.bucket(code)] = True
        return np.flatnonzero(seen)

    def _measured(self, query: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        rows = self.features[candidates]
        if self.distance == "l2":
            return np.asarray(np.linalg.norm(rows - query, axis=1))
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        return np.asarray(1 - np.divide(rows @ query, norms, out=np.zeros(len(rows), rows.dtype), where=norms > 0))
