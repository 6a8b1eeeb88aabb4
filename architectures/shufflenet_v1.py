"""ShuffleNet (Zhang, Zhou, Lin, Sun; CVPR 2018, arXiv:1707.01083), built from the paper's table 1 and figure 2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import nn

from architectures._network import PooledNetwork, linear_classifier
from architectures.layers.blocks import ChannelShuffle, conv_bn, initialize
from compress.contracts import Architecture
from compress.contracts.networks import RetrievalNetwork

# Output channels of stage 2; each later stage doubles them. More groups allow more channels at the same cost.
_STAGE_2_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
_STEM_CHANNELS = 24
_UNITS = (4, 8, 4)
_BOTTLENECK = 4


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV1(Architecture):
    """ShuffleNet; the embedding has four times the channels of stage 2: 960 by default.

    Attributes:
        groups: groups of the 1x1 convolutions; table 1 gives the channels for each number.
        width: the paper's scale factor s of all channels; they are rounded up to a multiple of the groups.
        stem_stride: 2 in the paper (total stride 32 with the pooling after it); 1 halves the total stride.
        stem_pool: the 3x3 max pooling after the first convolution; without it and with stem stride 1 (total stride 8),
            28 and 32 px images have final feature maps of 4x4, which agrees with the sizes in OMCBIR's tables.
    """

    groups: Literal[1, 2, 3, 4, 8] = 3
    width: Annotated[float, Gt(0), Le(4)] = 1.0
    stem_stride: Literal[1, 2] = 2
    stem_pool: bool = True

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        channels = _round_up(_STEM_CHANNELS * self.width, self.groups)
        layers: list[nn.Module] = [conv_bn(3, channels, 3, stride=self.stem_stride, activation=nn.ReLU)]
        if self.stem_pool:
            layers.append(nn.MaxPool2d(3, 2, 1))
        for stage, units in enumerate(_UNITS):
            scaled = _STAGE_2_CHANNELS[self.groups] * self.width
            out = _round_up(scaled, _BOTTLENECK * self.groups) * 2**stage
            for unit in range(units):
                # The first 1x1 convolution of stage 2 is dense, "because the number of input channels is small".
                first_groups = 1 if stage == unit == 0 else self.groups
                layers.append(_Unit(channels, out, 2 if unit == 0 else 1, first_groups, self.groups))
                channels = out
        network = PooledNetwork(nn.Sequential(*layers), channels, linear_classifier(channels, num_classes))
        initialize(network)
        return network


def _round_up(channels: float, multiple: int) -> int:
    return math.ceil(channels / multiple) * multiple


class _Unit(nn.Module):
    """Figure 2b (stride 1, added to its input) and 2c (stride 2, concatenated with its pooled input)."""

    def __init__(self, channels: int, out: int, stride: int, first_groups: int, groups: int) -> None:
        super().__init__()
        hidden = out // _BOTTLENECK
        self.residual = nn.Sequential(
            conv_bn(channels, hidden, 1, groups=first_groups, activation=nn.ReLU),
            ChannelShuffle(groups),
            conv_bn(hidden, hidden, 3, stride=stride, groups=hidden, activation=None),
            conv_bn(hidden, out if stride == 1 else out - channels, 1, groups=groups, activation=None),
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.AvgPool2d(3, 2, 1)
        self.concatenates = stride == 2
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut, residual = self.shortcut(x), self.residual(x)
        joined = torch.cat([shortcut, residual], 1) if self.concatenates else shortcut + residual
        result: torch.Tensor = self.activation(joined)
        return result
