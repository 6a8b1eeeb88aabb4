"""Relevance by lists: junk, settings and boxes' protocols, against plain loops, by hand and against the label path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from compress.contracts import EmbeddingSpec, GroundTruth, HeldOut, ImageSet, Observation
from validators import _counting
from validators.checks.rank_agreement import RankAgreement
from validators.checks.retrieval_map import RetrievalMap
from validators.compatibility import Sample, compatibility
from validators.curves import curves
from validators.metrics import average_precision, retrieve, retrieve_listed

LINE = EmbeddingSpec(dim=1)


def truth(
    relevant: Sequence[Sequence[int]], junk: Sequence[Sequence[int]] | None = None, **options: Any
) -> GroundTruth:
    lists = [relevant, junk if junk is not None else [[]] * len(relevant)]
    return GroundTruth(*(tuple(np.array(rows, dtype=np.int64) for rows in part) for part in lists), **options)


def published_ap(ranks: Sequence[int], relevant: set[int], junk: set[int]) -> float:
    """Average precision as the ROxford code has it: positives move up by the junk before them, then trapezoids."""
    positions, skipped = [], 0
    for place, item in enumerate(ranks):
        skipped += item in junk
        if item in relevant:
            positions.append(place - skipped)
    total = 0.0
    for found, place in enumerate(positions):
        earlier = 1.0 if place == 0 else found / place
        total += (earlier + (found + 1) / (place + 1)) / 2 / len(positions)
    return total


def test_by_hand() -> None:
    """Seven items in the order junk, hit, miss, hit, junk, miss, hit: without junk 1 0 1 0 1."""
    gallery = np.arange(1.0, 8.0)[:, None]
    listed = [[1, 3, 6]], [[0, 4]]
    metrics = ("mAP", "P@1", "P@3", "R@2", "P@10", "mAP@2")
    step = retrieve_listed([[0.0]], gallery, truth(*listed), metrics=metrics)
    # (1 + 2/3 + 3/5) / 3; two of the first three; one of three within two; three of ten; 1 / min(2, 3).
    assert step.scores == pytest.approx(
        {"mAP": 34 / 45, "P@1": 1, "P@3": 2 / 3, "R@2": 1 / 3, "P@10": 0.3, "mAP@2": 0.5}, abs=1e-12
    )
    # (1 + (1/2 + 2/3) / 2 + (2/4 + 3/5) / 2) / 3
    trapezoid = retrieve_listed([[0.0]], gallery, truth(*listed, form="trapezoid"))
    assert trapezoid.scores["mAP"] == trapezoid.per_query_ap[0] == pytest.approx(32 / 45, abs=1e-12)
    assert "Oxford" in trapezoid.rules["average precision"]
    assert "average precision" not in step.rules
    # Controls: junk that is counted, or relevant, gives another number.
    assert retrieve_listed([[0.0]], gallery, truth([[1, 3, 6]])).scores["mAP"] < 0.5
    assert retrieve_listed([[0.0]], gallery, truth([[0, 1, 3, 4, 6]])).scores["mAP"] > 0.8


def test_edges() -> None:
    one = retrieve_listed([[0.0]], [[1.0]], truth([[0]]), metrics=("mAP", "P@1", "P@5"))
    assert one.scores == {"mAP": 1, "P@1": 1, "P@5": 0.2}
    # Without a positive: junk alone, or nothing at all. Both queries are counted and left out of the mean.
    result = retrieve_listed([[0.0]] * 3, [[1.0], [2.0]], truth([[], [1], []], [[0, 1], [], []]))
    assert (result.queries, result.empty_queries, result.scores["mAP"]) == (3, 2, 0.5)
    assert np.isnan(result.per_query_ap).tolist() == [True, False, True]
    empty = retrieve_listed([[0.0]], [[1.0]], truth([[]]))
    assert math.isnan(empty.scores["mAP"])
    # All but the positive is junk: it is first wherever it lies, in every form and at every k.
    alone = truth([[2]], [[0, 1, 3]], form="trapezoid")
    assert retrieve_listed([[0.0]], np.arange(4.0)[:, None], alone, metrics=("mAP", "P@1")).scores == {
        "mAP": 1,
        "P@1": 1,
    }
    # The query itself in the gallery: first as a positive, gone as junk.
    points = np.array([[0.0], [1.0], [2.0]])
    assert retrieve_listed(points[:1], points, truth([[0, 2]])).scores["mAP"] == pytest.approx(5 / 6)
    assert retrieve_listed(points[:1], points, truth([[2]], [[0]])).scores["mAP"] == 0.5


@pytest.mark.parametrize("wrong", [truth([[0]]), truth([[0], [5]]), truth([[0], [1]], [[], [1]]), truth([[0], [-1]])])
def test_a_ground_truth_of_other_images_is_refused(wrong: GroundTruth) -> None:
    with pytest.raises(ValueError, match="the ground truth"):
        retrieve_listed(np.zeros((2, 3)), np.ones((5, 3)), wrong)


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("distance", ["l2", "cosine", "hamming"])
def test_every_query_equals_a_plain_loop(distance: Any, crowded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if crowded:  # every query has its exact distances sorted
        monkeypatch.setattr(_counting, "_CROWDED", -1.0)
    random = np.random.default_rng(4)
    gallery = random.random((400, 24)).astype(np.float32)
    queries = random.random((30, 24)).astype(np.float32)
    parts = [np.split(random.permutation(400), [count, 60]) for count in random.integers(0, 30, 30)]
    listed = truth([np.sort(p[0]) for p in parts], [np.sort(p[1]) for p in parts], form="trapezoid")
    result = retrieve_listed(queries, gallery, listed, distance=distance)
    for query, (relevant, junk) in enumerate(zip(listed.relevant, listed.junk, strict=True)):
        if distance == "hamming":
            values = ((queries[query] > 0.5) != (gallery > 0.5)).sum(axis=1)
        elif distance == "cosine":
            values = 1 - gallery.astype(float) @ queries[query] / np.linalg.norm(gallery.astype(float), axis=1)
        else:
            values = ((gallery.astype(float) - queries[query]) ** 2).sum(axis=1)
        flags = [np.isin(np.arange(400), rows) for rows in (relevant, junk)]
        expected = average_precision(-values, flags[0], junk=flags[1], form="trapezoid")
        np.testing.assert_allclose(result.per_query_ap[query], expected, atol=1e-9)
        if distance == "l2" and len(relevant):
            assert result.per_query_ap[query] == pytest.approx(
                published_ap(np.argsort(values).tolist(), set(relevant.tolist()), set(junk.tolist())), abs=1e-9
            )


def test_lists_of_the_same_label_give_the_label_path_number_for_number() -> None:
    random = np.random.default_rng(5)
    features, labels = random.standard_normal((200, 16)).astype(np.float32), random.integers(0, 6, 200)
    names = ("mAP", "mAP@10/hits", "P@5", "R@20", "hit@3", "mPC@7", "mAP/worst")
    for distance in ("l2", "cosine"):
        by_label = retrieve(features, features, labels, labels, distance=distance, metrics=names, exclude_self=True)
        relevant = [np.flatnonzero((labels == label) & (np.arange(200) != row)) for row, label in enumerate(labels)]
        listed = truth(relevant, [[row] for row in range(200)])
        by_list = retrieve_listed(features, features, listed, distance=distance, metrics=names)
        assert by_list.scores == pytest.approx(by_label.scores, abs=1e-12)
        np.testing.assert_allclose(by_list.per_query_ap, by_label.per_query_ap, atol=1e-12)


def held_out(truths: dict[str, GroundTruth], queries: int, gallery: int) -> HeldOut:
    # One label for all: whatever still went by labels would find everything.
    asked, found = (
        ImageSet(np.zeros((count, 1, 1, 3), np.uint8), np.zeros(count, np.int64), tuple(map(str, range(count))))
        for count in (queries, gallery)
    )
    return HeldOut(asked, found, np.zeros((0, 1, 1, 3), np.uint8), truths)


def test_the_checks_the_matrix_and_the_curves_go_by_the_lists() -> None:
    random = np.random.default_rng(6)
    features = random.standard_normal((9, 8)).astype(np.float32), random.standard_normal((50, 8)).astype(np.float32)
    one = truth([[q, q + 9, 30] for q in range(9)], [[q + 18] for q in range(9)], form="trapezoid")
    other = truth([[q + 18] for q in range(9)], [[q] for q in range(9)], form="trapezoid")
    data = held_out({"medium": one, "hard": other}, 9, 50)
    spec = EmbeddingSpec(dim=8)
    given = Observation(features[0], features[1], features[0])
    expected = {name: retrieve_listed(*features, each) for name, each in data.ground_truths.items()}
    found = RetrievalMap(metrics=("P@1",)).run(given, given, data, spec).to_json()
    assert found["mAP"] == found["mAP/medium"] == expected["medium"].scores["mAP"]
    assert found["mAP/hard"] == expected["hard"].scores["mAP"] != found["mAP"]
    assert (found["queries"], found["empty_queries"], found["empty_queries/hard"]) == (9, 0, 0)
    assert {"P@1", "P@1/medium", "P@1/hard", "mAP_drop"} <= set(found)
    assert found["mAP_drop"] == 0
    rules = RetrievalMap().measure(given, data, spec).rules
    assert "medium, hard; a name without one means medium" in rules["settings"]
    alone = RetrievalMap().measure(given, held_out({"pairs": one}, 9, 50), spec)
    assert alone.mAP == found["mAP"]
    assert not [name for name, _ in alone.metrics() if name.startswith("mAP/")]
    matrix = compatibility({"a": Sample(*features), "b": Sample(-features[0], features[1])}, data, spec)
    assert matrix["a"]["a"] == pytest.approx(found["mAP"], abs=1e-12)
    assert matrix["a"]["b"] == pytest.approx(retrieve_listed(-features[0], features[1], one).scores["mAP"], abs=1e-12)
    found_curves = curves(given, np.array([4, 7]), data, spec)
    np.testing.assert_allclose(found_curves.average_precision, expected["medium"].per_query_ap[[4, 7]], atol=1e-12)
    worse = Observation(-features[0], features[1], features[0])
    agreement = RankAgreement(queries=5).run(given, worse, data, spec)
    chosen = [0, 2, 4, 6, 8]
    drops = expected["medium"].per_query_ap - retrieve_listed(-features[0], features[1], one).per_query_ap
    assert agreement.largest_ap_drop == pytest.approx(drops[chosen].max(), abs=1e-12)


def test_some_queries_in_a_part_of_the_gallery() -> None:
    whole = truth([[0, 3, 7], [2], [7]], [[1], [3, 5], []])
    part = whole.among(np.array([2, 0]), np.array([1, 3, 7]))
    assert [rows.tolist() for rows in part.relevant] == [[2], [1, 2]]
    assert [rows.tolist() for rows in part.junk] == [[], [0]]
    assert whole.among(np.array([1]), np.array([], dtype=np.int64)).relevant[0].tolist() == []
