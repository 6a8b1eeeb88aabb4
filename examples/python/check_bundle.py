"""Check a bundle's TFLite file with what an app has: LiteRT, NumPy and SQLite. Nothing of Compress is imported.

    pip install ai-edge-litert numpy
    python check_bundle.py BUNDLE [artifacts/NAME.tflite]

Runs the file on the golden images. Compares its embeddings with golden/embeddings.f32 (cosine), and what they find in
gallery/gallery.sqlite with golden/golden.json; the limits are those of bundle.json.
examples/android and examples/ios do the same, step by step. Exit status 0: passed, 1: failed.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def read_gallery(path: Path) -> tuple[dict, list[str], np.ndarray]:
    """meta, the images' names, and float32 [G, D] (bits as 0 and 1 where the model gives codes)."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    meta = {key: json.loads(value) for key, value in database.execute("SELECT key, value FROM meta")}
    rows = database.execute("SELECT name, feature FROM images ORDER BY id").fetchall()
    database.close()
    if meta["kind"] == "binary":  # first bit most significant; numpy.unpackbits' own order
        codes = np.stack([np.frombuffer(blob, np.uint8) for _, blob in rows])
        return meta, [name for name, _ in rows], np.unpackbits(codes, axis=1)[:, : meta["dim"]].astype(np.float32)
    return meta, [name for name, _ in rows], np.stack([np.frombuffer(blob, "<f4") for _, blob in rows])


def distances(query: np.ndarray, features: np.ndarray, distance: str) -> np.ndarray:
    """[G] from ``query`` [D] to ``features`` [G, D]."""
    if distance == "hamming":
        return np.asarray(np.count_nonzero((query > 0.5) != (features > 0.5), axis=1))
    if distance == "cosine":
        return np.asarray(1 - features @ query / (np.linalg.norm(features, axis=1) * np.linalg.norm(query)))
    return np.asarray(np.linalg.norm(features - query, axis=1))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def embed(model: Path, images: np.ndarray) -> np.ndarray:
    """float32 [N, D] for uint8 [N, H, W, 3], one image at a time as an app does it."""
    run = Interpreter(model_path=str(model)).get_signature_runner()
    return np.stack([run(image=image[None])["embedding"][0] for image in images])


def check(bundle: Path, path: str | None) -> dict[str, tuple[float, float]]:
    """(value, limit) of ``min_cosine`` and ``golden_neighbours``."""
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    artifact = next(a for a in manifest["artifacts"] if a["path"] == path or (not path and a["format"] == "tflite"))
    limits = {gate["name"]: gate["limit"] for gate in artifact["gates"]}
    golden = json.loads((bundle / "golden/golden.json").read_text(encoding="utf-8"))
    images = np.fromfile(bundle / "golden/images.u8", np.uint8).reshape(golden["tensors"]["shape"])
    expected = np.fromfile(bundle / "golden/embeddings.f32", "<f4").reshape(golden["embeddings"]["shape"])
    meta, names, features = read_gallery(bundle / "gallery/gallery.sqlite")
    if meta["space_id"] != manifest["embedding"]["space_id"]:
        raise SystemExit("the gallery was made by another model")
    if meta["kind"] == "local":
        raise SystemExit("local features are compared as Compress's validators/local_matching.py does; copy that file")

    found = embed(bundle / artifact["path"], images)
    zero = 0.5 if meta["kind"] == "binary" else 0.0  # activations count from the bits' threshold
    worst = min(cosine(a - zero, b - zero) for a, b in zip(found, expected, strict=True))
    shares = []
    for entry, mine, theirs in zip(golden["images"], found, expected, strict=True):
        allowed = [row for row, name in enumerate(names) if name != entry["source"]]
        if not golden["gallery"]["leave_one_out"]:
            allowed = list(range(len(names)))
        nearest = np.argsort(distances(mine, features[allowed], meta["distance"]), kind="stable")
        neighbours = [allowed[i] for i in nearest[: len(entry["neighbours"])]]
        # A neighbour is right if the PyTorch model has it no farther than its last one, so that ties cost nothing.
        limit = entry["neighbours"][-1]["distance"] * (1 + 1e-5)
        shares.append(np.mean(distances(theirs, features[neighbours], meta["distance"]) <= limit))
    values = {"min_cosine": worst, "golden_neighbours": float(np.mean(shares))}
    return {name: (value, limits[name]) for name, value in values.items()}


def main() -> int:
    results = check(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
    for name, (value, limit) in results.items():
        print(f"{'passed' if value >= limit else 'FAILED'} {name} {value:.6f}, limit {limit}")
    return 0 if all(value >= limit for value, limit in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
