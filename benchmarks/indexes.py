"""Every index beside exhaustive search: ``OMP_NUM_THREADS=1 python -m benchmarks.indexes [FEATURES.npy] [--full]``.

10,000 and 100,000 vectors of 128 dimensions, with ``--full`` also a million: recall@10 over 200 queries, the median
processor time of one query and how many times less that is than one product in NumPy takes, the time to build and, if
it can, to replace a hundredth of the images, the file, and the memory that opening and querying takes. All on one
thread. ``--images 1000000 --only usearch`` measures that size and that row alone.

With FEATURES.npy, which ``compress embed`` writes, the vectors are an artifact's own of real images, searched by the
cosine: 200 of them are queries, the others are the gallery, extended by points between an image and one of its ten
nearest. sqlite-vec is measured if it and apsw are installed, because Python's own sqlite3 often loads no extensions:
sign bits, of which the nearest 100 are ranked exactly.

Otherwise the vectors are random mixtures that resemble a trained network's features: overlapping clusters, 24 latent
dimensions, rectified. That flatters ivf, whose lists find the clusters again. Queries are no members of the gallery.
The first line of a table says at what angle a query sees its tenth neighbour and a random image (medians); among 2,000
of their images ALNet's features of Fashion-MNIST and CIFAR-10 see the nearest ten at 16 and 29 degrees and a random one
at 80 and 76.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Distance, Index, OpenIndex
from compress.gallery.nearest import distances
from compress.gallery.recall import K, exhaustive, recall
from compress.indexes.flat import Flat
from compress.indexes.hnsw import Hnsw
from compress.indexes.ivf import Ivf
from compress.indexes.lsh import Lsh
from compress.indexes.usearch import Usearch
from compress.indexes.usearch_i8 import UsearchI8
from validators.metrics import nearest_neighbours

FEW, ALL = (10_000, 100_000), (10_000, 100_000, 1_000_000)
DIM, LATENT, CLUSTERS, QUERIES = 128, 24, 200, 200
L2: Distance = "l2"
COSINE: Distance = "cosine"
INDEXES: tuple[tuple[str, Index], ...] = (
    ("flat", Flat()),
    ("lsh", Lsh()),
    ("lsh, 32 tables", Lsh(tables=32)),
    ("ivf", Ivf()),
    ("hnsw", Hnsw()),
    ("usearch", Usearch()),
    ("usearch_i8", UsearchI8()),
)
SLOW = ("hnsw",)
"""Takes minutes to build for a million vectors, and is left out there."""
CANDIDATES = (256, 1024)
"""``ef_search`` with which usearch's graphs are searched once more; 64 is the default."""


def mixture(count: int, seed: int) -> np.ndarray:
    """float32 [count, DIM]; the clusters are the same for every seed."""
    world, random = np.random.default_rng(0), np.random.default_rng(seed)
    centres = world.standard_normal((CLUSTERS, LATENT), dtype=np.float32)
    spread = world.standard_normal((LATENT, DIM), dtype=np.float32) / np.float32(np.sqrt(LATENT))
    features = np.empty((count, DIM), np.float32)
    for start in range(0, count, 65536):
        part = features[start : start + 65536]
        latent = centres[random.integers(0, CLUSTERS, len(part))]
        latent += np.float32(0.4) * random.standard_normal(latent.shape, dtype=np.float32)
        noise = random.standard_normal(part.shape, dtype=np.float32)
        np.maximum(0, latent @ spread + np.float32(0.05) * noise, out=part)
    return features


def angles(features: np.ndarray, queries: np.ndarray) -> tuple[float, float]:
    """Degrees, medians: to the tenth neighbour, to a random image."""
    tenth = nearest_neighbours(queries, features, K)[:, -1]
    random = np.random.default_rng(1).integers(0, len(features), len(queries))

    def median(rows: np.ndarray) -> float:
        lengths = np.linalg.norm(features[rows], axis=1) * np.linalg.norm(queries, axis=1)
        return float(np.median(np.degrees(np.arccos(np.einsum("qd,qd->q", features[rows], queries) / lengths))))

    return median(tenth), median(random)


def extended(features: np.ndarray, count: int) -> np.ndarray:
    """float32 [count, D]: the features, then points between an image and one of its ten nearest."""
    if count <= len(features):
        return features[:count]
    near = np.concatenate(
        [nearest_neighbours(part, features, K + 1, distance="cosine")[:, 1:] for part in np.array_split(features, 10)]
    )
    random = np.random.default_rng(3)
    found = np.empty((count, features.shape[1]), np.float32)
    found[: len(features)] = features
    for start in range(len(features), count, 65536):
        part = found[start : start + 65536]
        one = random.integers(0, len(features), len(part))
        other = near[one, random.integers(0, K, len(part))]
        share = random.random((len(part), 1), np.float32)
        part[:] = (1 - share) * features[one] + share * features[other]
    return found


