"""ResNet (He et al., CVPR 2016, arXiv:1512.03385), torchvision's definition and weights."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from architectures._network import PooledNetwork, linear_classifier
from architectures._torchvision import IMAGENET, torchvision_model
from compress.contracts import Architecture, Normalisation
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class ResNet(Architecture):
    """ResNet as a baseline; it is too large for most phones. The total stride is 32.

    Attributes:
        depth: number of layers; 18 and 34 embed in 512, the others in 2048 dimensions.
        pretrained: use torchvision's best ImageNet weights, downloaded once to PyTorch's cache.
    """

    depth: Literal[18, 34, 50, 101, 152] = 18
    pretrained: bool = False

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        model = torchvision_model(f"resnet{self.depth}", num_classes, pretrained=self.pretrained)
        channels = model.fc.in_features
        layers = [(name, layer) for name, layer in model.named_children() if name not in ("avgpool", "fc")]
        return PooledNetwork(nn.Sequential(OrderedDict(layers)), channels, linear_classifier(channels, num_classes))

    def bare(self) -> Architecture:
        return replace(self, pretrained=False)

    def normalisation(self) -> Normalisation | None:
        return IMAGENET if self.pretrained else None
