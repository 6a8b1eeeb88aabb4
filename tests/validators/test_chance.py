"""The mean average precision of a random order, against all orders of small galleries."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from compress.contracts import GroundTruth, HeldOut, ImageSet
from validators.chance import chance_average_precision, counts


def over_all_orders(relevant: int, total: int) -> float:
    items = [1] * relevant + [0] * (total - relevant)
    scores = []
    for order in permutations(items):
        hits, precisions = 0, []
        for rank, hit in enumerate(order, start=1):
            hits += hit
            precisions += [hits / rank] if hit else []
        scores.append(sum(precisions) / relevant)
    return sum(scores) / len(scores)


@pytest.mark.parametrize(("relevant", "total"), [(1, 1), (1, 2), (2, 3), (1, 5), (3, 5), (5, 5), (2, 6), (4, 6)])
def test_it_is_the_mean_over_all_orders(relevant: int, total: int) -> None:
    (found,) = chance_average_precision(np.array([relevant]), np.array([total]))
    assert found == pytest.approx(over_all_orders(relevant, total), rel=1e-12)


def test_a_query_without_an_answer_has_no_chance() -> None:
    found = chance_average_precision(np.array([0, 2]), np.array([4, 4]))
    assert np.isnan(found[0])
    assert 0.5 < found[1] < 1


def split(labels: list[int]) -> ImageSet:
    return ImageSet(np.zeros((len(labels), 1, 1, 3), np.uint8), np.array(labels), tuple(map(str, range(len(labels)))))


def test_counts_leave_the_query_itself_out() -> None:
    images = split([0, 0, 0, 1, 2, 2])
    relevant, total = counts(HeldOut(images, images, images.images), np.arange(6))  # type: ignore[arg-type]
    assert relevant.tolist() == [2, 2, 2, 0, 1, 1]
    assert total.tolist() == [5] * 6


def test_counts_in_another_gallery_and_from_lists() -> None:
    queries, gallery = split([0, 3]), split([0, 0, 1])
    apart = HeldOut(queries, gallery, queries.images)  # type: ignore[arg-type]
    relevant, total = counts(apart, np.arange(2))
    assert (relevant.tolist(), total.tolist()) == ([2, 0], [3, 3])
    rows = np.array([], np.int64)
    truth = GroundTruth((np.array([1]), rows), (np.array([0, 2]), rows))
    listed = HeldOut(queries, gallery, queries.images, {"all": truth})  # type: ignore[arg-type]
    relevant, total = counts(listed, np.arange(2))
    assert (relevant.tolist(), total.tolist()) == ([1, 0], [1, 3])
