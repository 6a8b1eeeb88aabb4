"""A convolution on blocks gives what it gives position by position, for every remainder of the sides."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exporters.rewrites.tile_convolution import TileConvolution
from tests.exporters.rewrites._networks import CHEAP_DENSE, CHEAP_MOVES, TOLERANCE, Only, difference, rewritten


class _Attention(nn.Module):
    def __init__(self, kernel: int, bias: bool, parts: int) -> None:
        super().__init__()
        torch.manual_seed(kernel)
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=bias)
        self.parts = parts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.parts == 2:
            x = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        result: torch.Tensor = self.conv(x)
        return result


@pytest.mark.parametrize("costs", [CHEAP_DENSE, CHEAP_MOVES], ids=["channels-last", "channels-first"])
@pytest.mark.parametrize("block", [2, 4])
@pytest.mark.parametrize("size", [(16, 24), (7, 7), (13, 18), (1, 3), (22, 15)])
@pytest.mark.parametrize(("kernel", "bias", "parts"), [(7, False, 2), (7, True, 1), (3, True, 2), (5, False, 1)])
def test_every_size(costs, block: int, size: tuple[int, int], kernel: int, bias: bool, parts: int) -> None:  # type: ignore[no-untyped-def]
    network = _Attention(kernel, bias, parts)
    x = torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0))
    tiles = Only(TileConvolution(costs), f"blocks of {block}")
    changed = rewritten(network, x[:1], [tiles])
    assert tiles.count == 1
    assert difference(network, changed, x) < TOLERANCE


def test_blocks_in_wrong_places_would_be_seen() -> None:
    network = _Attention(7, False, 2)
    x = torch.randn(3, 2, 16, 24, generator=torch.Generator().manual_seed(0))
    changed = rewritten(network, x, [Only(TileConvolution(CHEAP_DENSE), "blocks of 4")])
    tiled = changed.get_submodule("tiled")
    for conv in tiled.convs:  # type: ignore[union-attr]
        conv.weight.data = conv.weight.data.reshape(4, 4, *conv.weight.shape[1:]).transpose(0, 1).flatten(0, 1)
    assert difference(network, changed, x) > 0.01


@pytest.mark.parametrize("other", [nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 1, 3, 2), nn.Conv2d(2, 1, 1)])
def test_other_convolutions_stay(other: nn.Conv2d) -> None:
    x = torch.randn(1, 2, 9, 9)
    tiles = Only(TileConvolution(CHEAP_DENSE), "blocks of 4")
    rewritten(nn.Sequential(other), x, [tiles])
    assert tiles.count == 0
