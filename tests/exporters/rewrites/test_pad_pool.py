"""Average pools with padding, written as two steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from exporters._costs import ONNXRUNTIME, XNNPACK
from exporters.rewrites.pad_pool import PaddedPool, PadPool
from tests.exporters.rewrites._networks import TOLERANCE, difference, rewritten, traced


@pytest.mark.parametrize("size", [(3, 2, 1), ((3, 5), (2, 1), (1, 2)), (2, None, 1)])
def test_padded_pools_compute_the_same(size: tuple[Any, Any, Any]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.AvgPool2d(*size))
    x = torch.randn(2, 3, 7, 10)
    changed = rewritten(network, x, [PadPool(XNNPACK)])
    assert isinstance(changed.get_submodule("1"), PaddedPool)
    assert difference(network, changed, x) < TOLERANCE
    without = nn.Sequential(network[0], nn.AvgPool2d(*size, count_include_pad=False))
    assert difference(without, changed, x) > 0.01  # the control: what counting no zeros would give


@pytest.mark.parametrize(
    "pool",
    [nn.AvgPool2d(3), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(3, 2, 1, ceil_mode=True)],
)
def test_other_pools_stay(pool: nn.Module) -> None:
    assert not PadPool(XNNPACK).places(traced(nn.Sequential(pool)))


def test_runtimes_without_such_gpus_keep_them() -> None:
    assert not PadPool(ONNXRUNTIME).places(traced(nn.Sequential(nn.AvgPool2d(3, 2, 1))))
