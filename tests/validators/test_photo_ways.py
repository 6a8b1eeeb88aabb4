"""mAP of photographs that were prepared in other ways: by hand, without the query itself, and a way that breaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress.contracts import EmbeddingSpec, GroundTruth, HeldOut, ImageSet, Observation
from validators.gates import evaluate_gates, limits_on, located
from validators.metrics import evaluate_retrieval
from validators.photo_ways import judge_ways

N, D = 60, 8
RANDOM = np.random.default_rng(0)
LABELS = np.arange(N) % 6
FEATURES = (RANDOM.standard_normal((6, D))[LABELS] + 0.4 * RANDOM.standard_normal((N, D))).astype(np.float32)
IMAGES = ImageSet(RANDOM.integers(0, 255, (N, 4, 4, 3), np.uint8), LABELS, tuple(map(str, range(N))))
HELD = HeldOut(IMAGES, IMAGES, IMAGES.images[:1])
SEEN = Observation(FEATURES, FEATURES, FEATURES[:1])
EVERY = np.arange(N)
PIXELS = np.asarray(IMAGES.images)


def test_the_right_way_has_the_mean_ap_of_leave_one_out() -> None:
    found = judge_ways(SEEN, EVERY, {"same": PIXELS}, {"same": FEATURES}, HELD, EmbeddingSpec(D))
    expected = evaluate_retrieval(FEATURES, FEATURES, LABELS, LABELS, distance="l2", exclude_self=True)["mAP"]
    assert found.mAP == pytest.approx(expected)
    assert (found.mAP_drop, found.worst, found.queries) == (0, "same", N)
    (way,) = found.ways
    assert (way.bytes_changed, way.mean_levels) == (0, 0)


def test_the_worst_way_is_judged() -> None:
    rows = np.array([3, 10, 59])
    other = PIXELS[rows].copy()
    other[:, 0, 0, 0] ^= 1
    noise = FEATURES[rows] + 2 * RANDOM.standard_normal((3, D)).astype(np.float32)
    ways = {"same": (PIXELS[rows], FEATURES[rows]), "noisy": (other, noise)}
    pixels, embeddings = ({name: pair[part] for name, pair in ways.items()} for part in (0, 1))
    found = judge_ways(SEEN, rows, pixels, embeddings, HELD, EmbeddingSpec(D))
    assert found.worst == "noisy"
    assert found.mAP_drop is not None and found.mAP_drop > 0.05
    assert found.ways[1].bytes_changed == pytest.approx(1 / 48)
    assert found.ways[1].mean_levels == pytest.approx(1 / 48)
    for limit, passed in ((0.9, True), (0.01, False)):
        (gate,) = evaluate_gates({"photo_mAP_drop": limit}, located("photos", found))
        assert gate.passed is passed


def test_an_output_that_is_none_fails() -> None:
    broken = np.full_like(FEATURES, np.nan)
    pixels, embeddings = {"a": PIXELS, "b": PIXELS}, {"a": FEATURES, "b": broken}
    found = judge_ways(SEEN, EVERY, pixels, embeddings, HELD, EmbeddingSpec(D))
    assert (found.worst, found.mAP_drop, found.ways[1].mAP) == ("b", None, None)
    (gate,) = evaluate_gates({"photo_mAP_drop": 1.0}, located("photos", found))
    assert not gate.passed


def test_a_listed_ground_truth_is_used() -> None:
    gallery = ImageSet(PIXELS[20:], LABELS[20:], IMAGES.ids[20:])
    truth = GroundTruth((np.array([0, 1]), np.array([], np.int64)), (np.array([2]), np.array([], np.int64)))
    queries = ImageSet(PIXELS[:2], LABELS[:2], IMAGES.ids[:2])
    data = replace(HeldOut(queries, gallery, PIXELS[:1]), ground_truths={"all": truth})
    given = np.zeros((40, D), np.float32)
    given[:, 0] = np.arange(40)  # the query at -1 ranks them in order
    asked = np.full((2, D), 0, np.float32)
    asked[:, 0] = -1
    seen = Observation(asked, given, asked[:1])
    found = judge_ways(seen, np.array([0, 1]), {"a": PIXELS[:2]}, {"a": asked}, data, EmbeddingSpec(D))
    assert found.mAP == 1


def test_the_gate_is_judged_only_where_the_runtime_is_timed() -> None:
    limits = {"photo_mAP_drop": 0.1, "mAP_drop": 0.1}
    assert "photo_mAP_drop" in limits_on("x86", "native", limits, "fp32")
    assert "photo_mAP_drop" not in limits_on("x86", "reference", limits, "fp32")
