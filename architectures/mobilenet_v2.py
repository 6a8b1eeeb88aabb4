"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv:1801.04381), torchvision's definition and initial weights."""

from __future__ import annotations

from dataclasses import dataclass

from architectures._torchvision import pooled, torchvision_model
from compress.contracts import Architecture
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(Architecture):
    """MobileNetV2 without options. The total stride is 32 (stem 2), also for 28 and 32 px; the embedding is 1280-d."""

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        model = torchvision_model("mobilenet_v2", num_classes)
        return pooled(model.features, model.classifier, model.last_channel, num_classes)
