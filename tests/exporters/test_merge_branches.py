"""Parallel linear branches become one convolution that computes the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from architectures import create_model
from compress.contracts import Preprocess
from compress.stages.prune import prune_model
from exporters import export_model
from exporters._deploy import Deployed
from tests.exporters._runners import reference, run


class Rep(nn.Module):
    """act(norm(k x k) + norm(1 x 1) + norm(x)): the block of RepVGG and MobileOne."""

    def __init__(self, kernel: int = 3, stride: int = 1, groups: int = 1, inputs: int = 8, outputs: int = 8) -> None:
        super().__init__()
        self.large = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        )
        self.small = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        )
        self.own = nn.BatchNorm2d(outputs) if stride == 1 and inputs == outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = 0
        out = out + self.large(x)
        out += self.small(x)
        if self.own is not None:
            out = out + self.own(x)
        return torch.relu(out)


class RepMixer(nn.Module):
    """x + scale * (mixer(x) - norm(x)), from FastViT."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8))
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.rand(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (self.mixer(x) - self.norm(x)) * self.scale.view(8, 1, 1)


class NormOfSum(nn.Module):
    """norm(conv(x) + conv1(x) + x), from RepViT."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.conv1 = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 8, 1, groups=8)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.bn(self.conv(x) + self.conv1(x) + x)
        return y


class TwoMaps(nn.Module):
    """A sum of convolutions that read different maps, which must stay two."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.one(x) + self.two(torch.relu(x))
        return y


class ReadTwice(nn.Module):
    """One branch is read again later, so it must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.one(x)
        y: torch.Tensor = torch.relu(first + self.two(x)) * first
        return y


def network(block: nn.Module) -> nn.Module:
    outputs = next((layer.out_channels for layer in block.modules() if isinstance(layer, nn.Conv2d)), 8)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), block, nn.Conv2d(outputs, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def convolutions(of: nn.Module) -> int:
    return sum(isinstance(layer, nn.Conv2d) for layer in of.modules())


BLOCKS: list[tuple[nn.Module, int]] = [
    (Rep(), 1),
    (Rep(5), 1),
    (Rep(1), 1),
    (Rep(stride=2), 1),
    (Rep(groups=8), 1),
    (Rep(groups=2, outputs=16), 1),
    (RepMixer(), 1),
    (NormOfSum(), 1),
    (TwoMaps(), 2),
    (ReadTwice(), 2),
]


@pytest.mark.parametrize(("block", "left"), BLOCKS, ids=[f"{type(b).__name__}{n}" for n, (b, _) in enumerate(BLOCKS)])
def test_branches_become_one_convolution(
    block: nn.Module, left: int, calibrate: Callable[..., nn.Module], tinted: Callable[..., np.ndarray]
) -> None:
    of = calibrate(network(block))
    deployed = Deployed(copy.deepcopy(of), Preprocess((33, 48)), "l2")
    assert convolutions(deployed) == left + 2
    images = tinted(4, 33, 48)
    found = deployed(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(found, reference(of, images), rtol=1e-4, atol=1e-5)


def test_pruned_branches_are_merged(calibrate: Callable[..., nn.Module], tinted: Callable[..., np.ndarray]) -> None:
    of = calibrate(network(Rep()))
    small = prune_model(of, torch.zeros(1, 3, 33, 48), 0.5).eval()
    deployed = Deployed(small, Preprocess((33, 48)), "l2")
    assert convolutions(deployed) == 3
    assert sum(p.numel() for p in small.parameters()) < 0.6 * sum(p.numel() for p in of.parameters())
    images = tinted(4, 33, 48)
    found = deployed(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(found, reference(small, images), rtol=1e-4, atol=1e-5)


TIMM = {"mobileone_s0": 1_100_000, "repvgg_a0": 7_900_000, "repvit_m0_9": 4_800_000, "fastvit_t8": 3_300_000}
"""timm's name -> parameters of its merged form, without the classifier, at most."""


@pytest.mark.nightly
@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("suffix", [".pt", ".onnx", ".tflite", ".mlpackage"])
def test_files_of_timm_have_the_merged_size(
    name: str, suffix: str, calibrate: Callable[..., Any], tinted: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    from compress.system.files import artifact_bytes

    torch.manual_seed(0)
    of = calibrate(create_model("timm", backbone=name))
    path = export_model(of, tmp_path / f"m{suffix}", input_size=64)
    assert artifact_bytes(path) < 1.15 * 4 * TIMM[name]
    images = tinted(4, 64, 64)
    found, right = run(path, images), reference(of, images)
    assert np.linalg.norm(found - right) < 1e-3 * np.linalg.norm(right - right.mean(0))


@pytest.mark.nightly
def test_mobileone_has_the_size_of_its_merged_form() -> None:
    deployed = Deployed(create_model("timm", backbone="mobileone_s0").eval(), Preprocess((64, 64)), "l2")
    assert sum(p.numel() for p in deployed.parameters()) < TIMM["mobileone_s0"]
