"""Codes under every check: ties with their range, another artifact's gallery, and how far bits are from flipping."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from compress.contracts import EmbeddingSpec, HeldOut, ImageSet, Observation
from validators.checks.feature_parity import FeatureParity
from validators.checks.retrieval_map import RetrievalMap
from validators.gates import default_limits, evaluate_gates, located
from validators.metrics import average_precision, evaluate_retrieval

CODES = EmbeddingSpec(8, "binary", "hamming")


def slow_ap(ranking: Sequence[bool], k: int) -> float:
    """Sum of the precision at each hit among the first k, over min(k, R)."""
    hits, total = 0, 0.0
    for position, relevant in enumerate(ranking[:k], start=1):
        if relevant:
            hits += 1
            total += hits / position
    return total / min(k, sum(ranking))


@pytest.mark.parametrize("k", [1, 3, 4, 6, 9])
def test_the_range_of_map_at_k_is_that_of_every_order_of_the_ties(k: int) -> None:
    random = np.random.default_rng(k)
    for _ in range(20):
        query, gallery = random.integers(0, 2, (1, 3)), random.integers(0, 2, (6, 3))
        labels = random.integers(0, 2, 6)
        labels[0] = 1
        distances = (query != gallery).sum(1)
        orders = [o for o in itertools.permutations(range(6)) if all(np.diff(distances[list(o)]) >= 0)]
        scores = [slow_ap([bool(labels[i]) for i in order], k) for order in orders]
        names = (f"mAP@{k}", f"mAP@{k}/best", f"mAP@{k}/worst")
        found = evaluate_retrieval(query, gallery, [1], labels, distance="hamming", metrics=names)
        expected = (np.mean(scores), max(scores), min(scores))
        assert [found[name] for name in names] == pytest.approx(expected)


def test_six_tied_codes_worked_by_hand() -> None:
    """Three of six are relevant."""
    codes, labels = np.zeros((6, 8)), np.array([1, 1, 1, 0, 0, 0])
    names = ("mAP/best", "mAP/worst", "mAP@2/best", "mAP@2/worst", "mAP@2")
    found = evaluate_retrieval(np.zeros((1, 8)), codes, [1], labels, distance="hamming", metrics=names)
    # Worst: hits at 4, 5, 6. First two: hit, hit 1/5 -> 1; hit, miss 3/10 -> 1/2; miss, hit 3/10 -> 1/4; else 0.
    by_hand = [1, (1 / 4 + 2 / 5 + 3 / 6) / 3, 1, 0, 1 / 5 + 3 / 20 + 3 / 40]
    assert [found[name] for name in names] == pytest.approx(by_hand)


def test_leave_one_out_with_the_gallery_of_another_artifact() -> None:
    """A query's own code in that gallery may differ by a bit, and must leave the ranking all the same."""
    random = np.random.default_rng(0)
    for _ in range(20):
        gallery = random.random((30, 6))
        queries = np.where(random.random((30, 6)) < 0.1, 1 - gallery, gallery)
        labels = random.integers(0, 3, 30)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = evaluate_retrieval(
                queries, gallery, labels, labels, distance="hamming", metrics=("mAP",), exclude_self=True
            )
        expected = []
        for query in range(30):
            others = np.delete(np.arange(30), query)
            distances = ((queries[query] > 0.5) != (gallery[others] > 0.5)).sum(1)
            expected.append(average_precision(-distances, labels[others] == labels[query]))
        assert found["mAP"] == pytest.approx(np.mean(expected))


# -------------------------------------------------------------------------------------------------------- margins


def held_out(count: int) -> HeldOut:
    images = np.zeros((count, 1, 1, 3), np.uint8)
    split = ImageSet(images, np.arange(count) % 2, tuple(map(str, range(count))))
    return HeldOut(split, split, images[:0])


def observed(activations: np.ndarray) -> Observation:
    return Observation(activations, activations, activations[:0])


def test_margins_worked_by_hand() -> None:
    """Distances from 0.5: 0.5, 0.25, 0.05, 0.005, 5e-4, 5e-5, 5e-6, 5e-7; the last three change sides."""
    margins = np.array([0.5, -0.25, 0.05, -0.005, 5e-4, -5e-5, 5e-6, -5e-7])
    reference = np.tile(0.5 + margins, (2, 1))
    given = reference.copy()
    given[0, 5:] = 0.5 - margins[5:]
    values = FeatureParity().run(observed(reference), observed(given), held_out(2), CODES)
    assert values.bit_flip_rate == 3 / 16
    assert values.margins is not None
    assert values.margins.to_json() == {
        "edges": [0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5],
        "bits": [2, 2, 2, 2, 2, 2, 4],
        "flips": [1, 1, 1, 0, 0, 0, 0],
    }


def test_margins_are_pytorchs_so_bare_codes_have_them_too() -> None:
    random = np.random.default_rng(1)
    reference = random.random((50, 8)).astype(np.float32)
    noisy = np.clip(reference + random.normal(0, 0.02, (50, 8)), 0, 1).astype(np.float32)
    soft, bare = (
        FeatureParity().run(observed(reference), observed(given), held_out(50), CODES)
        for given in (noisy, (noisy > 0.5).astype(np.float32))
    )
    assert soft.margins is not None
    assert soft.margins == bare.margins
    assert soft.bit_flip_rate == bare.bit_flip_rate > 0
    assert sum(soft.margins.bits) == 400
    flipped = (reference > 0.5) != (noisy > 0.5)
    far = np.abs(reference.astype(np.float64) - 0.5) > 0.1
    assert soft.margins.bits[-1] == far.sum()
    assert soft.margins.flips[-1] == (far & flipped).sum() == 0
    assert FeatureParity().run(observed(reference), observed(noisy), held_out(50), EmbeddingSpec(8)).margins is None


def test_one_flip_in_a_thousand_passes_and_two_fail() -> None:
    random = np.random.default_rng(2)
    reference = random.random((250, 8)).astype(np.float32)  # 2,000 bits
    for flips, passed in ((0, True), (2, True), (3, False)):
        given = reference.copy()
        given[:flips, 0] = 1 - given[:flips, 0]
        values = FeatureParity().run(observed(reference), observed(given), held_out(250), CODES)
        limits = {
            name: limit for name, limit in default_limits("fp32", kind="binary").items() if name == "bit_flip_rate"
        }
        (gate,) = evaluate_gates(limits, located("parity", values))
        assert (gate.limit, gate.value, gate.passed) == (0.001, flips / 2000, passed)
    others = [default_limits(precision, kind="binary")["bit_flip_rate"] for precision in ("fp16", "w8", "w8a8")]
    assert others == [0.001, 0.01, 0.05]
    assert "bit_flip_rate" not in default_limits("fp32")


def test_the_check_reports_both_ends() -> None:
    random = np.random.default_rng(3)
    activations = random.random((60, 8)).astype(np.float32)
    check = RetrievalMap(metrics=("mAP@10", "mAP@10/best", "mAP@10/worst", "mAP@10/hits"))
    split = held_out(60)
    scores = dict(check.run(observed(activations), observed(activations), split, CODES).metrics())
    assert scores["mAP@10/worst"] < scores["mAP@10"] < scores["mAP@10/best"]
    # Features without ties have no range.
    plain = replace(CODES, kind="float", distance="l2")
    exact = dict(check.run(observed(activations), observed(activations), split, plain).metrics())
    assert exact["mAP@10/worst"] == exact["mAP@10"] == exact["mAP@10/best"]
