"""Every index beside exhaustive search: ``OMP_NUM_THREADS=1 python -m benchmarks.indexes [--full]``.

10,000 and 100,000 vectors of 128 dimensions, with ``--full`` also a million: recall@10 over 200 queries, the median
processor time of one query and how many times less that is than one product in NumPy takes, the time to build, the
file. All on one thread.

The vectors are random mixtures that resemble a trained network's features: overlapping clusters, 24 latent dimensions,
rectified. That flatters ivf, whose lists find the clusters again. Queries are no members of the gallery. The first line
of a table says at what angle a query sees its tenth neighbour and a random image (medians); among 2,000 of their images
ALNet's features of Fashion-MNIST and CIFAR-10 see the nearest ten at 16 and 29 degrees and a random one at 80 and 76.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from compress.contracts import Index
from compress.gallery.recall import K, exhaustive, recall
from compress.indexes.flat import Flat
from compress.indexes.hnsw import Hnsw
from compress.indexes.ivf import Ivf
from compress.indexes.lsh import Lsh
from validators.metrics import nearest_neighbours

FEW, ALL = (10_000, 100_000), (10_000, 100_000, 1_000_000)
DIM, LATENT, CLUSTERS, QUERIES = 128, 24, 200, 200
INDEXES: tuple[tuple[str, Index], ...] = (
    ("flat", Flat()),
    ("lsh", Lsh()),
    ("lsh, 32 tables", Lsh(tables=32)),
    ("ivf", Ivf()),
    ("hnsw", Hnsw()),
)


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


def rows(count: int, folder: Path) -> Iterator[str]:
    """A table of one gallery, line by line as they are measured."""
    features, queries = mixture(count, 1), mixture(QUERIES, 2)
    nobody = np.full(QUERIES, -1)
    near, far = angles(features, queries)
    yield f"{count:,} vectors, {DIM} dimensions; tenth neighbour at {near:.0f} degrees, a random one at {far:.0f}"
    yield "| index | recall@10 | ms a query | speed-up | build s | file MB |"
    yield "|---|---|---|---|---|---|"
    search = exhaustive(features, "l2")
    _, alone = timed(lambda query: search(query, K), queries)
    yield f"| none (NumPy) | 1.000 | {alone:.3f} | 1.0 | | |"
    for name, index in INDEXES:
        path = folder / index.file
        start = time.thread_time()
        index.build(path, features, "l2", seed=0)
        seconds = time.thread_time() - start
        opened = index.open(path, features, "l2")
        found, spent = timed(lambda query, opened=opened: opened.search(query[None], K)[1][0], queries)  # type: ignore[misc]
        share = recall(features, queries, found, nobody, "l2")
        size = path.stat().st_size / 1e6
        yield f"| {name} | {share:.3f} | {spent:.3f} | {alone / spent:.1f} | {seconds:.1f} | {size:.1f} |"


def timed(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> tuple[np.ndarray, float]:
    """The ids of each query, int64 [Q, K], and the median of their milliseconds, of this thread's processor time."""
    found, milliseconds = [], []
    for query in queries:
        start = time.thread_time()
        found.append(search(query))
        milliseconds.append(1000 * (time.thread_time() - start))
    return np.stack(found), float(np.median(milliseconds))


def main(full: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for count in ALL if full else FEW:
            for line in rows(count, Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main("--full" in sys.argv[1:])
