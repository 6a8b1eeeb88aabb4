"""Strides of 1x1 convolutions, taken before the convolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exporters._costs import XNNPACK_INT8, XNNPACK_INT8_OPERANDS
from exporters.rewrites.stride_first import StrideFirst
from tests.exporters.rewrites._networks import TOLERANCE, difference, rewritten, traced


class Shortcut(nn.Module):
    """A residual block that makes the map smaller, and its shortcut once more by itself."""

    def __init__(self, stride: tuple[int, int]) -> None:
        super().__init__()
        self.block = nn.Conv2d(4, 6, 3, stride, padding=1)
        self.shortcut = nn.Conv2d(4, 6, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x) * self.shortcut(x) + self.shortcut(x + 1)


@pytest.mark.parametrize("stride", [(2, 2), (3, 3), (1, 2)])
def test_the_stride_comes_first_and_the_values_stay(stride: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network, x = Shortcut(stride), torch.randn(2, 4, 7, 10)
    changed = rewritten(network, x, [StrideFirst(XNNPACK_INT8_OPERANDS)])
    pointwise = [m for m in changed.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert [conv.stride for conv in pointwise] == [(1, 1)] * 2
    assert difference(network, changed, x) < TOLERANCE


@pytest.mark.parametrize("conv", [nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 3, 2), nn.Conv2d(4, 6, 1, 2, padding=1)])
def test_other_convolutions_stay(conv: nn.Module) -> None:
    assert not StrideFirst(XNNPACK_INT8_OPERANDS).places(traced(nn.Sequential(conv)))


def test_files_whose_weights_become_float_keep_the_stride() -> None:
    assert not StrideFirst(XNNPACK_INT8).places(traced(nn.Sequential(nn.Conv2d(4, 6, 1, 2))))
