"""What new queries find in old galleries, recomputed image by image."""

from __future__ import annotations

import numpy as np
import pytest

from compress.contracts import Distance, EmbeddingSpec, GroundTruth, HeldOut, ImageSet
from validators.compatibility import Compared, Sample
from validators.results import Flips
from validators.upgrade import OLD, SHARES, gain_interval, least_gain, partly_rebuilt, widened

IMAGES, OLD_DIM, DIM = 40, 5, 8


def images(count: int) -> ImageSet:
    labels = np.arange(count) % 4
    return ImageSet(np.zeros((count, 1, 1, 3), np.uint8), labels, tuple(map(str, range(count))))


def features(seed: int, dim: int, noise: float) -> np.ndarray:
    """Clusters of four classes in the first values, with noise of this size in all of them."""
    random = np.random.default_rng(seed)
    found = noise * random.standard_normal((IMAGES, dim))
    found[np.arange(IMAGES), np.arange(IMAGES) % 4] += 1
    return found.astype(np.float32)


def distances(query: np.ndarray, gallery: np.ndarray, distance: Distance) -> np.ndarray:
    one, many = query.astype(np.float64), gallery.astype(np.float64)
    if distance == "l2":
        return np.asarray(np.linalg.norm(many - one, axis=1))
    return np.asarray(1 - many @ one / np.linalg.norm(many, axis=1) / np.linalg.norm(one))


def average_precision(order: np.ndarray, relevant: set[int]) -> float:
    hits = np.array([row in relevant for row in order.tolist()])
    return float(np.mean([hits[: rank + 1].mean() for rank in np.flatnonzero(hits)]))


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_a_partly_rebuilt_gallery_is_searched_as_it_is(distance: Distance) -> None:
    """The queries see the old images by their first values alone, although all values are compared."""
    new, old = features(1, DIM, 0.4), features(2, OLD_DIM, 0.7)
    together = images(IMAGES)
    held_out = HeldOut(together, together, np.empty(0))
    wide = widened(old, DIM)
    done = partly_rebuilt((new, new), (wide, wide), held_out, distance)
    assert tuple(each.share for each in done) == SHARES
    labels = together.labels

    def measured(queries: np.ndarray, gallery: list[np.ndarray]) -> tuple[float, list[bool]]:
        precisions, found = [], []
        for query in range(IMAGES):
            others = [row for row in range(IMAGES) if row != query]
            # An old image has no more values than the old model: the query's further ones meet zeros.
            apart = [distances(queries[query], np.pad(gallery[row], (0, DIM - len(gallery[row])))[None], distance)[0]
                     for row in others]  # fmt: skip
            order = np.array(others)[np.argsort(apart, kind="stable")]
            right = {row for row in others if labels[row] == labels[query]}
            precisions.append(average_precision(order, right))
            found.append(int(order[0]) in right)
        return float(np.mean(precisions)), found

    _, before = measured(wide, list(old))
    again = {0.0: [], 0.1: [0, 13, 26, 39], 1.0: list(range(IMAGES))}
    for each in (done[0], done[1], done[-1]):
        score, now = measured(new, [new[row] if row in again[each.share] else old[row] for row in range(IMAGES)])
        assert each.mAP == pytest.approx(score, abs=1e-6)
        lost = sum(then and not found for then, found in zip(before, now, strict=True))
        gained = sum(found and not then for then, found in zip(before, now, strict=True))
        assert each.flips == Flips(lost=lost, gained=gained)
    assert done[0].flips.lost > 0 < done[0].flips.gained
    assert done[0].mAP != done[-1].mAP


def test_listed_answers_count_and_junk_does_not() -> None:
    queries, gallery = images(2), images(4)
    truth = GroundTruth((np.array([1]), np.array([3])), (np.array([0]), np.array([], np.int64)))
    held_out = HeldOut(queries, gallery, np.empty(0), {"": truth})
    places = np.arange(4, dtype=np.float32)[:, None]
    old = (np.array([[2.1], [3.0]], np.float32), places)  # finds 2 and 3
    new = (np.array([[0.1], [2.1]], np.float32), places)  # finds 0, which is junk, then 1; and 2
    done = partly_rebuilt(new, old, held_out, "l2")
    assert done[0].flips == Flips(lost=1, gained=1)
    assert done[0].mAP == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize("better", [True, False])
def test_the_interval_of_the_gain_is_that_of_the_queries(better: bool) -> None:
    """Beside a bootstrap that is written out; the control swaps the models, and the interval with them."""
    labels = np.append(np.arange(IMAGES - 1) % 4, 9)  # nothing answers the last one
    together = ImageSet(np.zeros((IMAGES, 1, 1, 3), np.uint8), labels, tuple(map(str, range(IMAGES))))
    held_out = HeldOut(together, together, np.empty(0))
    one, other = features(1, DIM, 0.2), widened(features(2, OLD_DIM, 0.5), DIM)
    new, old = (one, other) if better else (other, one)
    compared = Compared({"a.onnx": Sample(new, new), OLD: Sample(old, old)}, held_out, EmbeddingSpec(DIM))
    gains = []
    for query in range(IMAGES - 1):
        others = [row for row in range(IMAGES) if row != query]
        right = {row for row in others if labels[row] == labels[query]}
        scores = []
        for asking in (new, old):
            order = np.array(others)[np.argsort(distances(asking[query], old[others], "l2"), kind="stable")]
            scores.append(average_precision(order, right))
        gains.append(scores[0] - scores[1])
    random = np.random.default_rng(5)
    means = [np.mean([gains[random.integers(len(gains))] for _ in gains]) for _ in range(2000)]
    low, high = gain_interval(compared, "a.onnx")
    assert (low, high) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))), abs=0.01)
    assert low < np.mean(gains) < high
    assert gain_interval(compared, OLD) == (0, 0)


def test_the_worst_file_decides_and_an_unknown_mAP_is_the_worst() -> None:
    assert least_gain({"pytorch": 0.5, "a.onnx": 0.375, OLD: 0.25}) == (0.125, "a.onnx")
    assert least_gain({"pytorch": 0.5, "a.onnx": None, OLD: 0.25}) == (None, "a.onnx")
    assert least_gain({"pytorch": 0.5, OLD: None}) == (None, "pytorch")
