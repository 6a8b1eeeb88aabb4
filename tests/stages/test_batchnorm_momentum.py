"""Batch statistics follow a short training; long ones, and networks with PyTorch's momentum, keep theirs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from architectures.mobilenet_v3 import MobileNetV3
from compress.stages._batchnorm_momentum import keeping_up


def momenta(network: nn.Module) -> set[float | None]:
    return {layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)}


@pytest.mark.parametrize("steps", [20, 100, 400])
def test_after_a_short_training_the_start_is_forgotten(steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    errors = {}
    for adapted in (False, True):
        layer = nn.BatchNorm2d(3, momentum=0.01)
        with keeping_up(layer, steps if adapted else 10**9):
            for _ in range(steps):
                layer(5 + 2 * torch.randn(8, 3, 6, 6, generator=generator))
        errors[adapted] = float((layer.running_mean - 5).abs().max())  # type: ignore[operator]
    assert errors[True] < (0.7 if steps == 20 else 0.15)
    assert errors[False] > 3 * errors[True] or steps == 400


def test_networks_that_need_no_help_are_left_alone() -> None:
    ordinary = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=None), nn.BatchNorm2d(3, momentum=0.5))
    with keeping_up(ordinary, 1):
        assert momenta(ordinary) == {0.1, None, 0.5}


def test_mobilenet_v3_is_helped_in_short_trainings_and_has_its_own_momentum_afterwards() -> None:
    network = MobileNetV3().build(2)
    assert momenta(network) == {0.01}
    with keeping_up(network, 100):
        assert momenta(network) == {0.1}
    with keeping_up(network, 500):
        assert momenta(network) == {0.02}
    with keeping_up(network, 100_000):
        assert momenta(network) == {0.01}
    assert momenta(network) == {0.01}
