"""The two branches against plain loops; the kernel of ECA against its published values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from architectures import create_model
from architectures.fusion import eca_kernel

TRUNK: dict[str, Any] = {"alnet": {"widths": (16, 24), "strides": (2, 2), "expansions": (1, 3), "head_width": 32}}


@pytest.mark.parametrize(
    ("channels", "kernel"), [(32, 3), (64, 3), (256, 5), (512, 5), (576, 5), (1024, 5), (1280, 5), (2048, 7)]
)
def test_kernels(channels: int, kernel: int) -> None:
    """The odd one of log2(C) / 2 + 1/2, rounded down, and the next: 5 of log2(512) / 2 + 1/2 = 5, 7 of 6."""
    assert eca_kernel(channels) == kernel


def slow(maps: np.ndarray, weights: list[float]) -> np.ndarray:
    """float64 [N, 2C]: every channel times the sigmoid of its neighbours' weighted means, averaged; then the maxima."""
    count, channels = maps.shape[:2]
    fused, reach = np.zeros((count, 2 * channels)), len(weights) // 2
    for image in range(count):
        means = [float(maps[image, channel].mean()) for channel in range(channels)]
        for channel in range(channels):
            score = sum(
                weight * means[channel + place - reach]
                for place, weight in enumerate(weights)
                if 0 <= channel + place - reach < channels
            )
            fused[image, channel] = (maps[image, channel] / (1 + np.exp(-score))).mean()
            fused[image, channels + channel] = maps[image, channel].max()
    return fused


def test_the_embedding_is_both_branches(pictures: Callable[..., torch.Tensor], calibrate: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    network = calibrate(create_model("fusion", trunk=TRUNK))
    with torch.no_grad():
        network.pool.attention.weight.mul_(20)
        maps = network.trunk.feature_map(pictures(3)).numpy().astype(np.float64)
        embedding = network.embed(pictures(3)).numpy()
    weights = network.pool.attention.weight.flatten().tolist()
    assert (network.embedding_dim, len(weights)) == (64, 3)
    assert embedding == pytest.approx(slow(maps, weights), rel=1e-4, abs=1e-6)
    assert embedding != pytest.approx(slow(maps, weights[::-1]), rel=1e-3, abs=1e-6)
    short = create_model("fusion", trunk=TRUNK, dim=8)
    assert short(pictures(2)).shape == (2, 8)
