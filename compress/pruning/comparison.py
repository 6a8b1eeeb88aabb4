"""Compare a pruned network with the same network whose removed channels are zeros."""

from __future__ import annotations

import copy
from collections.abc import Set
from typing import Any

import torch
from torch import nn

from architectures.layers.cbam import SpatialAttention
from compress.pruning.channels import Channels

_TOLERANCE = 0.01
"""Largest difference as a share of the outputs' length: float rounding gives 1e-5, a wrong channel much more."""


@torch.no_grad()
def computes_the_same(
    small: nn.Module, network: nn.Module, channels: Channels, removed: Set[int], example_input: torch.Tensor
) -> bool:
    """Whether ``small``, which is ``network`` without the channel classes ``removed``, computes what it should.

    Args:
        example_input: float32 [N, 3, H, W]; only its shape matters.
    """
    big = masked(network, channels, removed)
    noise = torch.randn(2, *example_input.shape[1:], generator=torch.Generator().manual_seed(0))
    noise = noise.to(next(network.parameters(), noise).device)
    right, kind = _precisely(big, noise)
    if not isinstance(right, torch.Tensor) or not right.isfinite().all():
        return True  # a network of unset weights tells nothing
    try:
        found = copy.deepcopy(small).eval().to(kind)(noise.to(kind))
    except Exception:  # any error of the network's code: its sizes no longer fit
        return False
    if found.shape != right.shape:
        right = right[:, ~torch.isin(channels.embedding, torch.tensor(sorted(removed))).to(right.device)]
    if found.shape != right.shape:
        return False
    return bool((found - right).norm() <= _TOLERANCE * right.norm() + 1e-12)


def _precisely(network: nn.Module, noise: torch.Tensor) -> tuple[torch.Tensor, torch.dtype]:
    """The output in double precision, as deep networks of few channels amplify rounding; in single if code casts."""
    try:
        return copy.deepcopy(network).double()(noise.double()), torch.float64
    except RuntimeError:
        return network.float()(noise.float()), torch.float32


@torch.no_grad()
def masked(network: nn.Module, channels: Channels, removed: Set[int]) -> nn.Module:
    """A copy in eval mode in which no layer reads the removed channels."""
    big = copy.deepcopy(network).eval()
    gone = torch.tensor(sorted(removed), dtype=torch.int64)
    for name, classes in channels.read.items():
        layer: Any = big.get_submodule(name)
        unread = torch.isin(classes, gone)
        if name in channels.depthwise or not unread.any():
            continue
        if isinstance(layer, nn.Linear):
            layer.weight[:, unread.to(layer.weight.device)] = 0
        elif isinstance(layer, nn.Conv2d):
            groups = layer.weight.unflatten(0, (layer.groups, -1))
            for number, part in enumerate(unread.reshape(layer.groups, -1)):
                groups[number][:, part.to(layer.weight.device)] = 0
    for name, classes in channels.carried.items():
        attention = big.get_submodule(name)
        if isinstance(attention, SpatialAttention):
            kept = (~torch.isin(classes, gone)).reshape(1, -1, 1, 1)
            attention.register_forward_pre_hook(_masking(kept))
    return big


def _masking(kept: torch.Tensor) -> Any:
    def mask(_: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (given[0] * kept.to(given[0].device), *given[1:])

    return mask
