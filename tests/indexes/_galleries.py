"""Small galleries with everything that is awkward: copies, a zero vector, equal distances; and a slow search."""

from __future__ import annotations

import math

import numpy as np

from compress.contracts import Distance

DISTANCES: tuple[Distance, ...] = ("l2", "cosine", "hamming")


def features(distance: Distance, count: int = 200, dim: int = 12, seed: int = 0) -> np.ndarray:
    """float32 [count, dim] in clusters; every eighth row is a copy of the one before, row 5 is zero."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(8, dim))
    rows = centres[random.integers(0, 8, count)] + 0.3 * random.normal(size=(count, dim))
    rows[8::8] = rows[7:-1:8]
    rows[5:6] = 0
    return (rows > 0).astype(np.float32) if distance == "hamming" else rows.astype(np.float32)


def distance_of(a: np.ndarray, b: np.ndarray, distance: Distance) -> float:
    x, y = a.tolist(), b.tolist()
    if distance == "hamming":
        return float(sum((p > 0.5) != (q > 0.5) for p, q in zip(x, y, strict=True)))
    if distance == "l2":
        return math.dist(x, y)
    lengths = math.hypot(*x) * math.hypot(*y)
    return 1 - sum(p * q for p, q in zip(x, y, strict=True)) / lengths if lengths else 1.0


def brute_force(query: np.ndarray, rows: np.ndarray, distance: Distance) -> list[tuple[float, int]]:
    """Every row with its distance, nearest first, ties by number."""
    return sorted((distance_of(query, row, distance), number) for number, row in enumerate(rows))
