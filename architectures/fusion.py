"""Feature fusion: an average branch with efficient channel attention (ECA) and a maximum branch in parallel.

ECA: Wang et al., CVPR 2020, arXiv:1910.03151. The paper's network is ResNet-50 (4096-d). Its text ends ECA in a ReLU;
the ECA paper, its own figure and this network have a sigmoid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import nn

from architectures._network import RepooledNetwork, build_trunk
from compress.contracts import Architecture, Distance, component_field
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class Fusion(Architecture):
    """Embeds images as [mean of ECA(map) ; maximum of the map], two values for each channel of the last feature map.

    Attributes:
        trunk: the network whose last feature map is pooled.
        dim: D of a linear layer after the two branches; with None, as in the paper, there is no such layer.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("cosine", "l2")

    trunk: Architecture = component_field(Architecture, default="alnet")
    dim: Annotated[int, Ge(1), Le(65536)] | None = None

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        trunk = build_trunk(self.trunk)
        return RepooledNetwork(trunk, _TwoBranches(trunk.channels), 2 * trunk.channels, self.dim, num_classes)


class _TwoBranches(nn.Module):
    """Pools a feature map by both branches: [N, C, h, w] -> [N, 2C, 1, 1].

    ECA multiplies each channel by one number, so the mean of ECA(map) is that number times the mean.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernel = eca_kernel(channels)
        # Over neighbouring channels, which lie along the width of [N, 1, 1, C].
        self.attention = nn.Conv2d(1, 1, (1, kernel), padding=(0, kernel // 2), bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        average = x.mean((2, 3), keepdim=True)
        attention = self.attention(average.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).sigmoid()
        return torch.cat([average * attention, x.amax((2, 3), keepdim=True)], 1)


def eca_kernel(channels: int) -> int:
    """Number of channels in the kernel of ECA (eq. 12 there, gamma = 2 and b = 1): 7 for 2048 channels."""
    width = int((math.log2(channels) + 1) / 2)
    return width if width % 2 else width + 1
