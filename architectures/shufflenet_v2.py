"""ShuffleNetV2 (Ma et al., ECCV 2018, arXiv:1807.11164), torchvision's definition and initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from architectures._torchvision import pooled, torchvision_model
from architectures.layers.blocks import ChannelShuffle, ChannelSplit
from compress.contracts import Architecture, BadInput
from compress.contracts.networks import RetrievalNetwork

_WIDTHS = {0.5: "x0_5", 1.0: "x1_0", 1.5: "x1_5", 2.0: "x2_0"}


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV2(Architecture):
    """ShuffleNetV2; the embedding is 1024-d, or 2048-d at width 2.0.

    Attributes:
        width: 0.5, 1.0, 1.5 or 2.0, the paper's four complexities.
        stem_stride: 2 in the paper, with max pooling behind the stem (total stride 32). 1 also leaves the pooling out
            (total stride 8), as in OMCBIR's tables of 28 and 32 px images.
    """

    width: float = 1.0
    stem_stride: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        if self.width not in _WIDTHS:
            raise BadInput(f"width: {self.width} is not one of {', '.join(map(str, _WIDTHS))}")

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        model = torchvision_model(f"shufflenet_v2_{_WIDTHS[self.width]}", num_classes)
        stages = [nn.Sequential(*map(_Unit, stage)) for stage in (model.stage2, model.stage3, model.stage4)]
        model.conv1[0].stride = (self.stem_stride, self.stem_stride)
        stem = [model.conv1, model.maxpool] if self.stem_stride == 2 else [model.conv1]
        trunk = nn.Sequential(*stem, *stages, model.conv5)
        return pooled(trunk, model.fc, model.fc.in_features, num_classes)


class _Unit(nn.Module):
    """torchvision's unit (figure 3c and 3d) with split and shuffle as layers, which pruning can adapt."""

    def __init__(self, unit: Any) -> None:
        super().__init__()
        self.branch1: nn.Module = unit.branch1
        self.branch2: nn.Module = unit.branch2
        self.split = ChannelSplit(unit.branch2[0].in_channels) if unit.stride == 1 else None
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passed, changed = (self.branch1(x), x) if self.split is None else self.split(x)
        shuffled: torch.Tensor = self.shuffle(torch.cat([passed, self.branch2(changed)], 1))
        return shuffled
