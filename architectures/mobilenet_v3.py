"""MobileNetV3 (Howard et al., ICCV 2019, arXiv:1905.02244), torchvision's definition and initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from architectures._torchvision import pooled, torchvision_model
from compress.contracts import Architecture
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class MobileNetV3(Architecture):
    """MobileNetV3; the embedding is the pooled feature map, the classifier keeps its hidden layer. Total stride 32.

    Attributes:
        size: ``small`` embeds in 576, ``large`` in 960 dimensions.
    """

    size: Literal["small", "large"] = "small"

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        model = torchvision_model(f"mobilenet_v3_{self.size}", num_classes)
        return pooled(model.features, model.classifier, model.classifier[0].in_features, num_classes)
