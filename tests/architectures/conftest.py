"""Real images for networks, and networks whose features depend on the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F


@pytest.fixture(scope="session")
def pictures(digit_images: np.ndarray) -> Callable[..., torch.Tensor]:
    """pictures(count, height, width) -> tinted digits, float32 [count, 3, height, width] in [-1, 1]."""

    def make(count: int, height: int = 32, width: int = 32) -> torch.Tensor:
        grey = np.stack([digit_images[number % 10, number // 10] for number in range(count)])
        tint = torch.tensor([[1.0, 0.7, 0.2], [0.1, 1.0, 0.6], [0.5, 0.2, 1.0]])[torch.arange(count) % 3]
        images = torch.from_numpy(grey)[:, None] / 127.5 - 1
        return F.interpolate(images * tint[:, :, None, None], (height, width), mode="bilinear")

    return make


@pytest.fixture(scope="session")
def calibrate(pictures: Callable[..., torch.Tensor]) -> Callable[[nn.Module], nn.Module]:
    """Fit batch normalisation to real images, without which a fresh network gives all images one feature."""

    def fit(network: nn.Module) -> nn.Module:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
        network.train()
        with torch.no_grad():
            network(pictures(40))
        return network.eval()

    return fit
