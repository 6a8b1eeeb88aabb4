"""Search a bundle's gallery through its LSH index with NumPy and SQLite alone: what an app does, step by step.

    python search_lsh.py BUNDLE QUERIES.f32

The queries are embeddings, float32 little-endian, one after the other, e.g. golden/embeddings.f32. Prints one line of
JSON for each: the nearest ten of the images found, as [name, distance].
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import numpy as np

TOP = 10


def search(database: sqlite3.Connection, meta: dict, planes: np.ndarray, query: np.ndarray) -> list[tuple[str, float]]:
    """The nearest images among those that share a bucket with ``query``; planes float32 [tables, bits, dim]."""
    candidates: set[int] = set()
    for table in range(len(planes)):
        code = 0
        for plane in planes[table]:  # the first bit becomes the most significant one
            code = 2 * code + int(plane.astype(np.float64) @ query >= 0)
        bucket = database.execute("SELECT ids FROM lsh.buckets WHERE tab = ? AND code = ?", (table, code)).fetchone()
        if bucket is not None:
            candidates.update(np.frombuffer(bucket[0], "<i4").tolist())
    found = []
    for number in sorted(candidates):
        name, blob = database.execute("SELECT name, feature FROM images WHERE id = ?", (number,)).fetchone()
        feature = np.frombuffer(blob, "<f4").astype(np.float64)
        if meta["distance"] == "cosine":
            distance = 1 - feature @ query / (np.linalg.norm(feature) * np.linalg.norm(query))
        else:
            distance = np.linalg.norm(feature - query)
        found.append((name, float(distance)))
    return sorted(found, key=lambda each: each[1])[:TOP]


def main() -> None:
    gallery = Path(sys.argv[1]) / "gallery"
    database = sqlite3.connect(gallery / "gallery.sqlite")
    database.execute("ATTACH ? AS lsh", (str(gallery / "index.sqlite"),))
    meta = {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM main.meta")}
    shape = {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM lsh.meta")}
    blobs = [blob for (blob,) in database.execute("SELECT plane FROM lsh.planes ORDER BY tab, bit")]
    planes = np.frombuffer(b"".join(blobs), "<f4").reshape(shape["tables"], shape["bits"], shape["dim"])
    for query in np.fromfile(sys.argv[2], "<f4").reshape(-1, meta["dim"]):
        print(json.dumps(search(database, meta, planes, query.astype(np.float64))))


if __name__ == "__main__":
    main()
