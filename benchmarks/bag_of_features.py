"""SIFT and a classical bag of features on a recipe's data: ``python -m benchmarks.bag_of_features RECIPE [--words N]``.

What retrieval was before networks, for the comparison table (Sivic and Zisserman, ICCV 2003): SIFT descriptors as
RootSIFT (Arandjelović and Zisserman, CVPR 2012), a vocabulary of k-means centres of training images' descriptors, one
tf-idf histogram for each image, cosine. Queries, gallery and image size are the recipe's. Needs faiss-cpu and
opencv-python-headless.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Data, ImageSet
from compress.data.load import load_data
from compress.recipe.reader import load_recipe
from validators.metrics import evaluate_retrieval

METRICS = ("mAP", "mAP@5", "P@1")
SAMPLED = 200_000
"""Descriptors that the vocabulary is made of, at most."""


def descriptors(images: ImageSet) -> Iterator[np.ndarray]:
    """RootSIFT of each image, float32 [points, 128], the rows of unit length; none where nothing stands out."""
    import cv2

    detector: Any = cv2.SIFT_create()
    for number in range(len(images)):
        grey = cv2.cvtColor(np.ascontiguousarray(images.images[number : number + 1][0]), cv2.COLOR_RGB2GRAY)
        _, found = detector.detectAndCompute(grey, None)
        found = np.zeros((0, 128), np.float32) if found is None else found
        yield np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12))


def vocabulary(images: ImageSet, words: int, seed: int) -> np.ndarray:
    """k-means centres [words, 128] of the images' descriptors."""
    import faiss

    found = np.concatenate(list(descriptors(images)))
    chosen = np.random.default_rng(seed).permutation(len(found))[:SAMPLED]
    clustering = faiss.Kmeans(128, words, niter=20, seed=seed, min_points_per_centroid=1)
    clustering.train(found[chosen])
    return np.asarray(clustering.centroids)


def histograms(images: ImageSet, centres: np.ndarray) -> np.ndarray:
    """How often each word is nearest, float32 [N, words]."""
    import faiss

    index = faiss.IndexFlatL2(centres.shape[1])
    index.add(np.ascontiguousarray(centres, dtype=np.float32))
    counts = np.zeros((len(images), len(centres)), np.float32)
    for row, found in zip(counts, descriptors(images), strict=True):
        if len(found):
            row += np.bincount(index.search(found, 1)[1][:, 0], minlength=len(centres))
    return counts


def weighted(counts: np.ndarray, inverse_frequency: np.ndarray) -> np.ndarray:
    """tf-idf of unit length, so that L2 ranks as the cosine does; zeros for an image without descriptors."""
    values = counts * inverse_frequency
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def inverse_document_frequency(counts: np.ndarray) -> np.ndarray:
    """log(N / N_i) of each word, over the N images; 0 for a word of none."""
    images = (counts > 0).sum(axis=0)
    return np.array([math.log(len(counts) / n) if n else 0.0 for n in images], dtype=np.float32)


def scores(data: Data, words: int, seed: int) -> dict[str, float]:
    """Words and their weights are learnt on the training images, and measured on the queries and the gallery."""
    centres = vocabulary(data.train, words, seed)
    weights = inverse_document_frequency(histograms(data.train, centres))
    queries = weighted(histograms(data.queries, centres), weights)
    gallery = queries if data.leave_one_out else weighted(histograms(data.gallery, centres), weights)
    return evaluate_retrieval(
        queries,
        gallery,
        data.queries.labels,
        data.gallery.labels,
        metrics=METRICS,
        exclude_self=data.leave_one_out,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--words", type=int, default=1000)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="A.B=VALUE")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, options.overrides)
    data = load_data(recipe.data, recipe.seed, progress=True)
    found = scores(data, options.words, recipe.seed)
    values = "  ".join(f"{name} {value:.4f}" for name, value in found.items())
    print(f"SIFT, {options.words} words, {data.dataset} ({len(data.queries):,} queries): {values}")


if __name__ == "__main__":
    main()
