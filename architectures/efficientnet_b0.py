"""EfficientNet-B0 (Tan and Le, ICML 2019, arXiv:1905.11946), torchvision's definition and initial weights."""

from __future__ import annotations

from dataclasses import dataclass

from architectures._torchvision import pooled, torchvision_model
from compress.contracts import Architecture
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class EfficientNetB0(Architecture):
    """EfficientNet-B0 without options. The total stride is 32; the embedding is 1280-d."""

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        model = torchvision_model("efficientnet_b0", num_classes)
        return pooled(model.features, model.classifier, model.classifier[-1].in_features, num_classes)
