"""Distance thresholds: counted in plain loops, refused for too few pairs, moved by what moves the embeddings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from compress.contracts import Distance, EmbeddingSpec, GroundTruth, HeldOut, ImageSet, Observation
from compress.gallery.nearest import distances
from validators.checks.match_thresholds import MatchThresholds, interval, pairwise, threshold, wilson
from validators.gates import evaluate_gates, located
from validators.results import Thresholds

CLASSES, IMAGES, D = 8, 160, 12
RANDOM = np.random.default_rng(0)
LABELS = np.arange(IMAGES) % CLASSES
FEATURES = (RANDOM.standard_normal((CLASSES, D))[LABELS] + 0.5 * RANDOM.standard_normal((IMAGES, D))).astype(np.float32)
CODES = (1 / (1 + np.exp(-3 * FEATURES))).astype(np.float32)


def held(labels: np.ndarray = LABELS) -> HeldOut:
    images = ImageSet(np.zeros((len(labels), 2, 2, 3), np.uint8), labels, tuple(map(str, range(len(labels)))))
    return HeldOut(images, images, np.zeros((1, 2, 2, 3), np.uint8))


def seen(features: np.ndarray) -> Observation:
    return Observation(features, features, features[:1])


def run(given: np.ndarray, spec: EmbeddingSpec, right: np.ndarray = FEATURES, **options: object) -> Thresholds:
    return MatchThresholds(**options).run(seen(right), seen(given), held(), spec)  # type: ignore[arg-type]


@pytest.mark.parametrize("distance", ["l2", "cosine", "hamming"])
def test_distances_are_those_of_search(distance: Distance) -> None:
    rows = CODES if distance == "hamming" else FEATURES
    found = pairwise(rows[:9], rows, distance)
    by_hand = [distances(query, rows, distance) for query in rows[:9]]
    assert found == pytest.approx(np.stack(by_hand), abs=1e-6)


@pytest.mark.parametrize("distance", ["l2", "cosine", "hamming"])
def test_every_number_is_that_of_plain_loops(distance: Distance) -> None:
    binary = distance == "hamming"
    rows = CODES if binary else FEATURES
    found = run(rows, EmbeddingSpec(D, "binary" if binary else "float", distance), rows, rates=(0.05, 0.01))
    pairs = [(i, j) for i in range(IMAGES) for j in range(i + 1, IMAGES)]
    apart = {(i, j): distances(rows[i], rows[j : j + 1], distance)[0] for i, j in pairs}
    wrong = [pair for pair in pairs if LABELS[pair[0]] != LABELS[pair[1]]]
    assert found.at is not None
    assert (found.pairs, found.matching_pairs) == (len(wrong), len(pairs) - len(wrong))
    measured = 0
    for each in found.at:
        if each.distance is None:
            continue
        measured += 1
        accepted = {pair for pair in pairs if apart[pair] <= each.distance}
        assert each.false_accepts == len(accepted & set(wrong)) <= each.false_accept_rate * len(wrong)
        # The next larger distance would accept too many.
        beyond = min(apart[pair] for pair in wrong if pair not in accepted)
        assert sum(apart[pair] <= beyond + 1e-9 for pair in wrong) > each.false_accept_rate * len(wrong)
        assert each.true_accept_rate == pytest.approx(len(accepted - set(wrong)) / (len(pairs) - len(wrong)), abs=1e-12)
        alone = found_right = 0
        for i in range(IMAGES):
            others = [j for j in range(IMAGES) if j != i]
            near = {j: apart[min(i, j), max(i, j)] for j in others}
            alone += min(near[j] for j in others if LABELS[j] != LABELS[i]) <= each.distance
            best = min(others, key=lambda j: (near[j], j))
            found_right += LABELS[best] == LABELS[i] and near[best] <= each.distance
        assert each.false_match_rate == alone / IMAGES
        if not binary:  # codes tie
            assert each.found_rate == pytest.approx(found_right / IMAGES)
        assert each.rate_low is not None and each.rate_high is not None
        assert each.rate_low < each.false_accepts / len(wrong) < each.rate_high
    assert measured


def test_too_few_pairs_give_no_threshold() -> None:
    found = run(FEATURES, EmbeddingSpec(D))
    assert found.at is not None
    assert [(each.name, each.distance is None) for each in found.at] == [
        ("1%", False),
        ("0.1%", False),
        ("0.01%", True),
    ]
    few = run(FEATURES, EmbeddingSpec(D), images=20)  # 160 pairs of different things
    assert few.at is not None and {each.distance for each in few.at} == {None}
    (gate,) = evaluate_gates({"threshold_shift": 1.0}, located("thresholds", few))
    assert not gate.passed


@pytest.mark.parametrize(
    ("wrong", "rate", "whole", "expected"),
    [
        (np.arange(1000.0), 0.01, False, 9.5),
        (np.arange(1000.0), 0.01, True, 9),
        (np.arange(999.0), 0.01, False, None),  # 9 pairs are too few
        (np.repeat([1.0, 2.0], (5, 995)), 0.01, False, 1.5),  # those at distance 2 are too many
        (np.full(1000, 2.0), 0.01, False, None),  # all at once or none
        (np.full(1000, 2.0), 0.01, True, 1),
        (np.zeros(1000), 0.01, True, None),
    ],
)
def test_thresholds_worked_by_hand(wrong: np.ndarray, rate: float, whole: bool, expected: float | None) -> None:
    assert threshold(wrong, rate, whole_numbers=whole) == expected


def test_the_shift_follows_what_changed() -> None:
    spec = EmbeddingSpec(D)
    same, scaled = run(FEATURES, spec), run(1.1 * FEATURES, spec)
    assert same.shift == 0
    assert same.at is not None and scaled.at is not None
    one = same.at[0].distance
    assert one is not None and scaled.at[0].distance == pytest.approx(1.1 * one)
    median = np.median(pairwise(FEATURES, FEATURES, "l2")[LABELS[:, None] != LABELS])
    assert scaled.shift == pytest.approx(0.1 * one / median, rel=1e-4)
    broken = run(RANDOM.permutation(FEATURES), spec)
    for found, passed in ((same, True), (scaled, False), (broken, False)):
        (gate,) = evaluate_gates({"threshold_shift": 0.02}, located("thresholds", found))
        assert gate.passed is passed


def test_listed_junk_is_no_pair() -> None:
    queries, gallery = held(LABELS[:2]).queries, held(LABELS[2:42]).queries
    truth = GroundTruth((np.array([0, 1]), np.array([5])), (np.array([2, 3, 4]), np.array([], np.int64)))
    data = replace(HeldOut(queries, gallery, np.zeros((1, 2, 2, 3), np.uint8)), ground_truths={"all": truth})
    both = Observation(FEATURES[:2], FEATURES[2:42], FEATURES[:1])
    found = MatchThresholds().run(both, both, data, EmbeddingSpec(D))
    assert (found.pairs, found.matching_pairs) == (80 - 3 - 3, 3)


def test_wilson_by_hand() -> None:
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(10, 10)[1] == pytest.approx(1)


def test_an_image_that_resembles_all_widens_the_interval() -> None:
    """The same number of false accepts: of one image with all others, and scattered."""
    counted = np.triu(np.ones((100, 100), bool), 1)
    hub, scattered = np.zeros_like(counted), np.zeros_like(counted)
    hub[0, 1:51] = True
    rows, columns = np.nonzero(counted)
    chosen = np.random.default_rng(1).permutation(len(rows))[:50]
    scattered[rows[chosen], columns[chosen]] = True
    independent = wilson(50, 4950)
    wide, narrow = interval(hub, counted, True), interval(scattered, counted, True)
    assert wide[1] > 1.5 * independent[1] and wide[0] < 0.5 * independent[0]
    assert narrow[1] < 1.3 * independent[1]
    assert math.isclose(narrow[0], independent[0], rel_tol=0.4)
