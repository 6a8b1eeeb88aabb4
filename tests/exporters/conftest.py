"""Real images in colour, and networks whose features depend on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

TINTS = np.array([(255, 180, 50), (25, 255, 150), (130, 50, 255), (255, 255, 255)])


@pytest.fixture(scope="session")
def tinted(digit_images: np.ndarray) -> Callable[..., np.ndarray]:
    """tinted(count, height, width, first=0) -> digits, uint8 [count, height, width, 3], of every class and tint."""

    def make(count: int, height: int = 28, width: int = 28, first: int = 0) -> np.ndarray:
        numbers = range(first, first + count)
        grey = np.stack([digit_images[number % 10, number // 10] for number in numbers])
        tints = np.stack([TINTS[number % len(TINTS)] for number in numbers])
        images = torch.from_numpy(grey[:, None] / 255 * tints[:, :, None, None])
        resized = F.interpolate(images, (height, width), mode="bilinear").round().to(torch.uint8)
        return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())

    return make


@pytest.fixture(scope="session")
def calibrate(tinted: Callable[..., np.ndarray]) -> Callable[..., nn.Module]:
    """Fit batch normalisation to real images, without which a fresh network gives all images one feature.

    Gains and offsets are random, so that none of the four values of a channel is 0 or 1.
    """

    def fit(network: nn.Module, height: int = 64, width: int = 64) -> nn.Module:
        generator = torch.Generator().manual_seed(5)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the plain average over all batches
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, 0, 0.2, generator=generator)
        network.train()
        with torch.no_grad():
            network(torch.from_numpy(tinted(40, height, width)).permute(0, 3, 1, 2) / 127.5 - 1)
        return network.eval()

    return fit
