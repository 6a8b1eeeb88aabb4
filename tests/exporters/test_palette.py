"""A palette is the best there is of its size; coremltools' k-means, which it stands in for, is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from coremltools.optimize.coreml import _quantization_passes as coremltools_passes
from torch import nn

from exporters import _coreml_compress, export_model
from exporters._coreml_stored import stored
from exporters._palette import palette
from tests.exporters._runners import min_cosine, reference, run


def error(weights: np.ndarray, chosen: np.ndarray, indices: np.ndarray) -> float:
    return float(np.square(weights.ravel().astype(np.float64) - chosen[indices]).sum())


def best(weights: np.ndarray, size: int) -> float:
    """The least squared error, by trying every way to cut the sorted weights into ``size`` runs."""
    ordered = np.sort(weights.ravel())
    cuts = itertools.combinations(range(1, len(ordered)), size - 1)
    return min(sum(float(np.square(p - p.mean()).sum()) for p in np.split(ordered, cut)) for cut in cuts)


def test_no_other_palette_is_nearer_to_the_weights() -> None:
    for seed in range(5):
        weights = np.random.default_rng(seed).standard_normal((3, 4))
        for bits in (1, 2):
            chosen, indices = palette(weights, bits)
            assert error(weights, chosen, indices) == pytest.approx(best(weights, 2**bits), rel=1e-9)
            assert best(weights, 2**bits - 1) > 1.2 * best(weights, 2**bits)  # the comparison can fail


def test_few_values_are_kept_as_they_are() -> None:
    weights = np.array([[0.5, -2.0], [0.5, 3.0]], np.float16)
    chosen, indices = palette(weights, 4)
    assert chosen.dtype == np.float16 and chosen.shape == (16,)
    assert indices.dtype == np.uint8 and indices.shape == (4,)
    assert np.array_equal(chosen[indices].reshape(2, 2), weights)


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_it_is_nearer_than_coremltools_own(bits: int) -> None:
    weights = np.random.default_rng(bits).standard_normal((96, 96)).astype(np.float16)
    own = error(weights, *palette(weights, bits))
    lut, indices = coremltools_passes.palettize_weights._get_lut_and_indices(weights, "KMEANS", bits, None)
    theirs = error(weights, lut.ravel(), indices.ravel())
    assert own < 0.97 * theirs, (own, theirs)


@pytest.fixture(scope="module")
def grouped(calibrate: Callable[..., nn.Module]) -> nn.Module:
    """1,024 weights in four groups, written as 4,096 with zeros between, before 16,384 that are none."""
    torch.manual_seed(0)
    dense = nn.Conv2d(64, 64, 1)
    groups = torch.block_diag(*(torch.randn(16, 16) / 4 for _ in range(4)))
    dense.weight = nn.Parameter(groups[:, :, None, None])
    layers = (nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), dense, nn.ReLU(), nn.Conv2d(64, 256, 1))
    return calibrate(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 32, 32)


@pytest.mark.nightly
def test_zeros_between_groups_bring_no_layer_under_a_palette(
    grouped: nn.Module, tinted: Callable[..., np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tinted(12, 32, 32)
    right = reference(grouped, images)
    path = export_model(grouped, tmp_path / "m.mlpackage", input_size=32, precision="p4")
    assert {each.values: each.kind.weights for each in stored(path)} == {
        1728: "float16",
        4096: "float16",
        16384: "palette4",
    }

    monkeypatch.setattr(_coreml_compress, "_mostly_zero", lambda program, spared: [])
    other = export_model(grouped, tmp_path / "other.mlpackage", input_size=32, precision="p4")
    assert {each.values: each.kind.weights for each in stored(other)}[4096] == "palette4"
    assert 1 - min_cosine(run(path, images), right) < 0.8 * (1 - min_cosine(run(other, images), right))
