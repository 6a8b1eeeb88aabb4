"""Write an average pool with padding as a padding and a pool without, where a processor computes the former wrongly."""

from __future__ import annotations

import functools

import torch
from torch import fx, nn
from torch.nn import functional as F

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place
from exporters.rewrites._graph import called, is_plain

_SPARE = 4
"""Channels that are added and removed again: one slice of a GPU's."""


class PaddedPool(nn.Module):
    """Averages with zeros around the map, which count.

    LiteRT's GPU code merges a padding of rows and columns into the pool behind it, whose averages then leave the zeros
    out. It leaves a padding alone that adds channels, too.

    forward(x [N, C, H, W]) -> [N, C, H', W']
    """

    def __init__(self, pool: nn.AvgPool2d) -> None:
        super().__init__()
        height, width = _pair(pool.padding)
        self.sides = (width, width, height, height, 0, _SPARE)
        self.pool = nn.AvgPool2d(pool.kernel_size, pool.stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(F.pad(x, self.sides))
        return pooled[:, : x.shape[1]]


class PadPool:
    """Applies to ``nn.AvgPool2d`` with padding that counts zeros, as its default is."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        if not self.costs.pad_pools:
            return []
        found: dict[str, Place] = {}
        for node in network.graph.nodes:
            pool = called(network, node)
            if not is_plain(pool, nn.AvgPool2d) or _pair(pool.padding) == (0, 0):
                continue
            if pool.count_include_pad and not pool.ceil_mode and pool.divisor_override is None:
                name = str(node.target)
                padded = functools.partial(network.set_submodule, name, PaddedPool(pool))
                found[name] = Place(f"pool:{name}", (Form("padded", 0.0, 0, padded),), (node,))
        return list(found.values())


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
