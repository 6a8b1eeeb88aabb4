"""Rank agreement against a slow second version, and against rankings that are known to differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from compress.contracts import EmbeddingSpec, HeldOut, ImageSet, Observation
from validators.checks.rank_agreement import RankAgreement
from validators.metrics import evaluate_retrieval
from validators.results import Ranking

SPEC = EmbeddingSpec(8)
RANDOM = np.random.Generator(np.random.PCG64(0))
LABELS = np.repeat(np.arange(6), 10)
CENTRES = RANDOM.normal(size=(6, 8))
FEATURES = (CENTRES[LABELS] + 0.8 * RANDOM.normal(size=(60, 8))).astype(np.float32)
IMAGES = ImageSet(np.zeros((60, 8, 8, 3), np.uint8), LABELS, tuple(f"image{i}" for i in range(60)))
LEAVE_ONE_OUT = HeldOut(IMAGES, IMAGES, np.zeros((0, 8, 8, 3), np.uint8))


def observation(features: np.ndarray) -> Observation:
    return Observation(features, features, features[:4])


def values(candidate: np.ndarray, **options: Any) -> Ranking:
    return RankAgreement(**options).run(observation(FEATURES), observation(candidate), LEAVE_ONE_OUT, SPEC)


def test_the_same_features_agree_in_everything() -> None:
    same = values(FEATURES.copy())
    assert same.kendall_tau == 1
    assert [same.mean_ap_change, same.largest_ap_drop, same.mAP_drop_low, same.mAP_drop_high] == [0] * 4


def test_kendall_tau_is_scipys() -> None:
    noisy = FEATURES + 0.5 * RANDOM.normal(size=FEATURES.shape).astype(np.float32)
    expected = []
    for query in range(60):
        others = np.arange(60) != query
        rankings = [((f[query] - f[others]) ** 2).sum(1) for f in (FEATURES, noisy)]
        expected.append(kendalltau(*rankings).statistic)
    assert 0.2 < np.mean(expected) < 0.9
    assert values(noisy).kendall_tau == pytest.approx(np.mean(expected), abs=1e-6)


def test_one_spoilt_query_is_named_and_the_interval_holds_the_drop() -> None:
    spoilt = FEATURES.copy()
    spoilt[17] = 10 * CENTRES[5]
    found = values(spoilt)
    assert found.largest_ap_drop_query == "image17"
    assert found.largest_ap_drop > 0.2
    scores = [
        evaluate_retrieval(f, f, LABELS, LABELS, metrics=("mAP",), exclude_self=True)["mAP"] for f in (FEATURES, spoilt)
    ]
    assert found.mAP_drop_low < scores[0] - scores[1] < found.mAP_drop_high
    assert found == values(spoilt)  # the bootstrap has a fixed seed


def test_shuffled_outputs_agree_in_nothing() -> None:
    shuffled = values(np.roll(FEATURES, 7, axis=0))
    assert abs(shuffled.kendall_tau) < 0.2
    assert shuffled.mAP_drop_low > 0.1


def test_an_output_that_is_no_embedding_gives_none_and_the_reason() -> None:
    broken = FEATURES.copy()
    broken[3, 2] = np.nan
    found = values(broken)
    assert found.kendall_tau is None
    assert found.problem is not None and "NaN" in found.problem


def test_queries_and_gallery_of_their_own() -> None:
    queries = ImageSet(IMAGES.images[:20], LABELS[:20], IMAGES.ids[:20])
    gallery = ImageSet(IMAGES.images[20:], LABELS[20:], IMAGES.ids[20:])
    held_out = HeldOut(queries, gallery, np.zeros((0, 8, 8, 3), np.uint8))
    seen = Observation(FEATURES[:20], FEATURES[20:], FEATURES[:1])
    # No gallery image shares a label with any query: nothing can be said, and that is said.
    found = RankAgreement().run(seen, seen, held_out, SPEC)
    assert found.problem is not None and "empty" in found.problem
    labels = np.arange(40) % 6
    mixed = HeldOut(queries, ImageSet(gallery.images, labels, gallery.ids), held_out.probes)
    assert RankAgreement().run(seen, seen, mixed, SPEC).kendall_tau == 1
