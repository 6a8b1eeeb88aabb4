"""Ranking metrics against hand-worked fractions, brute force over permutations, and plain loops."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.contracts import BadInput
from validators import _distances
from validators.metrics import (
    average_precision,
    binarize,
    check_metric,
    evaluate_retrieval,
    list_metrics,
    nearest_neighbours,
    retrieve,
)

LIST = [1, 0, 1, 0, 0, 1, 0, 0, 1, 1]
IN_ORDER = [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]


# --------------------------------------------------------------------------------- the slow, obvious version


def orders(scores: Sequence[float]) -> Iterator[list[int]]:
    """Every ranking that sorts the scores from high to low: each tie in each of its orders."""
    ties = [[i for i, s in enumerate(scores) if s == value] for value in sorted(set(scores), reverse=True)]
    for parts in itertools.product(*(itertools.permutations(tie) for tie in ties)):
        yield [i for part in parts for i in part]


def slow_ap(ranking: Sequence[bool], k: int, denominator: str, form: str) -> Fraction:
    total, hits = Fraction(0), 0
    for rank, hit in enumerate(ranking[:k], start=1):
        if hit:
            earlier = Fraction(hits, rank - 1) if rank > 1 else Fraction(1)
            hits += 1
            now = Fraction(hits, rank)
            total += (earlier + now) / 2 if form == "trapezoid" else now
    relevant = sum(ranking)
    count = {"relevant": relevant, "hits": hits, "min": min(k, relevant)}[denominator]
    return total / count if count else Fraction(0)


# ------------------------------------------------------------------------------------------ average_precision


def test_hand_worked_step_and_trapezoid() -> None:
    assert average_precision(IN_ORDER, LIST) == pytest.approx(28 / 45, abs=1e-12)
    # (1 + 1)/2 + (1/2 + 2/3)/2 + (2/5 + 1/2)/2 + (3/8 + 4/9)/2 + (4/9 + 1/2)/2 over 5
    assert average_precision(IN_ORDER, LIST, form="trapezoid") == pytest.approx(2099 / 3600, abs=1e-12)


@pytest.mark.parametrize(("denominator", "expected"), [("hits", 5 / 6), ("min", 1 / 3), ("relevant", 1 / 3)])
def test_hand_worked_denominators_at_five(denominator: str, expected: float) -> None:
    assert average_precision(IN_ORDER, LIST, k=5, denominator=denominator) == pytest.approx(expected, abs=1e-12)  # type: ignore[arg-type]


def test_min_and_relevant_differ_when_the_cut_is_short_of_the_relevant_items() -> None:
    assert average_precision(IN_ORDER, LIST, k=3, denominator="min") == pytest.approx(5 / 9, abs=1e-12)
    assert average_precision(IN_ORDER, LIST, k=3, denominator="relevant") == pytest.approx(1 / 3, abs=1e-12)


def test_hits_denominator_flatters_a_ranking_that_misses_most() -> None:
    scores, relevant = [5, 4, 3, 2, 1], [1, 0, 0, 1, 1]
    assert average_precision(scores, relevant, k=3, denominator="hits") == 1
    assert average_precision(scores, relevant, k=3) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("ties", "expected"), [("best", 1.0), ("worst", 23 / 60), ("expected", 0.645)])
def test_six_tied_items_of_which_three_are_relevant(ties: str, expected: float) -> None:
    value = average_precision([7] * 6, [1, 0, 1, 0, 1, 0], ties=ties)  # type: ignore[arg-type]
    assert value == pytest.approx(expected, abs=1e-12)


def test_input_order_never_decides_a_tie() -> None:
    values = {average_precision([7] * 4, flags) for flags in itertools.permutations([1, 1, 0, 0])}
    assert len(values) == 1


def test_junk_leaves_the_ranking_first_even_when_relevant() -> None:
    scores, relevant, junk = [6, 5, 4, 3, 2, 1], [1, 0, 1, 0, 1, 1], [1, 1, 0, 0, 0, 1]
    assert average_precision(scores, relevant, junk=junk) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, relevant) != average_precision(scores, relevant, junk=junk)


def test_edges_are_defined() -> None:
    assert math.isnan(average_precision([3, 2, 1], [0, 0, 0]))
    assert math.isnan(average_precision([], []))
    assert math.isnan(average_precision([1], [1], junk=[1]))
    assert average_precision([1], [1]) == 1
    assert average_precision([2, 1], [0, 1], k=1, denominator="hits") == 0
    assert average_precision(IN_ORDER, LIST, k=99) == pytest.approx(28 / 45)
    assert average_precision([-math.inf, math.inf], [0, 1]) == 1
    assert average_precision(np.array([-3.0, -1.0, -2.0]), np.array([False, True, False])) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (([1.0, math.nan], [1, 0]), {}, "scores: 1 of 2 are NaN"),
        (([1, 2], [1, 0, 0]), {}, r"relevant has shape \[3\]"),
        (([1, 2], [1, 0]), {"junk": [0]}, r"junk has shape \[1\]"),
        (([1, 2], [2, 0]), {}, "relevant must hold only 0 and 1"),
        (([1, 2], [math.nan, 0]), {}, "relevant must hold only 0 and 1"),
        (([[1, 2]], [[1, 0]]), {}, "one row of real numbers"),
        (([1, 2], [1, 0]), {"k": 0}, "k is 0"),
        (([1, 2], [1, 0]), {"k": -3}, "k is -3"),
        (([1, 2], [1, 0]), {"k": 1.5}, "k is 1.5"),
    ],
)
def test_bad_values_are_named(arguments: tuple, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        average_precision(*arguments, **options)


@pytest.mark.parametrize(
    ("options", "nearest"),
    [({"denominator": "hit"}, "hits"), ({"form": "trapezoidal"}, "trapezoid"), ({"ties": "expect"}, "expected")],
)
def test_bad_choices_name_the_nearest(options: dict, nearest: str) -> None:
    with pytest.raises(BadInput, match=f"did you mean '{nearest}'"):
        average_precision([1, 2], [1, 0], **options)


@settings(max_examples=150, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6),
    k=st.none() | st.integers(1, 8),
    denominator=st.sampled_from(["relevant", "hits", "min"]),
    form=st.sampled_from(["step", "trapezoid"]),
)
def test_ties_equal_brute_force_over_their_orders(
    items: list[tuple[int, bool]], k: int | None, denominator: str, form: str
) -> None:
    scores, relevant = [score for score, _ in items], [flag for _, flag in items]
    outcomes = [slow_ap([relevant[i] for i in order], k or len(items), denominator, form) for order in orders(scores)]
    expected = sum(outcomes) / len(outcomes) if any(relevant) else math.nan
    value = average_precision(scores, relevant, k=k, denominator=denominator, form=form)  # type: ignore[arg-type]
    assert value == pytest.approx(float(expected), abs=1e-12, nan_ok=True)
    if denominator == "relevant" and any(relevant):
        # Best and worst order by hits first and hits last; with a fixed denominator these are the extremes.
        for ties, extreme in (("best", max(outcomes)), ("worst", min(outcomes))):
            end = average_precision(scores, relevant, k=k, form=form, ties=ties)  # type: ignore[arg-type]
            assert end == pytest.approx(float(extreme), abs=1e-12)


def test_large_ties_keep_their_precision() -> None:
    # 10,000 tied items, 5,000 relevant: the closed form summed position by position with exact fractions.
    n, r = 10_000, 5_000
    expected = math.fsum((1 + (j - 1) * (r - 1) / (n - 1)) / j for j in range(1, n + 1)) / n
    value = average_precision([0] * n, [1] * r + [0] * (n - r))
    assert value == pytest.approx(expected, rel=1e-12)


# --------------------------------------------------------------------------------------------------- retrieve


def slow_distance(a: np.ndarray, b: np.ndarray, distance: str) -> float:
    if distance == "hamming":
        return sum(bool(x > 0.5) != bool(y > 0.5) for x, y in zip(a, b, strict=True))
    if distance == "cosine":
        return round(1 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)), 9)
    return float(((a - b) ** 2).sum())


def slow_mean_precision(ranking: Sequence[bool], k: int) -> Fraction:
    return sum((Fraction(sum(ranking[:depth]), depth) for depth in range(1, k + 1)), Fraction(0)) / k


def slow_scores(relevant: Sequence[bool], distances: Sequence[float], k: int) -> dict[str, float]:
    """Mean over every order of the ties, ranking by ranking."""
    names = (
        *("mAP", f"mAP@{k}", f"mAP@{k}/hits", f"mAP@{k}/relevant"),
        *("mPC", f"mPC@{k}", f"P@{k}", f"R@{k}", f"hit@{k}"),
    )
    rows = []
    for order in orders([-d for d in distances]):
        ranking = [relevant[i] for i in order]
        hits = sum(ranking[:k])
        rows.append(
            (
                slow_ap(ranking, len(ranking), "relevant", "step"),
                slow_ap(ranking, k, "min", "step"),
                slow_ap(ranking, k, "hits", "step"),
                slow_ap(ranking, k, "relevant", "step"),
                slow_mean_precision(ranking, sum(ranking)),
                slow_mean_precision(ranking, k),
                Fraction(hits, k),
                Fraction(hits, sum(ranking)),
                Fraction(hits > 0),
            )
        )
    return {name: float(sum(column) / len(rows)) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    distance=st.sampled_from(["l2", "cosine", "hamming"]),
    k=st.integers(1, 7),
    leave_one_out=st.booleans(),
)
def test_every_metric_equals_plain_loops(seed: int, distance: str, k: int, leave_one_out: bool) -> None:
    random = np.random.default_rng(seed)
    high = 2 if distance == "hamming" else 3
    gallery = random.integers(0, high, (6, 3)).astype(np.float32)
    if distance == "cosine":
        gallery[:, 0] += 1  # no zero vectors
    queries = gallery if leave_one_out else random.permutation(gallery)[:4]
    gallery_labels = random.integers(0, 3, 6)
    query_labels = gallery_labels if leave_one_out else random.integers(0, 4, 4)

    expected: dict[str, list[float]] = {}
    empty = 0
    for i, query in enumerate(queries):
        others = [g for g in range(6) if not (leave_one_out and g == i)]
        relevant = [bool(gallery_labels[g] == query_labels[i]) for g in others]
        if not any(relevant):
            empty += 1
            continue
        for name, value in slow_scores(
            relevant, [slow_distance(query, gallery[g], distance) for g in others], k
        ).items():
            expected.setdefault(name, []).append(value)
    names = (
        *("mAP", f"mAP@{k}", f"mAP@{k}/hits", f"mAP@{k}/relevant"),
        *("mPC", f"mPC@{k}", f"P@{k}", f"R@{k}", f"hit@{k}"),
    )
    result = retrieve(
        queries,
        gallery,
        query_labels,
        gallery_labels,
        distance=distance,  # type: ignore[arg-type]
        metrics=names,
        exclude_self=leave_one_out,
    )
    assert result.empty_queries == empty
    assert result.queries == len(queries)
    for name in names:
        assert result.scores[name] == pytest.approx(np.mean(expected.get(name, [math.nan])), abs=1e-9, nan_ok=True)


def test_equation_8_worked_by_hand() -> None:
    """Relevant at ranks 1 and 4 of 4: R = 2, (1 + 1/2) / 2; k = 4: (1 + 1/2 + 1/3 + 2/4) / 4."""
    scores = evaluate_retrieval([[0.0]], [[1], [2], [3], [4]], [1], [1, 0, 0, 1], metrics=("mPC", "mPC@2", "mPC@4"))
    assert scores["mPC"] == pytest.approx(3 / 4)
    assert scores["mPC@2"] == pytest.approx(3 / 4)
    assert scores["mPC@4"] == pytest.approx(7 / 12)


def test_per_query_ap_equals_average_precision_of_each_query() -> None:
    random = np.random.default_rng(1)
    queries, gallery = random.random((7, 12)), random.random((200, 12))
    query_labels, gallery_labels = random.integers(0, 3, 7), random.integers(0, 3, 200)
    query_labels[2] = 3  # in no gallery item
    result = retrieve(queries, gallery, query_labels, gallery_labels, distance="hamming")
    for i in range(7):
        distances = ((queries[i] > 0.5) != (gallery > 0.5)).sum(axis=1)
        expected = average_precision(-distances, gallery_labels == query_labels[i])
        assert result.per_query_ap[i] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert result.empty_queries == 1
    assert result.scores["mAP"] == pytest.approx(np.nanmean(result.per_query_ap))


def test_the_query_in_its_own_gallery_changes_everything() -> None:
    points, labels = np.array([[0.0], [1.0], [1.5], [9.0]]), np.array([0, 1, 1, 0])
    scores = {
        flag: evaluate_retrieval(points, points, labels, labels, metrics=("P@1",), exclude_self=flag)["P@1"]
        for flag in (False, True)
    }
    assert scores == {False: 1.0, True: 0.5}


def test_copies_tie_exactly_wherever_they_lie_and_whatever_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    gallery = (random.standard_normal((1000, 257)) + 40).astype(np.float32)
    gallery[900:] = gallery[:100]
    labels = random.integers(0, 5, 1000)
    queries, query_labels = gallery[850:950], labels[850:950]
    exact = ((queries[:, None].astype(np.float64) - gallery) ** 2).sum(axis=2).astype(np.float32)
    expected = [average_precision(-row, labels == label) for row, label in zip(exact, query_labels, strict=True)]
    for rows in (32, 64, 1024):
        monkeypatch.setattr(_distances, "_BLOCK_ITEMS", rows * 1000)
        result = retrieve(queries, gallery, query_labels, labels)
        np.testing.assert_allclose(result.per_query_ap, expected, rtol=0, atol=1e-9)
    # The control: where copies do not tie, the values differ by far more than the tolerance above.
    nudged = gallery + np.linspace(0, 1e-3, 1000, dtype=np.float32)[:, None]
    assert np.abs(retrieve(queries, nudged, query_labels, labels).per_query_ap - expected).max() > 1e-6


@pytest.mark.parametrize("offset", [1e3, -1e3])
def test_a_common_offset_does_not_blur_l2(offset: float) -> None:
    random = np.random.default_rng(3)
    grid = random.integers(0, 512, (300, 16)) / 512  # exact in float32 next to 1e3 (2**-13)
    labels = random.integers(0, 4, 300)
    plain = retrieve(grid[:50], grid, labels[:50], labels)
    moved = (grid + offset).astype(np.float32)
    np.testing.assert_array_equal(plain.per_query_ap, retrieve(moved[:50], moved, labels[:50], labels).per_query_ap)


def test_scale_does_not_matter_up_to_the_ends_of_float32() -> None:
    random = np.random.default_rng(4)
    features, labels = random.standard_normal((100, 8)).astype(np.float32), random.integers(0, 4, 100)
    for distance in ("l2", "cosine"):
        values = [
            evaluate_retrieval(features * scale, features * scale, labels, labels, distance=distance, exclude_self=True)
            for scale in (np.float32(1), np.float32(2.0**120), np.float32(2.0**-100))
        ]
        assert values[0] == values[1] == values[2]


def test_cosine_ties_whatever_the_length() -> None:
    random = np.random.default_rng(7)
    directions, labels = random.standard_normal((3, 200)), random.integers(0, 2, 120)
    which = random.integers(0, 3, 120)
    gallery = directions[which] * random.uniform(0.1, 10, (120, 1))
    result = retrieve(directions, gallery, [0, 1, 0], labels, distance="cosine")
    for i, label in enumerate([0, 1, 0]):
        cosines = directions @ directions[i] / np.linalg.norm(directions, axis=1)
        assert result.per_query_ap[i] == pytest.approx(average_precision(cosines[which], labels == label), abs=1e-12)


def test_labels_may_be_names() -> None:
    points = np.array([[0.0], [1.0], [5.0]])
    assert evaluate_retrieval(points[:1], points[1:], ["cat"], ["cat", "dog"])["mAP"] == 1
    assert evaluate_retrieval(points[:1], points[1:], ["dog"], ["cat", "dog"])["mAP"] == 0.5


def test_range_under_ties_brackets_the_expected_value() -> None:
    random = np.random.default_rng(5)
    codes, labels = random.random((60, 4)), random.integers(0, 3, 60)
    scores = evaluate_retrieval(
        codes, codes, labels, labels, distance="hamming", metrics=("mAP", "mAP/best", "mAP/worst"), exclude_self=True
    )
    assert scores["mAP/worst"] + 0.05 < scores["mAP"] < scores["mAP/best"] - 0.05


def test_a_constant_embedding_scores_chance() -> None:
    labels = np.repeat([0, 1], 50)
    scores = evaluate_retrieval(
        np.ones((100, 4)), np.ones((100, 4)), labels, labels, metrics=("mAP", "P@1", "mAP/best"), exclude_self=True
    )
    assert scores["P@1"] == pytest.approx(49 / 99)
    assert scores["mAP"] < 0.53
    assert scores["mAP/best"] == 1


def test_empty_queries_are_counted_and_an_all_empty_run_has_no_score() -> None:
    points = np.arange(3.0)[:, None]
    result = retrieve(points, points, [0, 1, 2], [0, 1, 2], exclude_self=True)
    assert result.empty_queries == result.queries == 3
    assert all(math.isnan(value) for value in result.scores.values())
    alone = retrieve(points[:1], points[:1], [0], [0], exclude_self=True)
    assert alone.empty_queries == 1


def test_every_score_comes_with_its_rule() -> None:
    points = np.arange(4.0)[:, None]
    names = ("mAP", "mAP@3/hits", "R@2")
    rules = retrieve(points, points, [0, 0, 1, 1], [0, 0, 1, 1], metrics=names, exclude_self=True).rules
    assert {*names, "relevant", "ties", "empty queries", "self-match"} == set(rules)
    assert "divided by the hits" in rules["mAP@3/hits"]
    assert "leave-one-out" in rules["self-match"]
    assert "leave-one-out" not in retrieve(points, points, [0, 0, 1, 1], [0, 0, 1, 1]).rules["self-match"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"queries": np.full((2, 3), np.nan)}, "queries: 2 of 2 features hold NaN or infinity"),
        ({"gallery": np.full((4, 3), np.inf)}, "gallery: 4 of 4 features"),
        ({"queries": np.zeros((2, 4))}, r"queries \[2, 4\] and gallery \[4, 3\]"),
        ({"queries": np.zeros((2, 3, 1))}, r"queries \[2, 3, 1\]"),
        ({"queries": np.zeros((0, 3)), "query_labels": []}, "0 queries"),
        ({"query_labels": [0]}, r"labels have shapes \[1\]"),
        ({"query_labels": [0, math.nan]}, "labels hold NaN"),
        ({"exclude_self": True}, "query i must be gallery item i"),
        ({"distance": "hamming", "gallery": np.full((4, 3), 200, np.uint8)}, "activations reach from 200 to 200"),
    ],
)
def test_bad_features_are_named(change: dict, text: str) -> None:
    arguments = {
        "queries": np.zeros((2, 3)),
        "gallery": np.zeros((4, 3)),
        "query_labels": [0, 1],
        "gallery_labels": [0, 1, 0, 1],
        **change,
    }
    with pytest.raises(ValueError, match=text):
        retrieve(**arguments)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("map", "mAP"),
        ("MAP@7", "mAP@7"),
        ("mAP@5/hit", "mAP@5/hits"),
        ("p@3", "P@3"),
        ("mAP@", "mAP@5"),
        ("hits@9", "hit@9"),
    ],
)
def test_unknown_metric_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(BadInput, match=f"did you mean '{nearest}'"):
        check_metric(name)


@pytest.mark.parametrize("name", ["mAP@0", "P@1000001"])
def test_k_out_of_range(name: str) -> None:
    with pytest.raises(BadInput, match="k must lie between 1 and"):
        check_metric(name)


def test_listed_metrics_are_the_ones_that_exist() -> None:
    patterns = list_metrics()
    assert len(patterns) == 15
    for pattern, rule in patterns.items():
        check_metric(pattern.replace("@k", "@17"))
        assert "\n" not in rule


def test_the_first_r_are_as_many_as_are_relevant() -> None:
    """By hand: of 3 relevant items at ranks 1, 3 and 5, two are among the first 3, with precisions 1 and 2/3."""
    gallery, labels = np.arange(1, 7, dtype=np.float32)[:, None], np.array([0, 1, 0, 1, 0, 1])
    query, names = np.zeros((1, 1), np.float32), ("mAP@R", "P@R")
    scores = evaluate_retrieval(query, gallery, [0], labels, metrics=names)
    assert scores == pytest.approx({"mAP@R": (1 + 2 / 3) / 3, "P@R": 2 / 3})
    # The third and fourth item tie: with probability 1/2 the hit is inside.
    gallery[3] = gallery[2]
    tied = evaluate_retrieval(query, gallery, [0], labels, metrics=names)
    assert tied == pytest.approx({"mAP@R": (1 + 0.5 * 2 / 3) / 3, "P@R": (1 + 0.5) / 3})


def test_the_first_r_equal_a_slow_count() -> None:
    random = np.random.default_rng(8)
    features, labels = random.normal(size=(70, 3)), random.integers(0, 6, 70)
    names = ("mAP@R", "P@R")
    found = evaluate_retrieval(features, features, labels, labels, metrics=names, exclude_self=True)
    slow: dict[str, list[float]] = {name: [] for name in names}
    for row in range(70):
        others = [i for i in np.argsort(((features - features[row]) ** 2).sum(1), kind="stable") if i != row]
        hits = [labels[i] == labels[row] for i in others]
        r = sum(hits)
        if r:
            slow["P@R"].append(sum(hits[:r]) / r)
            slow["mAP@R"].append(sum(sum(hits[: k + 1]) / (k + 1) for k in range(r) if hits[k]) / r)
    assert found == pytest.approx({name: np.mean(values) for name, values in slow.items()})


def test_unknown_distance_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'cosine'"):
        evaluate_retrieval(np.zeros((1, 1)), np.zeros((1, 1)), [0], [0], distance="cosin")  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------- neighbours and hash codes


@pytest.mark.parametrize("distance", ["l2", "cosine", "hamming"])
def test_nearest_neighbours_equal_a_stable_sort(distance: str) -> None:
    random = np.random.default_rng(6)
    features = random.integers(0, 2, (40, 5)).astype(np.float32)
    features[:, 0] = 1
    itself = np.arange(40)
    found = nearest_neighbours(features, features, 10, distance=distance, itself=itself)  # type: ignore[arg-type]
    for i in range(40):
        others = sorted((slow_distance(features[i], features[g], distance), g) for g in range(40) if g != i)
        assert found[i].tolist() == [g for _, g in others[:10]]
    assert nearest_neighbours(features, features, 99, itself=itself).shape == (40, 39)
    assert nearest_neighbours(features[:2], features, 99).shape == (2, 40)


def test_codes_are_packed_most_significant_bit_first() -> None:
    activations = np.array([[0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.51, 0.5, 0.6], [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]])
    codes = binarize(activations)
    assert codes.dtype == np.uint8
    assert codes.tolist() == [[0b10000001, 0b01000000], [0b01000000, 0b10000000]]
    with pytest.raises(ValueError, match="NaN"):
        binarize(np.array([[math.nan]]))


def test_metrics_need_numpy_alone() -> None:
    code = "import sys, validators.metrics, validators.gates; print(sorted({'torch', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
