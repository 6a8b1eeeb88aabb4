"""The bag of features finds what looks the same, and its weights are those of the formula."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import bag_of_features
from compress.contracts import ImageSet
from compress.data.load import load_data
from compress.datasets.digits import Digits


def test_weights_worked_by_hand() -> None:
    """Words in 1, 2, 0 and 4 of 4 images weigh log 4, log 2, 0 and 0."""
    counts = np.array([[3, 0, 0, 1], [0, 2, 0, 1], [0, 1, 0, 5], [0, 0, 0, 1]], dtype=np.float32)
    weights = bag_of_features.inverse_document_frequency(counts)
    assert weights.tolist() == pytest.approx([math.log(4), math.log(2), 0, 0])
    found = bag_of_features.weighted(np.array([[1, 2, 0, 7], [0, 0, 3, 9]], dtype=np.float32), weights)
    assert found.tolist() == [pytest.approx([0.5**0.5, 0.5**0.5, 0, 0]), [0, 0, 0, 0]]


def test_it_ranks_better_than_chance_and_shuffled_pictures_do_not() -> None:
    data = load_data(Digits(image_size=64, test_share=0.9), seed=0)

    def few(images: ImageSet, count: int) -> ImageSet:
        chosen = np.arange(count) * len(images) // count
        return ImageSet(images.images[chosen], images.labels[chosen], tuple(images.ids[row] for row in chosen))

    queries = few(data.queries, 150)
    small = replace(data, train=few(data.train, 100), queries=queries, gallery=queries)
    found = bag_of_features.scores(small, words=50, seed=0)
    order = np.random.default_rng(0).permutation(150)
    mixed = ImageSet(queries.images[order], queries.labels, queries.ids)
    chance = bag_of_features.scores(replace(small, queries=mixed, gallery=mixed), words=50, seed=0)
    assert found["mAP"] > chance["mAP"] + 0.05
    assert found["P@1"] > 2 * chance["P@1"]
