"""EfficientNet-Lite0 under the name that recipes and checkpoints had before ``efficientnet_lite`` had variants."""

from __future__ import annotations

from dataclasses import dataclass, replace

from architectures.efficientnet_lite import EfficientNetLite
from compress.contracts import Architecture, Normalisation
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(Architecture):
    """``efficientnet_lite`` with ``variant: lite0``.

    Attributes:
        pretrained: start from ImageNet weights. They were trained on (value - 127) / 128, so set
            ``data: {mean: [0.498, 0.498, 0.498], std: [0.502, 0.502, 0.502]}``.
    """

    pretrained: bool = False

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        return self._network().build(num_classes)

    def bare(self) -> Architecture:
        return replace(self, pretrained=False)

    def normalisation(self) -> Normalisation | None:
        return self._network().normalisation()

    def _network(self) -> EfficientNetLite:
        return EfficientNetLite(pretrained=self.pretrained)
