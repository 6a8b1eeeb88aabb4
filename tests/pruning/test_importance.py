"""Each criterion against plain loops over a small network."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from compress.contracts import BadInput
from compress.pruning.channels import Channels
from compress.pruning.importance import class_scores
from compress.pruning.tracing import trace_channels
from compress.stages.prune import prune_model
from tests.pruning.conftest import kill

IMAGES = torch.linspace(-1, 1, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6)


@pytest.fixture
def small() -> Any:
    """A depthwise pair whose six channels go together, and two outputs."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6, bias=False)]
    network = nn.Sequential(*layers, nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1))
    for norm in (network[1], network[4]):
        nn.init.uniform_(norm.weight, -1, 1)  # type: ignore[arg-type]
    return network.eval()


def scores(network: nn.Module, criterion: str) -> list[float]:
    channels: Channels = trace_channels(network, IMAGES)
    found = class_scores(network, channels, criterion)
    return [found[c] for c in channels.produced["0"].tolist()]


def filters(network: Any, channel: int) -> list[list[float]]:
    return [layer.weight[channel].detach().flatten().tolist() for layer in (network[0], network[3])]


def test_l1(small: Any) -> None:
    assert scores(small, "l1") == pytest.approx([sum(abs(w) for f in filters(small, c) for w in f) for c in range(6)])


def test_l2(small: Any) -> None:
    expected = [math.sqrt(sum(w * w for f in filters(small, c) for w in f)) for c in range(6)]
    assert scores(small, "l2") == pytest.approx(expected)


def test_bn_scale(small: Any) -> None:
    expected = [abs(float(small[1].weight[c])) + abs(float(small[4].weight[c])) for c in range(6)]
    assert scores(small, "bn_scale") == pytest.approx(expected)


def test_fpgm(small: Any) -> None:
    expected = [
        sum(math.dist(filters(small, c)[k], filters(small, d)[k]) for k in range(2) for d in range(6)) for c in range(6)
    ]
    assert scores(small, "fpgm") == pytest.approx(expected, rel=1e-5)


def test_taylor_is_the_slope_of_the_loss_as_a_channel_fades(small: Any) -> None:
    """In double precision, by central differences: both layers' filters of one channel are scaled by 1 +- h."""
    small.double()
    images = IMAGES.double()

    def loss() -> torch.Tensor:
        value: torch.Tensor = small(images).square().mean()
        return value

    loss().backward()
    found, step = scores(small, "taylor"), 1e-5
    for channel in range(6):
        slopes = []
        for layer in (small[0], small[3]):
            original = layer.weight.detach().clone()
            ends = []
            for factor in (1 + step, 1 - step):
                with torch.no_grad():
                    layer.weight[channel] = original[channel] * factor
                    ends.append(float(loss()))
                    layer.weight.copy_(original)
            slopes.append(abs(ends[0] - ends[1]) / (2 * step))
        assert found[channel] == pytest.approx(sum(slopes), rel=1e-4)


def test_taylor_without_gradients_is_bad_input(small: Any) -> None:
    with pytest.raises(BadInput, match=r"^importance: taylor needs gradients"):
        prune_model(small, IMAGES, 0.5, importance="taylor")


@pytest.mark.parametrize("criterion", ["l1", "l2", "bn_scale", "fpgm", "taylor"])
def test_a_dead_channel_scores_zero_and_a_tiny_one_does_not(small: Any, criterion: str) -> None:
    for layer in (small[0], small[1], small[3], small[4]):
        kill(layer, [4])
        with torch.no_grad():
            layer.weight[2] *= 1e-20
    small(IMAGES).sum().backward()
    found = scores(small, criterion)
    assert [c for c in range(6) if found[c] == 0] == [4]


def test_a_shift_keeps_a_channel_alive_and_a_dead_input_does_not(small: Any) -> None:
    """Zero filters with a shift after them give a constant, which the next layer sees."""
    kill(small[3], [0, 1, 2])
    kill(small[4], [1])
    with torch.no_grad():
        small[4].bias[0] = 0.5
        small[4].running_mean[2] = 0.5
    assert [c for c in range(6) if scores(small, "l2")[c] == 0] == [1]
    with torch.no_grad():
        before, after = small(IMAGES), prune_model(small, IMAGES, 1 / 6)(IMAGES)
    assert torch.allclose(after, before, atol=1e-6)