def rows(count: int, folder: Path, real: np.ndarray | None = None, only: Collection[str] = ()) -> Iterator[str]:
    """A table of one gallery, line by line as they are measured.

    Args:
        real: an artifact's own features; None for random mixtures.
        only: names of the indexes that are measured, also of slow ones; empty for all.
    """
    if real is None:
        features, queries, distance = mixture(count, 1), mixture(QUERIES, 2), L2
    else:
        features, queries, distance = extended(real[QUERIES:], count), real[:QUERIES], COSINE
    nobody = np.full(QUERIES, -1)
    near, far = angles(features, queries)
    what = f"{features.shape[1]} dimensions; tenth neighbour at {near:.0f} degrees, a random one at {far:.0f}"
    yield f"{count:,} vectors, {what}"
    yield "| index | recall@10 | ms a query | speed-up | build s | 1 % replaced s | file MB | memory MB |"
    yield "|---|---|---|---|---|---|---|---|"
    exact = nearest_neighbours(queries, features, K + 1, distance=distance)
    search = exhaustive(features, distance)
    _, alone = timed(lambda query: search(query, K), queries)
    yield f"| none (NumPy) | 1.000 | {alone:.3f} | 1.0 | | | | |"
    others = () if SqliteVec.missing() else (("sqlite-vec, bits", SqliteVec()),)
    for name, index in (*INDEXES, *others):
        if distance not in index.distances or (name not in only if only else name in SLOW and count > 100_000):
            continue
        path = folder / index.file
        path.unlink(missing_ok=True)
        start = time.thread_time()
        index.build(path, features, distance, seed=0)
        seconds = time.thread_time() - start
        lines = []
        for title, searching in {name: index, **longer(name, index)}.items():
            held = resident()
            opened = searching.open(path, features, distance)
            found, spent = timed(lambda query, opened=opened: opened.search(query[None], K)[1][0], queries)  # type: ignore[misc]
            memory = max(0.0, resident() - held)
            share = recall(features, queries, found, nobody, distance, exact=exact)
            lines.append((f"| {title} | {share:.3f} | {spent:.3f} | {alone / spent:.1f} |", memory))
        size = path.stat().st_size / 1e6
        changed = replaced(index, path, features, distance)
        took = "" if changed is None else f"{changed:.2f}"
        (first, memory), *others_of_it = lines
        yield f"{first} {seconds:.1f} | {took} | {size:.1f} | {memory:.1f} |"
        for line, _ in others_of_it:
            yield f"{line} | | | |"


def longer(name: str, index: Index) -> dict[str, Index]:
    """The same file searched with more candidates, by name; empty if its index has no such option."""
    if not isinstance(index, Usearch):
        return {}
    return {f"{name}, ef_search {ef}": replace(index, ef_search=ef) for ef in CANDIDATES}


def replaced(index: Index, path: Path, features: np.ndarray, distance: Distance) -> float | None:
    """Seconds to remove a hundredth of the images and add as many others, file included; None without an update."""
    if not index.updatable:
        return None
    some = max(1, len(features) // 100)
    keys = np.arange(len(features), dtype=np.uint64)
    keys[:some] += np.uint64(len(features))
    start = time.thread_time()
    assert index.update(path, keys, features, distance) == (some, some)
    return time.thread_time() - start


class SqliteVec(Index):
    """Sign bits around the mean in a virtual table of sqlite-vec; the nearest 100 are ranked by their features."""

    file = "bits.sqlite"

    @staticmethod
    def missing() -> bool:
        """Whether it cannot be measured here."""
        return any(importlib.util.find_spec(name) is None for name in ("apsw", "sqlite_vec"))

    def build(self, path: Path, features: np.ndarray, distance: Distance, seed: int) -> None:
        codes = np.packbits(features > features.mean(axis=0), axis=1)
        with self._connected(path) as database:
            database.execute(f"CREATE VIRTUAL TABLE codes USING vec0(code bit[{8 * codes.shape[1]}])")
            rows = ((number, code.tobytes()) for number, code in enumerate(codes))
            database.executemany("INSERT INTO codes(rowid, code) VALUES (?, vec_bit(?))", rows)

    def open(self, path: Path, features: np.ndarray, distance: Distance) -> OpenIndex:
        database, mean = self._connected(path), features.mean(axis=0)

        class Opened:
            def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
                asked = "SELECT rowid FROM codes WHERE code MATCH vec_bit(?) AND k = 100"
                code = np.packbits(queries[0] > mean).tobytes()
                ids = np.array([number for (number,) in database.execute(asked, (code,))])
                measured = distances(queries[0], features[ids], distance)
                best = np.argsort(measured, kind="stable")[:k]
                return measured[best][None], ids[best][None]

        return Opened()

    def _connected(self, path: Path) -> Any:
        import apsw  # type: ignore[import-not-found, unused-ignore]
        import sqlite_vec  # type: ignore[import-not-found, unused-ignore]

        database = apsw.Connection(str(path))
        database.enable_load_extension(True)
        database.load_extension(sqlite_vec.loadable_path())
        return database


def resident() -> float:
    """Megabytes of this process in memory, mapped files included; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def timed(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> tuple[np.ndarray, float]:
    """The ids of each query, int64 [Q, K], and the median of their milliseconds, of this thread's processor time."""
    found, milliseconds = [], []
    for query in queries:
        start = time.thread_time()
        found.append(search(query))
        milliseconds.append(1000 * (time.thread_time() - start))
    return np.stack(found), float(np.median(milliseconds))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexes")
    parser.add_argument("features", nargs="?", type=Path, help="what compress embed wrote; random mixtures without it")
    parser.add_argument("--full", action="store_true", help="also a million images")
    parser.add_argument("--images", type=int, help="this number of images alone")
    names = [name for name, _ in INDEXES]
    parser.add_argument("--only", action="append", default=[], choices=names, help="this index; may be repeated")
    given = parser.parse_args()
    real = None if given.features is None else np.load(given.features)
    with tempfile.TemporaryDirectory() as folder:
        for count in [given.images] if given.images else ALL if given.full else FEW:
            for line in rows(count, Path(folder), real, given.only):
                print(line, flush=True)


if __name__ == "__main__":
    main()
