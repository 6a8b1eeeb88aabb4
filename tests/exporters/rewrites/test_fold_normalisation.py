"""Normalisation inside the first convolution, at the border of the image above all."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from compress.contracts import Preprocess
from exporters._costs import Costs
from exporters._deploy import Deployed
from exporters.rewrites.fold_normalisation import FoldNormalisation
from tests.exporters.rewrites._networks import CHEAP_DENSE, CHEAP_MOVES, TOLERANCE, difference, rewritten

both = pytest.mark.parametrize("costs", [CHEAP_DENSE, CHEAP_MOVES], ids=["channels-last", "channels-first"])


def deployed(conv: nn.Conv2d) -> Deployed:
    torch.manual_seed(0)
    network = nn.Sequential(copy.deepcopy(conv), nn.Flatten())
    return Deployed(network, Preprocess((9, 13)), "l2")


def pixels(height: int = 9, width: int = 13) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)


@both
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_borders_included(costs: Costs, padding: int, stride: int) -> None:
    network = deployed(nn.Conv2d(3, 4, 3, stride, padding))
    changed = rewritten(network, pixels(), [FoldNormalisation(costs)])
    called = [str(node.target) for node in changed.graph.nodes if node.op == "call_function"]
    assert len([name for name in called if "sub" in name]) == 1
    assert not [name for name in called if "mul" in name or "add" in name]
    assert difference(network, changed, pixels()) < TOLERANCE


def test_a_mean_moved_into_the_bias_would_be_seen() -> None:
    """It is right inside and wrong at the border, where the network pads with the mean and not with black."""
    network = deployed(nn.Conv2d(3, 4, 3, 1, 1))
    conv = network.network.get_submodule("0")
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    wrong = copy.deepcopy(conv)
    with torch.no_grad():
        wrong.weight.copy_(conv.weight * network.scale)
        assert wrong.bias is not None
        wrong.bias.add_((conv.weight * network.shift).sum((1, 2, 3)))

    class _Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = wrong

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.conv(image.to(self.conv.weight.dtype))
            return result.flatten(1)

    assert difference(network, _Wrong(), pixels()) > 0.01


@both
def test_an_image_that_is_read_twice_stays(costs: Costs) -> None:
    class _Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total: torch.Tensor = self.conv(x).relu() + x
            return total.flatten(1)

    torch.manual_seed(0)
    network = Deployed(_Twice(), Preprocess((9, 13)), "l2")
    assert difference(network, rewritten(network, pixels(), [FoldNormalisation(costs)]), pixels()) == 0
