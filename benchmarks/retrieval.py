"""Exact mAP at the scale of SUN397: ``python -m benchmarks.retrieval [--full]``.

76,872 gallery images of 397 classes, 1280 dimensions; 1,920 queries, or with ``--full`` all 19,218. Prints, from one
run and as ratios to the float32 matrix product alone: the whole evaluation (limit 1.5), and the product followed by a
full argsort of every row and a cumulative sum (limit: 3 times the evaluation), which is what most evaluation code does
and which neither averages over ties nor repeats when the block size changes. Then the most memory the process held
until then (limit 2 GB, features included), and the same for 64-bit codes.

``clustered`` features resemble a network's: rectified, 64 latent dimensions, classes that overlap. ``random`` ones have
no structure: all distances lie close together, the worst case for counting.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from validators._distances import Distances
from validators.metrics import evaluate_retrieval

GALLERY, DIM, CLASSES, PER_CLASS = 76_872, 1280, 397, 48
FEW, ALL = 40 * PER_CLASS, 19_218
BLOCK = 109
ROUNDS = 3
METRICS = ("mAP", "mAP@100", "P@1", "P@10", "R@100")


def clustered(labels: np.ndarray, seed: int) -> np.ndarray:
    """float32 [N, 1280]."""
    world, random = np.random.default_rng(0), np.random.default_rng(seed)
    centres, spread = world.standard_normal((CLASSES, 64)), world.standard_normal((64, DIM)).astype(np.float32) / 8
    features = np.empty((len(labels), DIM), dtype=np.float32)
    for start in range(0, len(labels), 4096):
        chosen = labels[start : start + 4096]
        latent = centres[chosen] + 2 * random.standard_normal((len(chosen), 64))
        noise = random.standard_normal((len(chosen), DIM), dtype=np.float32)
        np.maximum(0, latent.astype(np.float32) @ spread + 0.3 * noise, out=features[start : start + 4096])
    return features


def unstructured(labels: np.ndarray, seed: int) -> np.ndarray:
    """float32 [N, 1280]."""
    return np.random.default_rng(seed).standard_normal((len(labels), DIM), dtype=np.float32)


def product(queries: np.ndarray, gallery: np.ndarray) -> None:
    for start in range(0, len(queries), BLOCK):
        queries[start : start + BLOCK] @ gallery.T


def product_and_argsort(
    queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray, gallery_labels: np.ndarray
) -> float:
    """mAP, the usual way."""
    norms = np.einsum("gd,gd->g", gallery, gallery)
    ranks = np.arange(1, len(gallery) + 1)
    scores = []
    for start in range(0, len(queries), BLOCK):
        distances = norms - 2 * (queries[start : start + BLOCK] @ gallery.T)
        order = np.argsort(distances, axis=1)
        for row, label in zip(order, labels[start : start + BLOCK], strict=True):
            hits = gallery_labels[row] == label
            scores.append((np.cumsum(hits)[hits] / ranks[hits]).mean())
    return float(np.mean(scores))


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_gigabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def report(name: str, queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> None:
    scores: dict[str, float] = {}
    memory = 0.0
    times: dict[str, list[float]] = {"product": [], "evaluation": [], "argsort": []}
    rounds = 1 if len(queries) == ALL else ROUNDS
    for number in range(rounds):
        times["evaluation"].append(
            seconds(lambda: scores.update(evaluate_retrieval(queries, gallery, labels, classes, metrics=METRICS)))
        )
        memory = memory or peak_gigabytes()
        times["product"].append(seconds(lambda: product(queries, gallery)))
        times["argsort"].append(
            seconds(lambda: scores.update(argsort=product_and_argsort(queries, gallery, labels, classes)))
        )
        print(f"{name:10} round {number + 1} of {rounds}", file=sys.stderr)
    alone, whole, sorting = (float(np.median(times[key])) for key in ("product", "evaluation", "argsort"))
    print(f"{name:10} product {alone:7.2f} s   mAP {scores['mAP']:.6f}, by argsort {scores['argsort']:.6f}")
    setup = seconds(lambda: Distances(queries, gallery, "l2"))
    print(f"{'':10} evaluation {whole / alone:5.2f} x product (limit 1.5), {', '.join(METRICS)}")
    print(
        f"{'':10} without its set-up, {setup:.2f} s for any number of queries, {(whole - setup) / alone:.2f} x product"
    )
    print(f"{'':10} product + argsort {sorting / alone:5.2f} x product, {sorting / whole:.2f} x evaluation (limit 3)")
    print(f"{'':10} peak memory {memory:.2f} GB (limit 2)")


def report_codes(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> None:
    middle = np.median(gallery[:, :64], axis=0)
    codes, gallery_codes = ((each[:, :64] > middle).astype(np.uint8) for each in (queries, gallery))
    spent = seconds(
        lambda: evaluate_retrieval(codes, gallery_codes, labels, classes, distance="hamming", metrics=METRICS)
    )
    print(f"{'64 bits':10} evaluation {spent:.2f} s, {1e9 * spent / len(labels) / GALLERY:.2f} ns a pair")


def main(full: bool) -> None:
    classes = np.arange(GALLERY) % CLASSES
    labels = np.arange(ALL if full else FEW) // PER_CLASS % CLASSES
    print(f"{len(labels):,} queries, {GALLERY:,} gallery images, {DIM} dimensions, float32")
    for name, make in {"clustered": clustered, "random": unstructured}.items():
        gallery, queries = make(classes, 1), make(labels, 2)
        report(name, queries, gallery, labels, classes)
        if name == "clustered":
            report_codes(queries, gallery, labels, classes)
        del gallery, queries


if __name__ == "__main__":
    main("--full" in sys.argv[1:])
