"""Reduce maps with operations that a delegate takes, where its runtime computes all others by slow reference kernels.

ExecuTorch hands parts of a network to XNNPACK and computes the rest itself, value by value. Of the reductions of CBAM
(Woo et al., ECCV 2018), its XNNPACK delegate only takes the mean over all positions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import fx, nn
from torch.nn import functional as F

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place
from exporters.rewrites._graph import add_layer, argument, is_called, replace, shape

_PLANES = 8
"""Maps of at most this many channels are moved to planes (1, 8, 32 and 10,000 were tried)."""


class MeanByConvolution(nn.Module):
    """forward(x [N, C, H, W]) -> the mean over C, [N, 1, H, W], computed as a 1x1 convolution with weights 1/C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1, bias=False)
        nn.init.constant_(self.conv.weight, 1 / channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(x)
        return result


class MaximumByHalves(nn.Module):
    """forward(x [N, C, H, W]) -> the maximum over C, [N, 1, H, W], computed as the larger of two halves, repeatedly.

    XNNPACK copies whole planes faster than parts of pixels with few channels, so these are moved to planes first.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        channels = self.channels
        while channels > 1:
            if channels <= _PLANES and x.ndim == 4:
                x = x.flatten(2)
            # Both halves hold the middle channel of an odd number, which changes no maximum.
            half = (channels + 1) // 2
            x = torch.maximum(x[:, :half], x[:, channels - half :])
            channels = half
        return x.reshape(-1, 1, height, width)


class MaximumByPooling(nn.Module):
    """forward(x [N, C, H, W]) -> the maximum over H and W, [N, C, 1, 1], computed as one window of that size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, self.size)


class DelegateReductions:
    """Applies to means over channels, and maxima over channels or positions, on runtimes with such a delegate."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        if not self.costs.delegated:
            return []
        found = []
        for node in network.graph.nodes:
            make = _delegated(node)
            if make is not None:
                apply = functools.partial(_write_otherwise, network, node, make)
                found.append(Place(f"reduction:{node.name}", (Form("delegated", 0.0, 0, apply),)))
        return found


def _delegated(node: fx.Node) -> Callable[[], nn.Module] | None:
    """How to make the layer that computes the same in operations of the delegate; None if ``node`` needs none."""
    name = next((name for name in ("mean", "amax") if is_called(node, name)), None)
    if name is None or not {"dim", "keepdim"} >= node.kwargs.keys() or argument(node, 2, "keepdim") is not True:
        return None
    (source, *_) = node.all_input_nodes
    if len(shape(source)) != 4:
        return None
    _, channels, height, width = shape(source)
    dim = argument(node, 1, "dim")
    axes = sorted(axis % 4 for axis in ((dim,) if isinstance(dim, int) else dim))
    if axes == [1]:
        return functools.partial(MeanByConvolution if name == "mean" else MaximumByHalves, channels)
    if axes == [2, 3] and name == "amax":
        return functools.partial(MaximumByPooling, (height, width))
    return None


def _write_otherwise(network: fx.GraphModule, node: fx.Node, make: Callable[[], nn.Module]) -> None:
    (source,) = node.all_input_nodes
    replace(network, node, lambda: add_layer(network, "reduced", make(), source))
