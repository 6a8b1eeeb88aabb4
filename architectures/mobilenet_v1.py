"""MobileNets (Howard et al. 2017, arXiv:1704.04861), built from the paper's table 1 with batch normalisation and ReLU.

The copy of that table in "MobileNet deep hashing" repeats the 512-channel layer once instead of five times; the last
depthwise convolution has stride 1 (table 1 prints 2, which its own feature sizes contradict).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le
from torch import nn

from architectures._network import PooledNetwork, linear_classifier
from architectures.layers.blocks import conv_bn, initialize
from compress.contracts import Architecture
from compress.contracts.networks import RetrievalNetwork

# Output channels and stride of the 13 depthwise separable convolutions; the last value of the first column is D.
_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
_FEWEST_CHANNELS = 8


@dataclass(frozen=True, kw_only=True)
class MobileNetV1(Architecture):
    """MobileNetV1; the embedding has 1024 x ``width`` values.

    Attributes:
        width: the paper's multiplier alpha, 1.0, 0.75, 0.5 or 0.25 there; no layer gets fewer than 8 channels.
        stem_stride: 2 in the paper (total stride 32); 1 (total stride 16) suits 28 and 32 px images and agrees with
            OMCBIR's tables of MNIST and SVHN.
    """

    width: Annotated[float, Gt(0), Le(4)] = 1.0
    stem_stride: Literal[1, 2] = 2

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        channels = self._scaled(32)
        layers = [conv_bn(3, channels, 3, stride=self.stem_stride, activation=nn.ReLU)]
        for count, stride in _LAYERS:
            out = self._scaled(count)
            layers += [
                conv_bn(channels, channels, 3, stride=stride, groups=channels, activation=nn.ReLU),
                conv_bn(channels, out, 1, activation=nn.ReLU),
            ]
            channels = out
        network = PooledNetwork(nn.Sequential(*layers), channels, linear_classifier(channels, num_classes))
        initialize(network)
        return network

    def _scaled(self, channels: int) -> int:
        return max(_FEWEST_CHANNELS, round(channels * self.width))
