"""Real images in colour, and networks whose features depend on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from architectures import create_model
from exporters import export_model
from tests._once import shared
from tests.exporters._runners import normalised
from validators.mlprogram.light_import import load_coremltools

load_coremltools()  # before a test imports it whole

TINTS = np.array([(255, 180, 50), (25, 255, 150), (130, 50, 255), (255, 255, 255)])


@pytest.fixture(scope="session")
def tinted(digit_images: np.ndarray) -> Callable[..., np.ndarray]:
    """tinted(count, height, width, first=0) -> uint8 [count, height, width, 3], digits of every class and tint.

    They lie on clouds of colour: on plain black most channels of a network hardly vary, and batch normalisation then
    amplifies rounding errors as no photograph does.
    """

    def make(count: int, height: int = 28, width: int = 28, first: int = 0) -> np.ndarray:
        numbers = range(first, first + count)
        grey = np.stack([digit_images[number % 10, number // 10] for number in numbers])
        tints = np.stack([TINTS[number % len(TINTS)] for number in numbers])
        clouds = np.stack([np.random.default_rng(number).uniform(0, 180, (3, 7, 7)) for number in numbers])
        images, background = (
            F.interpolate(torch.from_numpy(values), (height, width), mode="bilinear")
            for values in (grey[:, None] / 255 * tints[:, :, None, None], clouds)
        )
        pixels = torch.maximum(images, background).round().to(torch.uint8)
        return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())

    return make


@torch.no_grad()
def refit(network: nn.Module, pixels: torch.Tensor) -> nn.Module:
    """Set batch normalisation's statistics to those of uint8 [N, 3, H, W]; the rest runs as in inference."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain average over all batches
            module.train()
    network(normalised(pixels))
    return network.eval()


@pytest.fixture(scope="session")
def calibrate(tinted: Callable[..., np.ndarray]) -> Callable[..., nn.Module]:
    """Fit batch normalisation to real images, without which a fresh network gives all images one feature.

    Gains and offsets are random, so that none of the four values of a channel is 0 or 1.
    """

    def fit(network: nn.Module, height: int = 64, width: int = 64) -> nn.Module:
        generator = torch.Generator().manual_seed(5)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, 0, 0.2, generator=generator)
        return refit(network, torch.from_numpy(tinted(40, height, width)).permute(0, 3, 1, 2))

    return fit


SIZE = (48, 64)
"""Height and width of the trained network's artifacts: not square, so that swapped axes show."""

EPOCHS = 3


@pytest.fixture(scope="session")
def trained(tinted: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """ALNet's first four blocks with a classifier, after a short training on tinted digits."""
    torch.manual_seed(0)
    blocks: dict[str, Any] = {"widths": (16, 24, 32, 64), "strides": (1, 2, 2, 2), "expansions": (1, 6, 6, 6)}
    network = create_model("alnet", num_classes=10, stem_stride=2, **blocks)
    with shared(tmp_path_factory, "trained") as folder:
        weights = folder / "weights.pt"
        if not weights.exists():
            torch.save(_train(network, tinted(600, *SIZE)).state_dict(), weights)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def _train(network: nn.Module, images: np.ndarray) -> nn.Module:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    labels = torch.arange(len(images)) % 10
    steps = [rows for _ in range(EPOCHS) for rows in torch.randperm(len(images)).split(50)]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps))
    for rows in steps:
        optimizer.zero_grad()
        F.cross_entropy(network(normalised(pixels[rows])), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    # The running averages lag behind so short a training, and an ill-fitting normalisation amplifies rounding.
    return refit(network, pixels[:200])


@pytest.fixture(scope="session")
def artifact(trained: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """artifact(suffix, precision="fp32") -> the trained network in that format; converted once."""

    def export(suffix: str, precision: str = "fp32") -> Path:
        with shared(tmp_path_factory, f"artifact-{precision}-{suffix[1:]}") as folder:
            path = folder / f"alnet{suffix}"
            if not path.exists():
                export_model(trained, path, input_size=SIZE, precision=precision, metadata={"license": "CC0-1.0"})
        return path

    return export
