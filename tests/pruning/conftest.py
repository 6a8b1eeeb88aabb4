"""Networks whose features depend on the image, and dead channels in them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from architectures import create_model

SIZE = 48


@pytest.fixture(scope="session")
def pictures(digit_images: np.ndarray) -> torch.Tensor:
    """24 tinted digits on clouds of colour, float32 [24, 3, 48, 48] in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    grey = torch.from_numpy(np.stack([digit_images[number % 10, number // 10] for number in range(24)])).float()
    tint = torch.rand(24, 3, 1, 1, generator=generator)
    clouds = F.interpolate(torch.rand(24, 3, 6, 6, generator=generator), (SIZE, SIZE), mode="bilinear")
    return torch.maximum(F.interpolate(grey[:, None] / 255 * tint, (SIZE, SIZE), mode="bilinear"), clouds) * 2 - 1


@pytest.fixture(scope="session")
def settle(pictures: torch.Tensor) -> Callable[[nn.Module], nn.Module]:
    """Fit batch normalisation's statistics to the images, without which all of them have nearly one feature."""

    def fit(net: nn.Module) -> nn.Module:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # the plain average over all batches
        with torch.no_grad():
            net.train()(pictures)
        return net.eval()

    return fit


@pytest.fixture(scope="session")
def network(settle: Callable[[nn.Module], nn.Module]) -> Callable[..., Any]:
    """network(name, **options) -> a network with 10 classes in evaluation mode, with random scales and shifts."""

    def make(name: str, **options: Any) -> Any:
        torch.manual_seed(1)
        net = create_model(name, 10, **options)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
        return settle(net)

    return make


def kill(layer: nn.Module, rows: Collection[int]) -> None:
    """Zero the weights, bias, scale and shift of these output channels."""
    with torch.no_grad():
        for values in (layer.weight, layer.bias):
            if isinstance(values, torch.Tensor):
                values[list(rows)] = 0
