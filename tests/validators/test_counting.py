"""Ranking by counting against a plain sort of the exact distances, and against what could lead it astray."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from compress.contracts import Distance
from validators import _counting, _distances, _rankings
from validators._counting import Counter
from validators._distances import Distances
from validators._rankings import Rankings
from validators.metrics import evaluate_retrieval


def by_sorting(distances: Distances, labels: np.ndarray, gallery_labels: np.ndarray, exclude_self: bool) -> Rankings:
    """The slow, obvious version."""
    values, relevant = distances.block(slice(None)), labels[:, None] == gallery_labels
    if exclude_self:
        others = ~np.eye(len(labels), dtype=bool)
        shape = (len(labels), len(labels) - 1)
        values, relevant = values[others].reshape(shape), relevant[others].reshape(shape)
    order = np.argsort(values, axis=1)
    return _rankings.from_sorted(np.take_along_axis(values, order, 1), np.take_along_axis(relevant, order, 1))


def by_counting(distances: Distances, labels: np.ndarray, gallery_labels: np.ndarray, exclude_self: bool) -> Rankings:
    members = {label: np.flatnonzero(gallery_labels == label) for label in np.unique(labels)}
    return Counter(distances).rankings(np.arange(len(labels)), [members[label] for label in labels], exclude_self)


def differences(first: Rankings, second: Rankings) -> list[str]:
    """Names of the attributes that are not the same number for number."""
    values = {field.name: [getattr(each, field.name) for each in (first, second)] for field in fields(Rankings)}
    return [name for name, (one, other) in values.items() if not np.array_equal(one, other)]


def gaussian(random: np.random.Generator) -> np.ndarray:
    return random.standard_normal((1500, 96)).astype(np.float32)


def relu(random: np.random.Generator) -> np.ndarray:
    """As networks give them: not centred, many zeros, classes that overlap."""
    return np.maximum(0, random.standard_normal((5, 96))[np.arange(1500) % 5] + gaussian(random)).astype(np.float32)


def grid(random: np.random.Generator) -> np.ndarray:
    """Distances tie exactly, all the time."""
    return random.integers(0, 3, (1500, 6)).astype(np.float32)


def copies(random: np.random.Generator) -> np.ndarray:
    return gaussian(random)[random.integers(0, 400, 1500)]


def collapsed(random: np.random.Generator) -> np.ndarray:
    return np.ones((1500, 96), dtype=np.float32) + gaussian(random) * np.float32(1e-4)


def constant(random: np.random.Generator) -> np.ndarray:
    return np.full((1500, 96), 0.3, dtype=np.float32)


def outlier(random: np.random.Generator) -> np.ndarray:
    features = gaussian(random)
    features[7] *= 1e6
    return features


def cancelling(random: np.random.Generator) -> np.ndarray:
    """Products whose partial sums grow to the half and fall to nothing, and constant ones, which round one way."""
    half = np.abs(gaussian(random)[:, :48])
    features = np.concatenate((half, half * random.choice([-1, 1], (1500, 1))), axis=1)
    features[::3] = random.random((500, 1)).astype(np.float32)
    return features.astype(np.float32)


def double(random: np.random.Generator) -> np.ndarray:
    return random.standard_normal((1500, 96)) + 1000


@pytest.mark.every_change("relu-l2-True", "grid-cosine-True", "copies-l2-True", "cancelling-cosine-True")
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("make", [gaussian, relu, grid, copies, constant, cancelling])
def test_every_group_of_ties_is_where_a_sort_puts_it(
    make: Callable[[np.random.Generator], np.ndarray], distance: Distance, exclude_self: bool
) -> None:
    random = np.random.default_rng(0)
    gallery, gallery_labels = make(random), random.permutation(np.arange(1500) % 30)
    queries = gallery if exclude_self else np.concatenate((make(random)[:200], gallery[:100]))
    labels = gallery_labels if exclude_self else np.append(random.integers(0, 30, 299), 99)  # 99: no relevant item
    distances = Distances(queries, gallery, distance)
    arguments = (distances, labels, gallery_labels, exclude_self)
    assert differences(by_counting(*arguments), by_sorting(*arguments)) == []


@pytest.mark.every_change("l2")
@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("make", [collapsed, outlier, double])
def test_where_float64_itself_cancels_average_precision_agrees(
    make: Callable[[np.random.Generator], np.ndarray], distance: Distance
) -> None:
    random = np.random.default_rng(0)
    features, labels = make(random), np.arange(1500) % 30
    arguments = (Distances(features, features, distance), labels, labels, True)
    scores = [
        _rankings.average_precision(rank(*arguments), 1499, "relevant", "step") for rank in (by_counting, by_sorting)
    ]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)


def case(distance: Distance) -> tuple[Distances, np.ndarray, np.ndarray, bool]:
    random = np.random.default_rng(1)
    features, labels = gaussian(random), random.integers(0, 3, 1500)
    return Distances(features[:200], features, distance), labels[:200], labels, False


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_float32_products_alone_would_give_another_ranking(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = case(distance)
    monkeypatch.setattr(_counting, "_FIRST_MARGIN", 0.0)
    monkeypatch.setattr(_counting, "_SAFETY", 0)
    assert differences(by_counting(*arguments), by_sorting(*arguments)) != []


@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("size", [1e-6, 1e-5, 1e-4, 1e-2])
def test_worse_products_widen_the_margin_even_if_relevant_pairs_do_not_show_it(
    size: float, distance: Distance, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Distances.approximate
    arguments = case(distance)
    _, labels, gallery_labels, _ = arguments

    def worse(self: Distances, queries: Any) -> tuple[np.ndarray, np.ndarray]:
        values, unit = right(self, queries)
        noise = np.random.default_rng(2).uniform(-size, size, values.shape) * unit[:, None]
        noise[labels[queries, None] == gallery_labels] = 0
        return (values + noise).astype(np.float32), unit

    expected = by_sorting(*arguments)
    monkeypatch.setattr(Distances, "approximate", worse)
    assert differences(by_counting(*arguments), expected) == []
    # The control: with the margin left alone, the same products rank wrongly.
    monkeypatch.setattr(_counting, "_SAFETY", 0)
    assert differences(by_counting(*arguments), expected) != []


def test_only_crowded_queries_have_their_exact_distances_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    block = Distances.block
    monkeypatch.setattr(Distances, "block", lambda self, queries: asked.append(len(queries)) or block(self, queries))
    random = np.random.default_rng(3)
    labels = np.arange(1500) % 30
    for make, expected in ((relu, 0), (constant, 1500)):
        asked.clear()
        by_counting(Distances(features := make(random), features, "l2"), labels, labels, True)
        assert sum(asked) == expected


@pytest.mark.parametrize("bits", [1, 8, 48, 64, 65, 200])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_codes(bits: int, exclude_self: bool) -> None:
    random = np.random.default_rng(bits)
    gallery, gallery_labels = random.random((400, bits)), random.integers(0, 9, 400)
    queries = gallery if exclude_self else random.random((50, bits))
    labels = gallery_labels if exclude_self else np.append(random.integers(0, 9, 49), 99)
    distances = Distances(queries, gallery, "hamming")
    obvious = ((queries > 0.5)[:, None] != (gallery > 0.5)).sum(axis=2)
    np.testing.assert_array_equal(distances.block(slice(None)), obvious)
    arguments = (distances, labels, gallery_labels, exclude_self)
    assert differences(by_counting(*arguments), by_sorting(*arguments)) == []


def test_numpy_without_a_bit_count_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(4).integers(0, 2**64, 1000, dtype=np.uint64)
    expected = [int(word).bit_count() for word in words]
    assert _distances._popcount(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert _distances._popcount(words).tolist() == expected


@pytest.mark.every_change("l2")
@pytest.mark.parametrize("distance", ["l2", "cosine", "hamming"])
def test_memory_holds_blocks_and_never_the_whole_matrix(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_distances, "_BLOCK_ITEMS", 2**17)
    monkeypatch.setattr(_distances, "_TILE_ITEMS", 2**14)
    random = np.random.default_rng(5)
    queries, gallery = random.random((1500, 32), dtype=np.float32), random.random((6000, 32), dtype=np.float32)
    labels = random.integers(0, 100, 6000)
    tracemalloc.start()
    evaluate_retrieval(queries, gallery, labels[:1500], labels, distance=distance)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6 < len(queries) * len(gallery) / 1.2  # even one byte a pair would be more
