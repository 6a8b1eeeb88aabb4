"""Rounding stays nearer to the right output than to any broken one, however coarse; a mistake under it does not."""

from __future__ import annotations

import numpy as np
import pytest

from compress.contracts import EmbeddingSpec
from validators.control_distance import separation
from validators.gates import default_limits, evaluate_gates, located

SPEC = EmbeddingSpec(64)


@pytest.fixture
def right() -> np.ndarray:
    return np.random.default_rng(0).random((32, 64)).astype(np.float32)


def passes(right: np.ndarray, given: np.ndarray, broken: dict[str, np.ndarray]) -> bool:
    found = located("separation", separation(right, given, broken, SPEC))
    (gate,) = evaluate_gates({"control_ratio": default_limits("w8a8")["control_ratio"]}, found)
    return gate.passed


@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.01, 0.1, 0.3])
@pytest.mark.parametrize("mistake", [0.02, 0.1, 1.0])
def test_rounding_passes_and_a_mistake_beneath_the_same_rounding_fails(
    right: np.ndarray, noise: float, mistake: float
) -> None:
    random = np.random.default_rng(1)
    rounding = noise * random.standard_normal(right.shape)
    swapped = right + mistake * random.standard_normal(right.shape).astype(np.float32)
    broken = {"channel_swap": swapped, "shuffled_outputs": np.roll(right, 1, axis=0)}
    assert passes(right, (right + rounding).astype(np.float32), broken)
    assert not passes(right, (swapped + rounding).astype(np.float32), broken)


def test_the_nearest_broken_model_is_named(right: np.ndarray) -> None:
    broken = {"near": right + np.float32(0.1), "far": right + np.float32(5)}
    found = separation(right, right + np.float32(0.01), broken, SPEC)
    assert found.nearest_control == "near"
    assert found.control_ratio == pytest.approx(1 / 9, rel=1e-3)


def test_what_cannot_be_compared_is_not_measured(right: np.ndarray) -> None:
    broken = {"other": right + np.float32(1)}
    for given in (np.full_like(right, np.nan), right[:, 1:]):
        assert separation(right, given, broken, SPEC).control_ratio is None
    assert separation(right, right, {"same": right.copy()}, SPEC).control_ratio is None
    assert separation(right, broken["other"], broken, SPEC).control_ratio is None  # infinitely nearer to the broken one
