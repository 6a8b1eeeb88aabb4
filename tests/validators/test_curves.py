"""Precision over recall against a plain loop over every order of every tie, and by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from compress.contracts import EmbeddingSpec, HeldOut, ImageSet, Observation
from validators.curves import RECALL, curves, spread
from validators.metrics import retrieve

LINE = EmbeddingSpec(dim=1)
CODES = EmbeddingSpec(dim=3, kind="binary", distance="hamming")


def image_set(labels: list[int]) -> ImageSet:
    return ImageSet(np.zeros((len(labels), 1, 1, 3), np.uint8), np.array(labels), tuple(map(str, range(len(labels)))))


def held_out(queries: list[int], gallery: list[int] | None = None) -> HeldOut:
    asked = image_set(queries)
    return HeldOut(asked, asked if gallery is None else image_set(gallery), np.zeros((0, 1, 1, 3), np.uint8))


def observed(queries: np.ndarray, gallery: np.ndarray | None = None) -> Observation:
    return Observation(queries, queries if gallery is None else gallery, queries)


def slow(distances: list[float], relevant: list[bool]) -> list[float]:
    """For one query: the harmonic mean rank's precision, by trying every order inside ties, at each recall level."""
    total = sum(relevant)
    result = []
    for level in RECALL:
        wanted = max(1, math.ceil(round(level * total, 9)))
        orders = {
            tuple(relevant[n] for n in order)
            for order in itertools.permutations(range(len(distances)))
            if all(distances[a] <= distances[b] for a, b in itertools.pairwise(order))
        }
        assert len(orders) == 1, "the slow version is for rankings without ties"
        (order,) = orders
        rank = next(n for n in range(1, len(order) + 1) if sum(order[:n]) == wanted)
        result.append(wanted / rank)
    return result


def test_by_hand() -> None:
    # Ranked: right, wrong, right, wrong, wrong, right. Precision 1, 2/3, 3/6 at recall 1/3, 2/3, 1.
    gallery = np.array([[1], [2], [3], [4], [5], [6]], np.float32)
    found = curves(
        observed(np.zeros((1, 1), np.float32), gallery), np.array([0]), held_out([7], [7, 0, 7, 0, 0, 7]), LINE
    )
    by_level = dict(zip(RECALL, found.precision.round(6).tolist(), strict=True))
    assert by_level[0.0] == by_level[0.05] == by_level[0.3] == 1
    assert by_level[0.35] == by_level[0.65] == round(2 / 3, 6)
    assert by_level[0.7] == by_level[1.0] == 0.5
    assert found.average_precision.round(6).tolist() == [round((1 + 2 / 3 + 1 / 2) / 3, 6)]


def test_in_a_tie_the_hits_are_spread_evenly() -> None:
    # Four at one distance of which two are right: the first after 2, the second after 4, on average.
    gallery = np.ones((4, 1), np.float32)
    found = curves(observed(np.zeros((1, 1), np.float32), gallery), np.array([0]), held_out([7], [7, 0, 7, 0]), LINE)
    assert set(found.precision.tolist()) == {0.5}


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_the_same_as_a_slow_loop_over_the_ranking(leave_one_out: bool) -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 2, 7).tolist()
    features = random.random((7, 1)).astype(np.float32)
    other = None if leave_one_out else random.random((6, 1)).astype(np.float32)
    galley_labels = None if leave_one_out else random.integers(0, 2, 6).tolist()
    rows = np.array([1, 2, 5])
    found = curves(observed(features, other), rows, held_out(labels, galley_labels), LINE)
    expected = []
    for query in rows:
        items = [n for n in range(7 if leave_one_out else 6) if not (leave_one_out and n == query)]
        given = features if other is None else other
        distances = [abs(float(given[n, 0]) - float(features[query, 0])) for n in items]
        expected.append(slow(distances, [(galley_labels or labels)[n] == labels[query] for n in items]))
    np.testing.assert_allclose(found.precision, np.mean(expected, axis=0))


@pytest.mark.parametrize("spec", [LINE, CODES])
@pytest.mark.parametrize("leave_one_out", [True, False])
def test_average_precision_is_that_of_the_metrics(spec: EmbeddingSpec, leave_one_out: bool) -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, 3, 50)
    labels[7] = 9  # nothing is relevant to it
    features, other = (random.random((50, spec.dim)).astype(np.float32) for _ in range(2))
    data = held_out(labels.tolist(), None if leave_one_out else labels[::-1].tolist())
    if not leave_one_out:
        data.gallery.labels[data.gallery.labels == 9] = 0
    given = observed(features, None if leave_one_out else other)
    rows = np.array([0, 3, 7, 20, 49])
    found = curves(given, rows, data, spec)
    expected = retrieve(
        given.queries,
        given.gallery,
        data.queries.labels,
        data.gallery.labels,
        distance=spec.distance,
        exclude_self=leave_one_out,
    ).per_query_ap[rows]
    np.testing.assert_allclose(found.average_precision, expected)
    assert np.isnan(found.average_precision[2])
    assert np.isfinite(found.precision).all()


def test_without_any_relevant_image_there_is_no_curve() -> None:
    found = curves(observed(np.eye(3, dtype=np.float32)), np.arange(3), held_out([0, 1, 2]), EmbeddingSpec(dim=3))
    assert np.isnan(found.precision).all()


def test_spread_takes_the_same_of_each_class() -> None:
    labels = np.array([0] * 10 + [1] * 2 + [2] * 5)
    assert spread(labels, 3).tolist() == [0, 4, 9, 10, 11, 12, 14, 16]
    assert spread(labels, 1, np.array([3, 4, 15])).tolist() == [3, 15]
