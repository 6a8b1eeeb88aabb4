"""Convolutional block attention module (Woo et al., ECCV 2018): channel attention, then spatial attention."""

from __future__ import annotations

import torch
from torch import nn


class ChannelAttention(nn.Module):
    """Weights the channels by eq. 2: sigmoid(MLP(avgpool) + MLP(maxpool)), with one bias-free two-layer MLP."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        average, largest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return x * torch.sigmoid(self.mlp(average) + self.mlp(largest))


class SpatialAttention(nn.Module):
    """Weights the positions by eq. 3: sigmoid of a bias-free 7x7 convolution over the channel mean and maximum.

    Attributes:
        floor: whether the maximum is at least zero. Set by pruning: the removed channels were zero, so zero was the
            maximum wherever all other channels are negative.
    """

    def __init__(self) -> None:
        super().__init__()
        self.floor = False
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        largest = x.amax(1, keepdim=True)
        if self.floor:
            largest = largest.relu()
        statistics = torch.cat([x.mean(1, keepdim=True), largest], dim=1)
        return x * torch.sigmoid(self.conv(statistics))


class CBAM(nn.Sequential):
    """Channel attention, then spatial attention.

    Attributes:
        reduction: channels per hidden unit of the MLP, which has at least one unit.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__(ChannelAttention(channels, max(1, channels // reduction)), SpatialAttention())
