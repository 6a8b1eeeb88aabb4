"""Reduce over channels with operations for which a runtime has fast kernels.

CBAM's spatial attention takes the mean and the maximum over the channels of each pixel. In channels-first order,
reductions read memory in long strides; a product with a row of 1/C and a pooling over the depth of a volume read it in
order.
"""

from __future__ import annotations

import math

import torch
from torch import fx, nn
from torch.nn import functional as F

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place, unchanged
from exporters.rewrites._graph import add_layer, argument, is_called, replace, shape

_POOLED_PIXELS = 500
"""Maps with fewer pixels are reduced faster directly, because pooling has a cost per channel."""


class ChannelMean(nn.Module):
    """forward(x [N, C, H, W]) -> the mean over C, [N, 1, H, W], computed as a matrix product."""

    weight: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((1, 1, channels), 1 / channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels, height, width = x.shape[1:]
        return torch.matmul(self.weight, x.reshape(-1, channels, height * width)).reshape(-1, 1, height, width)


class ChannelMaximum(nn.Module):
    """forward(x [N, C, H, W]) -> the maximum over C, [N, 1, H, W], computed as the pooling of a volume of depth C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool3d(x.unsqueeze(1), (self.channels, 1, 1)).squeeze(1)


class ReduceChannels:
    """Applies to every mean and maximum over axis 1 of a map, on runtimes whose reductions are slow."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        if not self.costs.reductions:
            return []
        found = []
        for node in network.graph.nodes:
            for name, other in (("mean", ChannelMean), ("amax", ChannelMaximum)):
                if is_called(node, name) and _is_over_channels(node):
                    found.append(_place(network, node, other))
        return found


def _is_over_channels(node: fx.Node) -> bool:
    (source, *_) = node.all_input_nodes
    known = {"dim", "keepdim"} >= node.kwargs.keys() and argument(node, 2, "keepdim") is True
    return known and len(shape(source)) == 4 and argument(node, 1, "dim") in (1, -3, (1,), (-3,), [1], [-3])


def _place(network: fx.GraphModule, node: fx.Node, other: type[ChannelMean | ChannelMaximum]) -> Place:
    (source,) = node.all_input_nodes
    channels, height, width = shape(source)[1:]
    values = float(channels * height * width)
    if other is ChannelMean:
        name, share, added = "product", 0.2, 4 * channels
    else:
        name, share, added = "pooled", 0.5 if height * width >= _POOLED_PIXELS else math.inf, 0

    def write_otherwise() -> None:
        replace(network, node, lambda: add_layer(network, "reduced", other(channels), source))

    forms = (Form("plain", values, 0, unchanged), Form(name, share * values, added, write_otherwise))
    return Place(f"reduction:{node.name}", forms, (source, node))
