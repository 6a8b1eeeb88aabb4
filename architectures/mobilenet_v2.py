"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv:1801.04381), torchvision's definition and initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from architectures._torchvision import pooled, torchvision_model
from compress.contracts import Architecture
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(Architecture):
    """MobileNetV2; the embedding is 1280-d.

    Attributes:
        stem_stride: 2 in the paper (total stride 32) and, by its FLOPs, in OMCBIR's tables of 28 and 32 px images; 1
            (total stride 16) keeps larger feature maps of small images.
    """

    stem_stride: Literal[1, 2] = 2

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        model = torchvision_model("mobilenet_v2", num_classes)
        model.features[0][0].stride = (self.stem_stride, self.stem_stride)
        return pooled(model.features, model.classifier, model.last_channel, num_classes)
