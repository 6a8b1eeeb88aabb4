"""Write an average pool with padding as a padding and a pool without, where a processor computes the former wrongly."""

from __future__ import annotations

import functools

import torch
from torch import fx, nn
from torch.nn import functional as F

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place
from exporters.rewrites._graph import called, is_plain


class PaddedPool(nn.Module):
    """Averages with zeros around the map, which count.

    forward(x [N, C, H, W]) -> [N, C, H', W']
    """

    def __init__(self, pool: nn.AvgPool2d) -> None:
        super().__init__()
        height, width = _pair(pool.padding)
        self.sides = (width, width, height, height)
        self.pool = nn.AvgPool2d(pool.kernel_size, pool.stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(F.pad(x, self.sides))
        return pooled


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
